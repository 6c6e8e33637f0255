package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A tracer is an strace that changes some system calls of a server until it is detached.
type tracer struct {
	cmd *exec.Cmd
	// seen is the file with the calls.
	seen string
}

// trace attaches to a server. calls are separated by commas, change is what follows them in strace's -e inject, and files limits the calls to
// those of files, if there are any.
func (r *run) trace(ctx context.Context, p *process, calls, change string, files []string) (*tracer, error) {
	t := &tracer{seen: p.dir + ".strace"}
	if err := os.WriteFile(t.seen, nil, 0o600); err != nil {
		return nil, err
	}
	args := []string{"-f", "-qq", "-o", t.seen, "-p", strconv.Itoa(p.cmd.Process.Pid), "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + change}
	for _, file := range files {
		args = append(args, "-P", file)
	}
	t.cmd = exec.CommandContext(ctx, "strace", args...)
	return t, t.cmd.Start()
}

// detach ends the changes. SIGTERM would wait for the end of a delay.
func (t *tracer) detach() error {
	if err := t.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := t.cmd.Wait(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			return err
		}
	}
	return nil
}

// fail makes system calls of a server fail with an error for a while. Afterwards the server must be ready without a restart.
func (r *run) fail(ctx context.Context, p *process, length time.Duration, calls, errno string, files []string) error {
	t, err := r.trace(ctx, p, calls, "error="+errno, files)
	if err != nil {
		return err
	}
	time.Sleep(length)
	if err := t.detach(); err != nil {
		return err
	}
	return r.ready(ctx, p)
}

// killIn kills a server while a thread is held in a system call on one of its logs: at its begin, or when the kernel has done it and the
// server does not have the outcome yet.
func (r *run) killIn(ctx context.Context, p *process, f *fault) error {
	calls, change := "fsync,fdatasync", "delay_enter=60s"
	switch f.kind {
	case killWrite:
		calls = "write,pwrite64"
	case killSynced:
		change = "delay_exit=60s"
	}
	for {
		files, err := logs(p.dir)
		if err != nil {
			return err
		}
		t, err := r.trace(ctx, p, calls, change, files)
		if err != nil {
			return err
		}
		held, err := t.holds(ctx, calls)
		if err == nil && held {
			time.Sleep(f.delay) // the other threads go on
			err = p.signal(syscall.SIGKILL)
		}
		err = errors.Join(err, t.detach()) // the process ends only then
		if err == nil && held {
			err = r.kill(p)
		}
		if err != nil || held {
			return err
		}
		// The server has begun another log meanwhile, or had nothing to write.
	}
}

// holds waits until a call is held, and returns false if none is for a while.
func (t *tracer) holds(ctx context.Context, calls string) (bool, error) {
	for range 200 {
		text, err := os.ReadFile(t.seen)
		if err != nil {
			return false, err
		}
		for call := range strings.SplitSeq(calls, ",") {
			if strings.Contains(string(text), call+"(") {
				return true, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false, nil
}

// logs returns the logs in a data directory.
func logs(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err == nil && !e.IsDir() && filepath.Ext(path) == ".log" {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no logs in %s", dir)
	}
	return files, err
}

// canTrace returns why strace cannot attach to a process here, or nil.
func canTrace(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("strace: %w %s", err, out)
	}
	return nil
}
