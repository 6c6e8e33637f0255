// Command crash tries to break gather, and checks what its clients saw.
//
//	go run ./bench/crash                    one server, killed and restarted under load
//	go run ./bench/crash -nodes 3           three nodes and three NATS servers
//	go run ./bench/crash -for 10m           runs with new seeds until the time is over
//	go run ./bench/crash -seed 7            the schedule of seed 7 again
//	go run ./bench/crash -kinds power,kill  other faults than the default ones; plan.go lists all kinds
//
// Clients with a recorded history submit jobs of all kinds to real servers, alone, in batches, in groups, after other jobs and again with the
// same key; they wait, poll, follow streams, cancel and delete, one or many at once, retry, pause priorities, and store arrays. Schedules submit
// too, and webhooks are received. A bucket rejects reads. Meanwhile faults hit the servers, their disks, clocks and connections. Then a model
// decides whether everything that the clients saw agrees with what gather promises; see model.go. The schedule of requests and faults depends on
// the seed and the flags alone, their timing does not.
//
// Everything stays on 127.0.0.1 and in a temporary directory, which is kept after a violation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

// idleLimit is by how much the longest step on a busy machine is exceeded when something does not come back.
const idleLimit = 5 * time.Minute

// settings are the flags.
type settings struct {
	seed                          uint64
	nodes, clients, steps, faults int
	kinds                         string
	limit, repeat                 time.Duration
	dir, server                   string
	// overlay is for the wall clocks of servers, "" for real ones, and lossy the program that mounts lossy disks, once it is built.
	overlay, lossy string
}

// defaultKinds are the faults by default; those that are not available are skipped.
func (s *settings) defaultKinds() []string {
	if s.nodes == 1 {
		return []string{kill, killSync, pause, killTwo, syncFail, killSynced, restart, diskFull, killWrite, writeFail}
	}
	return []string{
		kill, natsLeader, pause, natsCut, wipe, natsPause, cut, natsTwo, restart, natsLeader, cutOneWay, natsRolling, rolling, natsAll, slow, natsWipe,
		kill, natsCutOneWay, pause, natsSlow,
	}
}

func start(ctx context.Context, args []string, stdout io.Writer) (err error) {
	s := &settings{}
	fs := flag.NewFlagSet("crash", flag.ContinueOnError)
	fs.Uint64Var(&s.seed, "seed", 0, "`number` of the schedule; 0 draws one")
	fs.IntVar(&s.nodes, "nodes", 1, "1 for a server alone, 3 for a cluster on three NATS servers")
	fs.IntVar(&s.clients, "clients", 16, "number of clients")
	fs.IntVar(&s.steps, "steps", 40, "steps of each client: a job, a batch or an array with all that belongs to it")
	fs.IntVar(&s.faults, "faults", 7, "number of faults in a run")
	fs.StringVar(&s.kinds, "kinds", "", "comma-separated kinds of faults; default: all of one server or of a cluster")
	fs.DurationVar(&s.limit, "timeout", idleLimit, "limit of the time in which no step, fault or read of a job ends")
	fs.DurationVar(&s.repeat, "for", 0, "repeat with other seeds until this time is over")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "gather-crash-"); err != nil {
		return err
	}
	if err := s.build(ctx); err != nil {
		return err
	}
	began, runs := time.Now(), 0
	for ; runs == 0 || time.Since(began) < s.repeat; runs++ {
		if s.seed == 0 || runs > 0 {
			s.seed = rand.Uint64N(1e9) + 1
		}
		if err := s.run(ctx, stdout); err != nil {
			return fmt.Errorf("seed %d, data and logs in %s: %w", s.seed, s.dir, err)
		}
	}
	_, _ = fmt.Fprintf(stdout, "%d runs in %s without a violation\n", runs, time.Since(began).Round(time.Second))
	return os.RemoveAll(s.dir)
}

// build builds the server.
func (s *settings) build(ctx context.Context) error {
	s.server = filepath.Join(s.dir, "server")
	args := []string{"build", "-o", s.server}
	if strings.Contains(s.kinds, clock) {
		var err error
		if s.overlay, err = clockOverlay(ctx, s.dir); err != nil {
			return err
		}
		args = append(args, "-overlay="+s.overlay)
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, "gather/cmd/server")...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return nil
}

