// Package reads bounds calls to the file system that may never return, such as a read of a network mount whose server
// is down.
//
// Guarantees. A caller of Calls.Do waits no longer than its context and the timeout of the Calls. An abandoned call
// continues in its own goroutine, because nothing can interrupt it; these goroutines are counted, and beyond a limit Do
// fails immediately. Open only returns regular files, and does not wait for the writer of a FIFO.
package reads

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrStuck is returned for a call that timed out, and for all calls while too many have not returned.
var ErrStuck = errors.New("the file system did not respond in time")

// Calls runs calls to a file system. It is safe for concurrent use.
type Calls struct {
	timeout time.Duration
	limit   int64
	stuck   atomic.Int64
}

// NewCalls returns Calls with a timeout for each call and a limit of about limit calls that have not returned.
func NewCalls(timeout time.Duration, limit int) *Calls {
	return &Calls{timeout: timeout, limit: int64(limit)}
}

// Stuck returns the number of abandoned calls that have not returned.
func (c *Calls) Stuck() int { return int(c.stuck.Load()) }

// Do runs f and returns its error, the cause of ctx, or ErrStuck. After the last two f may still run: it must not write
// to reused memory.
func (c *Calls) Do(ctx context.Context, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if n := c.stuck.Load(); n >= c.limit {
		return fmt.Errorf("%w: %d calls have not returned", ErrStuck, n)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, ErrStuck)
	defer cancel()
	done := make(chan error, 1)
	var decided atomic.Bool // f or the caller was first
	go func() {             // ends with f, which cannot be interrupted
		err := f()
		if decided.CompareAndSwap(false, true) {
			done <- err
		} else {
			c.stuck.Add(-1)
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	c.stuck.Add(1)
	if !decided.CompareAndSwap(false, true) {
		c.stuck.Add(-1)
		return <-done
	}
	return context.Cause(ctx)
}

// OpenFlags opens a file for reading without waiting for the writer of a FIFO.
const OpenFlags = os.O_RDONLY | syscall.O_NONBLOCK

// Open opens a regular file for reading. Errors: fs.ErrNotExist, also for other types of files; other errors of the
// file system.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, OpenFlags, 0)
	if err != nil {
		return nil, err
	}
	if err := Regular(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Regular returns an error that wraps fs.ErrNotExist unless f is a regular file.
func Regular(f *os.File) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: f.Name(), Err: fmt.Errorf("%w: not a regular file", fs.ErrNotExist)}
	}
	return err
}
