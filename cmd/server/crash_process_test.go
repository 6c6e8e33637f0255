package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is a server process with its arguments; it can be killed and restarted on the same data.
type process struct {
	t    *testing.T
	path string
	args []string

	// base is the URL of the running server; a restart uses another port.
	base atomic.Pointer[string]
	cmd  *exec.Cmd
	log  *tail
}

// startProcess starts a server on a new data directory. The test's cleanup kills it.
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

// launch starts the process and returns a channel that receives the address of its API, or "" if it ends before.
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

// url returns the current URL of a path.
func (p *process) url(path string) string { return *p.base.Load() + path }

// kill ends the server like a power failure, except that the operating system keeps its writes.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.wait()
}

// wait waits for the end of the log and then for the process, because Wait would discard the rest of the log.
func (p *process) wait() error {
	<-p.log.ended
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}

// stop sends SIGTERM and returns the exit code.
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
	metrics string // address of the metrics
}

// read sends the address of the API when the server logs it, or "" when the log ends before.
func (l *tail) read(r io.Reader, address chan<- string) {
	defer close(l.ended)
	defer close(address)
	observation := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var line struct{ Msg, API, Metrics string }
		if !observation && json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			l.mu.Lock()
			l.metrics = line.Metrics
			l.mu.Unlock()
			address <- line.API
			observation = true
		}
		l.mu.Lock()
		if len(l.lines) == 40 {
			l.lines = slices.Delete(l.lines, 0, 1)
		}
		l.lines = append(l.lines, lines.Text())
		l.mu.Unlock()
	}
}

// metricsAddress returns the address of the server's metrics.
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
