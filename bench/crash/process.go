package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// startTimeout is how long a server may take to listen. It replays its journal first.
const startTimeout = 2 * time.Minute

// A process is a server process that can be killed and started again on the same data.
type process struct {
	path  string
	args  []string
	dir   string // of the data
	clock wallClock
	disk  *lossyDisk // of dir; nil for a usual one

	base atomic.Pointer[string] // URL of the last start
	cmd  *exec.Cmd              // nil if it does not run
	log  *tail
	// compactions is what all its processes logged about the log of the cluster.
	compactions compactions
}

// compactions counts snapshots of the log of a cluster, and keeps errors that must not occur.
type compactions struct {
	mu                sync.Mutex
	written, restored int
	errors            []string
}

// all returns what was counted so far.
func (c *compactions) all() (written, restored int, errors []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written, c.restored, c.errors
}

// read looks for a line about a snapshot.
func (c *compactions) read(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case strings.Contains(line, `"msg":"wrote a snapshot"`):
		c.written++
	case strings.Contains(line, `"msg":"restored the replica from a snapshot"`):
		c.restored++
	case strings.Contains(line, `"msg":"a snapshot cannot be used"`), strings.Contains(line, "GatherReplicasDiverge"):
		c.errors = append(c.errors, line)
	}
}

// start starts the server and returns when it listens.
func (p *process) start() error {
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
		return nil
	case <-time.After(startTimeout):
		return fmt.Errorf("the server does not listen after %s:\n%s", startTimeout, p.log)
	}
}

// launch starts the process, and returns a channel that receives the address of its API, or "" if it ends before.
func (p *process) launch() (<-chan string, error) {
	cmd := exec.CommandContext(context.Background(), p.path, p.args...) // ended by kill
	cmd.Env = append(os.Environ(), p.clock.variable(), "AWS_ACCESS_KEY_ID=crash", "AWS_SECRET_ACCESS_KEY=of-the-store")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.cmd, p.log = cmd, &tail{ended: make(chan struct{})}
	address := make(chan string, 1)
	go p.log.read(stderr, address, p.compactions.read) // ends with the process
	return address, nil
}

func (p *process) url(path string) string {
	if base := p.base.Load(); base != nil {
		return *base + path
	}
	return "http://127.0.0.1:1" + path // not started yet: refused
}

// signal sends a signal to the running process.
func (p *process) signal(s syscall.Signal) error {
	if p.cmd == nil {
		return errors.New("the server does not run")
	}
	return p.cmd.Process.Signal(s)
}

// kill ends the process as a crash of the machine would, except that the operating system keeps its writes.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
	}
}

// stop ends the process by SIGTERM.
func (p *process) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return fmt.Errorf("SIGTERM: %w:\n%s", err, p.log)
	}
	return nil
}

// wait waits for the end of the log and then for the process, because Wait would discard the rest of the log.
func (p *process) wait() error {
	<-p.log.ended
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}

// tail keeps the last lines of a log.
type tail struct {
	ended chan struct{} // closed at the end of the log

	mu    sync.Mutex
	lines []string
}

// read sends the address of the API when the server logs it, or "" when the log ends before, and calls each with every line.
func (l *tail) read(r io.Reader, address chan<- string, each func(line string)) {
	defer close(l.ended)
	defer close(address)
	const kept = 60
	serving := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var line struct {
			Msg string `json:"msg"`
			API string `json:"api"`
		}
		if !serving && json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			address <- line.API
			serving = true
		}
		each(lines.Text())
		l.mu.Lock()
		if len(l.lines) == kept {
			l.lines = slices.Delete(l.lines, 0, 1)
		}
		l.lines = append(l.lines, lines.Text())
		l.mu.Unlock()
	}
}

// String returns the last lines.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
