package natstest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

// VerifyTestMain is goleak.VerifyTestMain for a package with clients of nats.go: one whose connection is closed while its first
// asynchronous publication begins leaves a goroutine that waits for a status on a nil channel.
func VerifyTestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// Servers are NATS servers, each a process of its own.
type Servers struct {
	*setup

	tb      testing.TB
	running []*exec.Cmd // nil for a server that was stopped or killed
	http    http.Client
}

// Build builds the server from the module cache into a file, for Binary, with flags of go build.
func Build(ctx context.Context, path string, flags ...string) error {
	args := slices.Concat([]string{"build", "-o", path}, flags, []string{"github.com/nats-io/nats-server/v2"})
	_, err := runGo(ctx, args...)
	return err
}

// built returns the file of the server in the build cache, where it is built once for all packages.
var built = sync.OnceValues(func() (string, error) {
	return runGo(context.Background(), "tool", "-n", "nats-server")
})

// runGo runs the go command and returns its output.
func runGo(ctx context.Context, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, &stderr)
	}
	return strings.TrimSpace(string(out)), nil
}

// Start starts one server, or a cluster of three, and returns when they have a leader and all replicas are current.
func Start(tb testing.TB, n int, opts ...Option) *Servers {
	tb.Helper()
	s := &Servers{setup: newSetup(tb, n, opts), tb: tb, running: make([]*exec.Cmd, n)}
	s.http = http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if s.binary == "" {
		var err error
		s.binary, err = built()
		must(tb, err)
	}
	tb.Cleanup(func() {
		s.KillAll()
		if tb.Failed() {
			s.logTails()
		}
	})
	s.StartAll()
	return s
}

// Kill kills server i, also if it is paused, and waits for its end.
func (s *Servers) Kill(i int) {
	if s.running[i] == nil {
		return
	}
	_ = s.running[i].Process.Kill()
	_ = s.running[i].Wait()
	s.running[i] = nil
}

// KillAll kills all servers.
func (s *Servers) KillAll() {
	for _, cmd := range s.running {
		if cmd != nil {
			_ = cmd.Process.Kill()
		}
	}
	for i := range s.running {
		s.Kill(i)
	}
}

// Stop shuts servers down gracefully, together, and waits for their end.
func (s *Servers) Stop(servers ...int) {
	s.tb.Helper()
	for _, i := range servers {
		if s.running[i] != nil {
			s.signal(i, syscall.SIGTERM)
		}
	}
	for _, i := range servers {
		if s.running[i] != nil {
			_ = s.running[i].Wait()
			s.running[i] = nil
		}
	}
}

// StopAll stops all servers.
func (s *Servers) StopAll() {
	s.tb.Helper()
	s.Stop(s.indexes()...)
}

// Pause suspends server i; its connections stay open.
func (s *Servers) Pause(i int) { s.signal(i, syscall.SIGSTOP) }

// Resume continues server i.
func (s *Servers) Resume(i int) { s.signal(i, syscall.SIGCONT) }

func (s *Servers) signal(i int, sig os.Signal) {
	s.tb.Helper()
	if s.running[i] == nil {
		s.tb.Fatalf("natstest: server %d does not run", i)
	}
	must(s.tb, s.running[i].Process.Signal(sig))
}

// Restart stops server i if it runs, starts it on the same ports and files, and waits as Start does.
func (s *Servers) Restart(i int) {
	s.tb.Helper()
	s.Stop(i)
	s.Start(i)
}

// Start starts servers that do not run together, and waits as the function Start does.
func (s *Servers) Start(servers ...int) {
	s.tb.Helper()
	for _, i := range servers {
		s.start(i)
	}
	s.Wait()
}

// StartAll starts the servers that do not run.
func (s *Servers) StartAll() {
	s.tb.Helper()
	s.Start(slices.DeleteFunc(s.indexes(), func(i int) bool { return s.running[i] != nil })...)
}

// indexes returns the numbers of all servers.
func (s *Servers) indexes() (all []int) {
	for i := range s.nodes {
		all = append(all, i)
	}
	return all
}

func (s *Servers) start(i int) {
	s.tb.Helper()
	n := &s.nodes[i]
	cmd := exec.Command(s.binary, "--config", n.config, "--http_port", fmt.Sprint(n.monitor), "--log", s.log(i)) //nolint:noctx // ended by Kill
	if s.env != nil {
		cmd.Env = append(os.Environ(), s.env(i)...)
	}
	must(s.tb, cmd.Start())
	s.running[i] = cmd
}

func (s *Servers) log(i int) string { return filepath.Join(s.dir, s.nodes[i].name+".log") }

// Lead makes server i the leader of a stream.
func (s *Servers) Lead(tb testing.TB, stream string, i int) {
	tb.Helper()
	name := s.nodes[i].name
	await(tb, func() bool {
		if all := s.Streams(tb, stream); len(all) == 1 && all[0].Leader == name {
			return true
		}
		s.use(tb, func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream,
				fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, name))
			return err
		})
		return false
	}, func() string { return fmt.Sprintf("%s does not lead the stream %s", name, stream) })
}

// logTails logs the last lines of every server's log.
func (s *Servers) logTails() {
	for i := range s.nodes {
		text, err := os.ReadFile(s.log(i))
		lines := slices.DeleteFunc(bytes.Split(text, []byte("\n")), func(line []byte) bool {
			return bytes.Contains(line, []byte("Healthcheck failed")) // Wait polls until the check succeeds
		})
		s.tb.Logf("the end of the log of server %d (%v):\n%s", i, err, bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
	}
}
