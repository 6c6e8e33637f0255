package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
	case fill, fillKill:
		return r.fill(ctx, p, f)
	case clock, clockKill:
		return r.stepClock(ctx, p, f)
	case natsLeader, natsPause, natsAll, cut, cutOneWay, slow:
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

// fill fills the disk of a server for a while, and perhaps kills it. It may refuse to start then, because the disk is full, and must be
// ready once there is space.
func (r *run) fill(ctx context.Context, p *process, f *fault) error {
	filler, err := os.Create(filepath.Join(filepath.Dir(p.dir), "filler"))
	if err != nil {
		return err
	}
	for chunk := make([]byte, 64<<10); err == nil; {
		if _, err = filler.Write(chunk); err != nil && len(chunk) > 1 {
			chunk, err = chunk[:len(chunk)/2], nil
		}
	}
	if err = errors.Join(err, filler.Close()); !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	full := true
	if f.kind == fillKill {
		time.Sleep(f.delay)
		p.kill()
		r.restarted()
		err := p.start()
		full = err == nil
		if err != nil && !strings.Contains(err.Error(), "the disk is full; the data is whole") {
			return err
		}
	}
	time.Sleep(f.length)
	if err := os.Remove(filler.Name()); err != nil {
		return err
	}
	if !full {
		return r.restart(p)
	}
	return r.ready(ctx, p)
}

// smallDisk mounts a small disk in memory on a directory. The caller must call unmount.
func smallDisk(dir string) (unmount func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=192m"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs: %w", err)
	}
	return func() error { return syscall.Unmount(dir, 0) }, nil
}

// ready waits until a server is ready.
func (r *run) ready(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	answer := ""
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("/readyz"), http.NoBody)
		if err != nil {
			return err
		}
		resp, err := r.http.Do(req)
		if err == nil {
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			answer = resp.Status + " " + string(text)
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready after the fault: %s", answer)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// available returns why a fault cannot be injected here, or nil.
func available(kind string) error {
	switch kind {
	case syncFail, diskFull:
	case fill, fillKill:
		dir, err := os.MkdirTemp("", "gather-crash-disk-")
		if err != nil {
			return err
		}
		defer func() { _ = os.Remove(dir) }()
		unmount, err := smallDisk(dir)
		if err != nil {
			return err
		}
		return unmount()
	default:
		return nil
	}
	// strace needs the permission to attach to another process.
	cmd := exec.CommandContext(context.Background(), "strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("strace: %w %s", err, out)
	}
	return nil
}
