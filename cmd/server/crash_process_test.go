package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// build builds the real server.
func build(t *testing.T) string {
	t.Helper()
	began := time.Now()
	path := filepath.Join(t.TempDir(), "server")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Logf("built in %s", time.Since(began).Round(time.Millisecond))
	return path
}

// process is a server process and what it is started with; it may be killed and started again on the same data.
type process struct {
	t    *testing.T
	path string
	args []string

	// base is the URL of the server that runs now; a restart takes another port.
	base atomic.Pointer[string]
	cmd  *exec.Cmd
	log  *tail
}

// startProcess starts a server on a new data directory. It is killed at the end of the test.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, path: build(t), args: append([]string{
		"--listen=127.0.0.1:0", "--metrics-listen=", "--log-format=json", "--data-dir=" + t.TempDir(),
	}, args...)}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill()
		}
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", p.log)
		}
	})
	return p
}

// start returns once the server listens.
func (p *process) start() error {
	began := time.Now()
	address, err := p.launch()
	if err != nil {
		return err
	}
	select {
	case a := <-address:
		if a == "" {
			return fmt.Errorf("the server ended:\n%s", p.log)
		}
		base := "http://" + a
		p.base.Store(&base)
		p.t.Logf("serving after %s", time.Since(began).Round(time.Millisecond))
		return nil
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("the server did not start:\n%s", p.log)
	}
}

// launch starts the process and returns where the address of its API will come; "" if it ends before.
func (p *process) launch() (<-chan string, error) {
	cmd := exec.Command(p.path, p.args...) //nolint:noctx // ended by kill, stop or the cleanup
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.cmd, p.log = cmd, &tail{ended: make(chan struct{})}
	address := make(chan string, 1)
	go p.log.read(stderr, address) // ends with the process
	return address, nil
}

// url is where a path is served now.
func (p *process) url(path string) string { return *p.base.Load() + path }

// kill ends the server as a power cut would, except that the operating system keeps what was written.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.wait()
}

// wait waits for the process that was told to end, after the last line of its log, which Wait would cut off.
func (p *process) wait() error {
	<-p.log.ended
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}

// stop asks the server to stop and returns its exit code.
func (p *process) stop() (int, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	err := p.wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// tail keeps the last lines of a log.
type tail struct {
	ended chan struct{} // closed at the end of the log

	mu      sync.Mutex
	lines   []string
	metrics string // the address of the metrics
}

// read sends the address of the API when the server logs it, or "" when the log ends without.
func (l *tail) read(r io.Reader, address chan<- string) {
	defer close(l.ended)
	defer close(address)
	told := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var line struct{ Msg, API, Metrics string }
		if !told && json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			l.mu.Lock()
			l.metrics = line.Metrics
			l.mu.Unlock()
			address <- line.API
			told = true
		}
		l.mu.Lock()
		if len(l.lines) == 40 {
			l.lines = slices.Delete(l.lines, 0, 1)
		}
		l.lines = append(l.lines, lines.Text())
		l.mu.Unlock()
	}
}

// metricsAddress returns where the server has its metrics.
func (l *tail) metricsAddress() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.metrics
}

// String returns the last lines.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := ""
	for _, line := range l.lines {
		s += line + "\n"
	}
	return s
}
