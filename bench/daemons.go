package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// daemons are the processes of one measured system, and their directory.
type daemons struct {
	dir   string
	procs []daemon
}

type daemon struct {
	cmd  *exec.Cmd
	log  string // file
	end  syscall.Signal
	done chan struct{}
}

func newDaemons() (*daemons, error) {
	dir, err := os.MkdirTemp("", "gather-bench-")
	return &daemons{dir: dir}, err
}

// run starts a process in a group of its own, with its output in a file. end asks it to stop.
func (d *daemons) run(cmd *exec.Cmd, end syscall.Signal) error {
	p := daemon{cmd, filepath.Join(d.dir, fmt.Sprintf("%d.log", len(d.procs))), end, make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		return err
	}
	d.procs = append(d.procs, p)
	go func() { // ends with the process, which stop waits for
		_ = cmd.Wait()
		close(p.done)
	}()
	return nil
}

// output runs a process to its end and returns its output.
func (d *daemons) output(cmd *exec.Cmd) ([]byte, error) {
	if err := d.run(cmd, syscall.SIGTERM); err != nil {
		return nil, err
	}
	p := d.procs[len(d.procs)-1]
	<-p.done
	if !cmd.ProcessState.Success() {
		return nil, p.failure(cmd.ProcessState.String())
	}
	return os.ReadFile(p.log)
}

// listening waits until the process that was started last accepts connections.
func (d *daemons) listening(ctx context.Context, addr string) error {
	p := d.procs[len(d.procs)-1]
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var dialer net.Dialer
	for {
		if c, err := dialer.DialContext(ctx, "tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return p.failure("ended")
		case <-ctx.Done():
			return p.failure("does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// failure has the end of the process's output.
func (p daemon) failure(what string) error {
	text, err := os.ReadFile(p.log)
	return errors.Join(fmt.Errorf("%s %s:\n%s", filepath.Base(p.cmd.Path), what, text[max(0, len(text)-2000):]), err)
}

func (d *daemons) pids() (pids []int) {
	for _, p := range d.procs {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return pids
}

// stop ends the processes, the last first, and removes the directory.
func (d *daemons) stop() {
	for _, p := range slices.Backward(d.procs) {
		_ = p.cmd.Process.Signal(p.end)
		select {
		case <-p.done:
		case <-time.After(15 * time.Second):
		}
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the rest of its group
		<-p.done
	}
	_ = os.RemoveAll(d.dir)
}
