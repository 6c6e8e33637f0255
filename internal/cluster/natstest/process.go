package natstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// Processes are servers that run as processes of their own.
type Processes struct {
	*setup

	tb      testing.TB
	running []*exec.Cmd // nil for a killed server
	http    http.Client
}

// Build builds the server from the module cache into a file, for Binary, with flags of go build.
func Build(ctx context.Context, path string, flags ...string) error {
	args := slices.Concat([]string{"build", "-o", path}, flags, []string{"github.com/nats-io/nats-server/v2"})
	cmd := exec.CommandContext(ctx, "go", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// StartProcesses builds the server, unless the options have a Binary, and starts servers as Start does.
func StartProcesses(tb testing.TB, n int, opts ...Option) *Processes {
	tb.Helper()
	p := &Processes{setup: newSetup(tb, n, opts), tb: tb, running: make([]*exec.Cmd, n)}
	p.http = http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if p.binary == "" {
		p.binary = filepath.Join(p.dir, "nats-server")
		must(tb, Build(tb.Context(), p.binary))
	}
	tb.Cleanup(func() {
		p.KillAll()
		if tb.Failed() {
			p.logTails()
		}
	})
	p.RestartAll()
	return p
}

// Kill kills server i, also if it is paused, and waits for its end.
func (p *Processes) Kill(i int) {
	if p.running[i] == nil {
		return
	}
	_ = p.running[i].Process.Kill()
	_ = p.running[i].Wait()
	p.running[i] = nil
}

// KillAll kills all servers.
func (p *Processes) KillAll() {
	for _, cmd := range p.running {
		if cmd != nil {
			_ = cmd.Process.Kill()
		}
	}
	for i := range p.running {
		p.Kill(i)
	}
}

// Stop shuts server i down gracefully, and waits for its end.
func (p *Processes) Stop(i int) {
	if p.running[i] == nil {
		return
	}
	p.signal(i, syscall.SIGTERM)
	_ = p.running[i].Wait()
	p.running[i] = nil
}

// Pause suspends server i; its connections stay open.
func (p *Processes) Pause(i int) { p.signal(i, syscall.SIGSTOP) }

// Resume continues server i.
func (p *Processes) Resume(i int) { p.signal(i, syscall.SIGCONT) }

func (p *Processes) signal(i int, s os.Signal) {
	p.tb.Helper()
	if p.running[i] == nil {
		p.tb.Fatalf("natstest: server %d does not run", i)
	}
	must(p.tb, p.running[i].Process.Signal(s))
}

// Restart kills server i if it runs, starts it on the same ports and files, and waits as Start does.
func (p *Processes) Restart(i int) {
	p.tb.Helper()
	p.Kill(i)
	p.start(i)
	p.Wait()
}

// RestartAll restarts all servers together.
func (p *Processes) RestartAll() {
	p.tb.Helper()
	p.KillAll()
	for i := range p.nodes {
		p.start(i)
	}
	p.Wait()
}

// Start starts servers that do not run together, and waits as the function Start does.
func (p *Processes) Start(servers ...int) {
	p.tb.Helper()
	for _, i := range servers {
		p.start(i)
	}
	p.Wait()
}

func (p *Processes) start(i int) {
	p.tb.Helper()
	n := &p.nodes[i]
	cmd := exec.Command(p.binary, "--config", n.config, "--http_port", fmt.Sprint(n.monitor), "--log", p.log(i)) //nolint:noctx // ended by Kill
	if p.env != nil {
		cmd.Env = append(os.Environ(), p.env(i)...)
	}
	must(p.tb, cmd.Start())
	p.running[i] = cmd
}

func (p *Processes) log(i int) string { return filepath.Join(p.dir, p.nodes[i].name+".log") }

// Wait returns when the running servers have a leader and all their replicas are current. No server may be paused.
func (p *Processes) Wait() {
	p.tb.Helper()
	awaitAgreement(p.tb, len(p.running)-count(p.running, nil), p.statuses)
}

// Leader returns the server that leads the cluster; -1 if none does. Streams have leaders of their own. No server may be
// paused.
func (p *Processes) Leader() int {
	looks := p.statuses()
	if i := slices.IndexFunc(looks, func(l serverStatus) bool { return l.leads }); i >= 0 {
		return slices.IndexFunc(p.nodes, func(n node) bool { return n.name == looks[i].leader })
	}
	return -1
}

// Lead makes server i the leader of a stream.
func (p *Processes) Lead(tb testing.TB, stream string, i int) {
	tb.Helper()
	name := p.nodes[i].name
	await(tb, func() bool {
		if all := p.Streams(tb, stream); len(all) == 1 && all[0].Leader == name {
			return true
		}
		p.use(tb, func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream,
				fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, name))
			return err
		})
		return false
	}, func() string { return fmt.Sprintf("%s does not lead the stream %s", name, stream) })
}

// statuses returns the states of the servers that respond.
func (p *Processes) statuses() (all []serverStatus) {
	for i := range p.nodes {
		if p.running[i] == nil {
			continue
		}
		var l serverStatus
		var v server.JSInfo
		var health server.HealthStatus
		if err := p.get(i, "/healthz", &health); err == nil {
			l.fault = health.Error
			if err := p.get(i, "/jsz", &v); err == nil {
				l.read(&v, p.nodes[i].name)
				all = append(all, l)
			}
		}
	}
	return all
}

// get decodes a monitoring page of server i.
func (p *Processes) get(i int, path string, v any) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+loopback(p.nodes[i].monitor)+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(v)
}

// logTails logs the last lines of every server's log.
func (p *Processes) logTails() {
	for i := range p.nodes {
		text, err := os.ReadFile(p.log(i))
		lines := slices.DeleteFunc(bytes.Split(text, []byte("\n")), func(line []byte) bool {
			return bytes.Contains(line, []byte("Healthcheck failed")) // Wait polls until the check succeeds
		})
		p.tb.Logf("the end of the log of server %d (%v):\n%s", i, err, bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
	}
}
