package retryfs

import (
	"sync"
	"sync/atomic"
	"time"
)

// policy decides whether a failed operation is retried. All files of an FS share it.
type policy struct {
	interval time.Duration
	// report is called when an operation starts or stops failing. It must not block.
	report func()
	// off is true when changes are discarded.
	off atomic.Bool
	// failures counts failed operations.
	failures atomic.Uint64

	mu sync.Mutex
	// failing counts the operations that are being retried.
	failing int
	// err is the last error of any operation.
	err error
	// disabled is closed while retries are disabled: during opening and closing.
	disabled chan struct{}
	opening  bool
}

// newPolicy returns a policy with retries disabled, for opening: the first error is final.
func newPolicy(interval time.Duration, report func()) *policy {
	p := &policy{interval: interval, report: report, disabled: make(chan struct{}), opening: true}
	close(p.disabled)
	return p
}

// Err returns the error of an operation that is being retried, or nil.
func (p *policy) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing == 0 {
		return nil
	}
	return p.err
}

// LastErr returns the last error of any operation; nil if none failed.
func (p *policy) LastErr() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Failures returns the number of failed operations, retries included.
func (p *policy) Failures() uint64 { return p.failures.Load() }

// Off reports whether changes are discarded.
func (p *policy) Off() bool { return p.off.Load() }

// EnableRetries enables retries after a successful open.
func (p *policy) EnableRetries() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opening, p.disabled = false, make(chan struct{})
}

// DisableRetries gives every failing operation one last attempt; if that fails too, the file system goes off.
func (p *policy) DisableRetries() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.disabled:
	default:
		close(p.disabled)
	}
}

// retry repeats an operation that failed with err until it succeeds. It returns false if the file system went off instead.
func (p *policy) retry(err error, op func() error) bool {
	p.failures.Add(1)
	p.mu.Lock()
	p.failing++
	p.err = err
	disabled := p.disabled
	p.mu.Unlock()
	p.report()
	defer func() {
		p.mu.Lock()
		p.failing--
		p.mu.Unlock()
		p.report()
	}()
	for {
		last := p.pause(disabled)
		if p.off.Load() {
			return false
		}
		if err = op(); err == nil {
			return true
		}
		p.failures.Add(1)
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		if last {
			p.off.Store(true)
			return false
		}
	}
}

// pause waits for the next attempt, and reports whether that is the last.
func (p *policy) pause(disabled <-chan struct{}) (last bool) {
	t := time.NewTimer(p.interval)
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-disabled:
		return true
	}
}

// do runs an operation until it succeeds. It returns false if the file system is off; the operation may not have run then.
func (p *policy) do(op func() error) (on bool) {
	if p.off.Load() {
		return false
	}
	if err := op(); err != nil {
		return p.retry(err, op)
	}
	return true
}

// delayedError returns an error after a pause, because Pebble repeats the operation immediately. While the journal opens or
// closes it switches the file system off and returns nil, because Pebble would repeat the operation forever.
func (p *policy) delayedError(err error) error {
	if err == nil {
		return nil
	}
	p.failures.Add(1)
	p.mu.Lock()
	disabled, opening := p.disabled, p.opening
	p.mu.Unlock()
	if !opening && !p.pause(disabled) {
		return err
	}
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	p.off.Store(true)
	return nil
}
