package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// injectAll injects the faults of servers and of NATS, which overlap; of each of the two there is one at a time.
func (r *run) injectAll(ctx context.Context) error {
	var ofNATS, ofServers []fault
	for _, f := range r.plan.faults {
		if strings.HasPrefix(f.kind, natsFaults) {
			ofNATS = append(ofNATS, f)
		} else {
			ofServers = append(ofServers, f)
		}
	}
	errs := make(chan error)
	for _, faults := range [][]fault{ofNATS, ofServers} {
		go func() { errs <- r.injectEach(ctx, faults) }()
	}
	return errors.Join(<-errs, <-errs)
}

func (r *run) injectEach(ctx context.Context, faults []fault) error {
	for i := range faults {
		f := &faults[i]
		if err := r.reach(ctx, f.after); err != nil {
			return err
		}
		time.Sleep(f.delay)
		began := r.now()
		if err := r.inject(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		r.idle.Reset(r.limit)
		r.stepsMu.Lock()
		r.injected[f.kind]++
		r.stepsMu.Unlock()
		r.printf("%s, over after %s", f, time.Duration(r.now()-began).Round(time.Millisecond))
	}
	return nil
}

// inject injects a fault and returns when it is over.
func (r *run) inject(ctx context.Context, f *fault) error {
	p := r.nodes[f.node]
	switch f.kind {
	case kill, killTwo, power, killWrite, killSync, killSynced:
		return r.crash(ctx, p, f)
	case restart:
		return r.stopAndStart(p)
	case rolling:
		for _, p := range r.nodes {
			if err := r.stopAndStart(p); err != nil {
				return err
			}
		}
		return nil
	case wipe:
		if err := errors.Join(r.kill(p), removeContent(p.dir)); err != nil {
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
		return r.fail(ctx, p, f.length, "fsync,fdatasync", "EIO", nil)
	case diskFull:
		return r.fail(ctx, p, f.length, "fsync,fdatasync,fallocate", "ENOSPC", nil)
	case writeFail:
		files, err := logs(p.dir)
		if err != nil {
			return err
		}
		return r.fail(ctx, p, f.length, "write,pwrite64", "EIO", files)
	case fill, fillKill:
		return r.fill(ctx, p, f)
	case clock, clockKill:
		return r.stepClock(ctx, p, f)
	}
	if r.nats == nil {
		return fmt.Errorf("a server alone has no fault %q", f.kind)
	}
	return r.nats.inject(f)
}

// crash kills a server and starts it again.
func (r *run) crash(ctx context.Context, p *process, f *fault) error {
	var err error
	switch f.kind {
	case killWrite, killSync, killSynced:
		err = r.killIn(ctx, p, f)
	default:
		err = r.kill(p)
	}
	if err == nil && f.kind == killTwo {
		if _, err = p.launch(); err == nil {
			time.Sleep(f.delay)
			err = r.kill(p)
		}
	}
	if err != nil {
		return err
	}
	return r.restart(p)
}

// kill kills a server. On a lossy disk this is a power cut.
func (r *run) kill(p *process) error {
	p.kill()
	if p.disk == nil {
		return nil
	}
	lost, err := p.disk.cutPower()
	r.printf("power cut: %s", lost)
	return err
}

// stopAndStart restarts a server in order.
func (r *run) stopAndStart(p *process) error {
	if err := p.stop(); err != nil {
		return err
	}
	return r.restart(p)
}

// restart starts a server whose process has ended.
func (r *run) restart(p *process) error {
	if r.nats == nil {
		r.restarted()
	}
	return p.start()
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
func (s *settings) available(ctx context.Context, kind string) error {
	switch kind {
	case syncFail, diskFull, writeFail, killWrite, killSync, killSynced:
		return canTrace(ctx)
	case fill, fillKill, natsFill:
		return canMountSmall()
	case power, natsPower:
		return s.canMountLossy(ctx)
	}
	return nil
}
