package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// inject injects a fault and returns when it is over.
func (r *run) inject(ctx context.Context, f *fault) error {
	p := r.nodes[f.node]
	switch f.kind {
	case kill, killTwo:
		p.kill()
		if f.kind == killTwo {
			if _, err := p.launch(); err != nil {
				return err
			}
			time.Sleep(f.delay)
			p.kill()
		}
		return r.restart(p)
	case restart:
		if err := p.stop(); err != nil {
			return err
		}
		return r.restart(p)
	case wipe:
		p.kill()
		if err := os.RemoveAll(p.dir); err != nil {
			return err
		}
		return r.restart(p)
	case pause:
		if err := p.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		length := f.length
		if r.nats != nil {
			length *= 3 // often longer than the node timeout
		}
		time.Sleep(length)
		return p.signal(syscall.SIGCONT)
	case syncFail:
		return r.fail(ctx, p, f.length, "fsync,fdatasync", "EIO")
	case diskFull:
		return r.fail(ctx, p, f.length, "fsync,fdatasync,fallocate", "ENOSPC")
	case natsLeader, natsPause, natsAll:
		return r.nats.inject(f)
	}
	return fmt.Errorf("unknown fault %q", f.kind)
}

// restart starts a server whose process has ended.
func (r *run) restart(p *process) error {
	if r.nats == nil {
		r.restarted()
	}
	return p.start()
}

// fail makes system calls of a server fail with an error for a while. Afterwards the server must be ready without a restart.
func (r *run) fail(ctx context.Context, p *process, length time.Duration, calls, errno string) error {
	cmd := exec.CommandContext(ctx, "strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(p.cmd.Process.Pid),
		"-e", "trace="+calls, "-e", "inject="+calls+":error="+errno)
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(length)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // detaches
		return err
	}
	if err := cmd.Wait(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			return err
		}
	}
	return r.ready(ctx, p)
}

// ready waits until a server is ready.
func (r *run) ready(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("/readyz"), http.NoBody)
		if err != nil {
			return err
		}
		resp, err := r.http.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("the server is not ready after the fault")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// available returns why a fault cannot be injected here, or nil.
func available(kind string) error {
	if kind != syncFail && kind != diskFull {
		return nil
	}
	// strace needs the permission to attach to another process.
	cmd := exec.CommandContext(context.Background(), "strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("strace: %w %s", err, out)
	}
	return nil
}