// run executes one run and checks its history.
func (s *settings) run(ctx context.Context, stdout io.Writer) error {
	kinds := s.defaultKinds()
	if s.kinds != "" {
		kinds = strings.Split(s.kinds, ",")
	}
	kinds = slices.DeleteFunc(kinds, func(kind string) bool {
		err := s.available(ctx, kind)
		if err != nil {
			_, _ = fmt.Fprintf(stdout, "skipped: %s: %v\n", kind, err)
		}
		return err != nil
	})
	r := &run{
		history: newHistory(), plan: newPlan(s.seed, s.clients, s.steps, s.faults, kinds, s.nodes), log: stdout, injected: make(map[string]int), limit: s.limit,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
	defer r.http.CloseIdleConnections()
	ctx, unwatch := r.watch(ctx)
	defer unwatch()
	r.clockSteps = r.plan.has(clock) || r.plan.has(clockKill)
	receiver, err := r.receive(ctx)
	if err != nil {
		return err
	}
	defer receiver.Close()
	r.webhook = receiver.URL + "/ended"
	store, err := startStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	r.bucket = "s3://crash?region=r&endpoint=" + store.URL
	_, _ = fmt.Fprintf(stdout, "seed %d, %d nodes, %d clients, %d steps each\n", s.seed, s.nodes, s.clients, s.steps)
	if r.plan.has(fill) || r.plan.has(fillKill) {
		unmount, err := smallDisk(filepath.Join(s.dir, "data"))
		if err != nil {
			return err
		}
		defer func() { _ = unmount() }()
	}
	stop, err := r.startServers(ctx, s)
	defer stop()
	if err == nil {
		err = r.execute(ctx)
	}
	for i, p := range r.nodes {
		_, _, logged := p.compactions.all()
		for _, line := range logged {
			r.report(fmt.Errorf("node %d: %s", i, line))
		}
	}
	violations := r.check(len(r.nodes))
	if err == nil && len(violations) == 0 {
		r.printf("%s; no violation", r.figures())
		stop()
		return removeContent(filepath.Join(s.dir, "data"))
	}
	for i, v := range violations {
		if i == 20 {
			_, _ = fmt.Fprintf(stdout, "and %d more violations\n", len(violations)-i)
			break
		}
		_, _ = fmt.Fprintf(stdout, "VIOLATION: %.4000s\n", v)
	}
	for i, p := range r.nodes {
		_, _ = fmt.Fprintf(stdout, "the end of the log of node %d:\n%s\n", i, p.log)
	}
	if len(violations) > 0 {
		err = errors.Join(err, fmt.Errorf("%d violations, the first: %.2000s", len(violations), violations[0].Error()))
	}
	return err
}

// removeContent removes everything in a directory, which may be a mount point.
func removeContent(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// startServers starts the servers of a run. The caller must call stop, also after an error.
func (r *run) startServers(ctx context.Context, s *settings) (stop func(), err error) {
	data := filepath.Join(s.dir, "data")
	stop = func() {
		for _, p := range r.nodes {
			p.kill()
			if p.disk != nil {
				_ = p.disk.unmount()
			}
		}
		if r.nats != nil {
			r.nats.stop()
		}
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return stop, err
	}
	keys, key, err := operatorKey(data)
	if err != nil {
		return stop, err
	}
	r.key = key
	args := []string{"--api-keys=" + keys, "--http-allow=127.0.0.1", "--array-bucket=" + r.bucket}
	if s.nodes > 1 {
		if r.nats, err = r.startNATS(ctx, s, data); err != nil {
			return stop, err
		}
		args = append(args, "--nats-prefix="+natsPrefix, "--node-timeout=2s", "--log-snapshot=64KiB")
	}
	for i := range s.nodes {
		if err := r.addNode(s, i, data, args); err != nil {
			return stop, err
		}
	}
	errs := make([]error, s.nodes)
	var starts sync.WaitGroup
	for i, p := range r.nodes {
		starts.Go(func() { errs[i] = p.start() })
	}
	starts.Wait()
	return stop, errors.Join(errs...)
}

// addNode adds a server that is not started yet, with its data in a directory of data.
func (r *run) addNode(s *settings, i int, data string, args []string) (err error) {
	p := &process{path: s.server, dir: filepath.Join(data, fmt.Sprint(i))}
	p.clock.file = p.dir + ".clock"
	if r.plan.has(power) {
		if p.disk, err = mountLossy(s.lossy, p.dir, s.seed+uint64(i)); err != nil {
			return err
		}
	}
	p.args = append([]string{
		"--listen=127.0.0.1:0", "--metrics-listen=", "--log-format=json", "--data-dir=" + p.dir, fmt.Sprintf("--node-name=node-%d", i),
		"--min-free-disk=16MiB",
	}, args...)
	if r.nats != nil {
		p.args = append(p.args, "--nats-url="+r.nats.url(i))
	}
	r.nodes = append(r.nodes, p)
	return nil
}

// figures describes what a run did.
func (r *run) figures() string {
	jobs, unknown := make(map[string]bool), 0
	dependents := make(map[string]bool)
	count := make(map[action]int)
	events := 0
	retried := make(map[string]bool)
	for i := range r.operations {
		o := &r.operations[i]
		if o.ofMany {
			continue
		}
		for _, id := range o.ids {
			jobs[id] = true
			if o.sub != nil && o.sub.after != nil {
				dependents[id] = true
			}
		}
		if o.status == 0 && o.action != read {
			unknown++
		}
		if o.view != nil && o.view.Retries > 0 {
			retried[o.view.ID] = true
		}
		if o.read != nil {
			events += len(o.read.seqs)
			if o.read.attempts != nil {
				retried[o.job] = true
			}
		}
		count[o.action]++
	}
	written, restored := 0, 0
	for _, p := range r.nodes {
		w, r, _ := p.compactions.all()
		written, restored = written+w, restored+r
	}
	return fmt.Sprintf("%d operations: %d jobs, %d of them after others and %d with failed attempts, %d submissions, %d reads of jobs, %d of events and results with %d events, %d cancels, %d deletes, "+
		"%d uploads, %d bulk requests, %d reads of groups, %d deliveries, %d pauses, %d readings of schedules; %d without a response; "+
		"%d snapshots of the log, %d replicas restored from one; faults: %v",
		len(r.operations), len(jobs), len(dependents), len(retried), count[submit], count[get], count[read], events, count[cancel], count[remove], count[put],
		count[cancelAll]+count[removeAll], count[followGroup], len(r.deliveries), len(r.holds), len(r.schedules), unknown, written, restored, r.injected)
}
