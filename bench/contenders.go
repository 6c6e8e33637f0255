package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// system is a running service with the same requests as gather: POST /v1/jobs, with Prefer: wait for the result.
type system struct {
	*clients

	api  string
	pids []int
	// drained waits until the jobs of a load have ended.
	drained func(ctx context.Context, jobs int) error
	stop    func()
}

// contender is a system that is compared, with its figures.
type contender struct {
	name    string
	durable string        // what is on disk when a submission is accepted
	missing func() string // the reason why it cannot be measured
	start   func(ctx context.Context, s *suite) (*system, error)

	accepted, ended []float64 // per second, by round
	one, many       sample    // POST to result
	jobs            int       // of the submissions, which cpu and written are of
	cpu             time.Duration
	written         int64
	others, total   time.Duration // CPU time of processes outside of this run, and of all CPUs
}

func contenders(s *suite) []*contender {
	return []*contender{
		{name: "gather", durable: "the job, fsync", missing: func() string { return "" }, start: startGather},
		{name: "asynq, Redis, AOF always", durable: "the job, fsync", missing: needs("redis-server"), start: asynq("always")},
		{name: "asynq, Redis, AOF every second", durable: "up to a second later", missing: needs("redis-server"), start: asynq("everysec")},
		{name: "River, PostgreSQL", durable: "the job, fsync", missing: needsPostgres, start: river},
		{name: "FastAPI, Celery, Redis, AOF every second", durable: "up to a second later", missing: s.needsCelery, start: celery},
	}
}

func needs(program string) func() string {
	return func() string {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed"
		}
		return ""
	}
}

func needsPostgres() string {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := postgresBinary(name); err != nil {
			return name + " of PostgreSQL is not installed"
		}
	}
	return ""
}

func (s *suite) needsCelery() string {
	if reason := needs("redis-server")(); reason != "" {
		return reason
	}
	return s.lacks("celery", "fastapi", "uvicorn", "redis.asyncio", "uvloop", "httptools")
}

// lacks returns why Python cannot import all modules.
func (s *suite) lacks(modules ...string) string {
	for _, m := range modules {
		if err := exec.Command(s.python, "-c", "import "+m).Run(); err != nil { //nolint:noctx // returns soon
			return s.python + " has no module " + m
		}
	}
	return ""
}

func startGather(ctx context.Context, s *suite) (*system, error) {
	t, err := start(ctx, s.server)
	if err != nil {
		return nil, err
	}
	return &system{api: t.api, pids: []int{t.cmd.Process.Pid}, stop: t.stop, drained: func(ctx context.Context, _ int) error {
		_, err := t.drained(ctx)
		return err
	}}, nil
}

func asynq(fsync string) func(ctx context.Context, s *suite) (*system, error) {
	return func(ctx context.Context, s *suite) (*system, error) {
		return startPeer(ctx, func(d *daemons, addr string) ([]*exec.Cmd, error) {
			store, err := d.redis(ctx, fsync)
			return []*exec.Cmd{exec.CommandContext(ctx, filepath.Join(s.peers, "asynq"), "-listen", addr, "-store", store)}, err
		})
	}
}

func river(ctx context.Context, s *suite) (*system, error) {
	return startPeer(ctx, func(d *daemons, addr string) ([]*exec.Cmd, error) {
		store, err := d.postgres(ctx)
		return []*exec.Cmd{exec.CommandContext(ctx, filepath.Join(s.peers, "river"), "-listen", addr, "-store", store)}, err
	})
}

func celery(ctx context.Context, s *suite) (*system, error) {
	return startPeer(ctx, func(d *daemons, addr string) ([]*exec.Cmd, error) {
		store, err := d.redis(ctx, "everysec")
		_, port, _ := strings.Cut(addr, ":")
		cmds := []*exec.Cmd{
			exec.CommandContext(ctx, s.python, "-m", "celery", "-A", "service", "worker", "--concurrency", "2", "--loglevel", "ERROR"),
			exec.CommandContext(ctx, s.python, "-m", "uvicorn", "service:api", "--port", port, "--workers", "2", "--log-level", "error", "--no-access-log",
				"--timeout-keep-alive", "600"),
		}
		for _, cmd := range cmds {
			cmd.Dir = filepath.Join(s.root, "bench/peers/celery")
			cmd.Env = append(os.Environ(), "STORE=redis://"+store+"/0", "PYTHONDONTWRITEBYTECODE=1")
		}
		return cmds, err
	})
}

// startPeer starts a store, by commands, and then what the commands return, of which the last one serves the API.
func startPeer(ctx context.Context, commands func(d *daemons, addr string) ([]*exec.Cmd, error)) (x *system, err error) {
	d, err := newDaemons()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.stop()
		}
	}()
	ports, err := freePorts(ctx, 1)
	if err != nil {
		return nil, err
	}
	x = &system{api: "127.0.0.1:" + strconv.Itoa(ports[0]), stop: d.stop}
	cmds, err := commands(d, x.api)
	if err != nil {
		return nil, err
	}
	for _, cmd := range cmds {
		if err := d.run(cmd, syscall.SIGTERM); err != nil {
			return nil, err
		}
	}
	if err := d.listening(ctx, x.api); err != nil {
		return nil, err
	}
	// One connection, because each process of an API may have a count of its own.
	counter, err := dial(x.api)
	if err != nil {
		return nil, err
	}
	x.pids, x.stop = d.pids(), func() {
		_ = counter.Close()
		d.stop()
	}
	before, err := finished(counter)
	x.drained = func(ctx context.Context, jobs int) error {
		before += jobs
		for {
			n, err := finished(counter)
			if err != nil || n >= before {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%d jobs have not ended: %w", before-n, context.Cause(ctx))
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return x, err
}

// finished reads how many jobs have ended.
func finished(w *wire) (int, error) {
	var body bytes.Buffer
	status, err := w.roundTrip(request("GET", "/finished", ""), &body)
	if err == nil && status != 200 {
		err = fmt.Errorf("got status %d, want 200", status)
	}
	if err != nil {
		return 0, fmt.Errorf("count the finished jobs: %w", err)
	}
	var v struct {
		Finished int `json:"finished"`
	}
	return v.Finished, json.Unmarshal(body.Bytes(), &v)
}
