package bucket

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// aheadBlocks is the number of blocks that are read ahead of a reader.
	aheadBlocks = 5
	// aheadReads is the maximum number of blocks that are read ahead at a time, and aheadBytes that of their bytes.
	aheadReads = 128
	aheadBytes = 10 * s3Block
)

// readAhead reads blocks before they are needed, so that readers rarely wait for the latency of the store. It is safe for
// concurrent use.
type readAhead struct {
	ctx    context.Context //nolint:containedctx // of the goroutines, which outlive the calls
	cancel context.CancelFunc
	slots  chan struct{}
	bytes  *semaphore.Weighted

	mu      sync.Mutex // guards reads against stop
	stopped bool
	reads   sync.WaitGroup
}

func newReadAhead() *readAhead {
	ctx, cancel := context.WithCancel(context.Background())
	return &readAhead{ctx: ctx, cancel: cancel, slots: make(chan struct{}, aheadReads), bytes: semaphore.NewWeighted(aheadBytes)}
}

// start reads a block of o unless it is cached, or too many are read ahead already. An error is that of the reader that
// needs the block: it reads it again.
func (a *readAhead) start(o *Object, k blockKey) {
	if o.cache.Has(k) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return
	}
	select {
	case a.slots <- struct{}{}:
	default:
		return
	}
	if !a.bytes.TryAcquire(k.n) {
		<-a.slots
		return
	}
	a.reads.Go(func() {
		defer func() {
			a.bytes.Release(k.n)
			<-a.slots
		}()
		_, _ = o.block(a.ctx, k)
	})
}

// stop interrupts the reads and waits for them.
func (a *readAhead) stop() {
	if a == nil { // of a Set that allows nothing
		return
	}
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.cancel()
	a.reads.Wait()
}
