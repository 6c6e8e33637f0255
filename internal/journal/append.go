package journal

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// The states of an item. Whoever moves it out of waiting calls Done.
const (
	itemWaiting = iota
	itemSettled
	itemRefused
)

// A request is an entry of the queue: a batch, or a control operation of the journal itself.
type request struct {
	entries []job.Entry
	done    func(error)
	key     *job.Key
	bytes   int64
	// submits is true with a Submitted event, refusable when every entry has one: then the batch can be rejected while
	// it waits for the disk, and undone if the disk has taken it.
	submits, refusable bool
	state              atomic.Int32
	// prompt is true when done is called when the disk fails, before the outcome is known.
	prompt bool
	// applied is true when the write contains the request; owned by the writer.
	applied bool
	// notes are written with the entries, and also when these are refused.
	notes []Note
	// control adds an operation of the journal itself to a write, in place of entries. The writer calls the returned
	// function when the write is durable.
	control func(b *pebble.Batch) (durable func())
	durable func()
}

// measure estimates how many bytes the item takes, in memory and on disk, and whether it submits a job.
func (it *request) measure() {
	n := 128
	it.refusable = len(it.entries) > 0
	for i := range it.entries {
		fresh := false
		for _, e := range it.entries[i].Events {
			n += job.EventBytes(e)
			_, submits := e.(job.Submitted)
			fresh = fresh || submits
		}
		it.submits = it.submits || fresh
		it.refusable = it.refusable && fresh
	}
	it.bytes = int64(n)
}

// Append queues a batch and returns; b.Done is called, once, when all of it is durable or when it is refused, and not at
// all when Append returns an error. It does not block: who appends results holds them back while Room returns a channel. A
// batch with a Submitted event is refused with a *job.Rejection of job.ErrStorage, immediately or through Done, while the
// journal is unhealthy or MaxPendingBytes wait for the disk. An event that is not legal in its job's state refuses its batch through Done, with
// job.ErrTransition. The events must not be changed afterwards.
func (j *Journal) Append(_ context.Context, b job.Batch) error {
	it := &request{entries: b.Entries, done: b.Done, key: b.Key}
	it.measure()
	if b.Prompt {
		it.makePrompt()
	}
	err := j.enqueue(it, b.Delay)
	if err != nil && b.Key != nil {
		j.Release(*b.Key)
	}
	return err
}

// makePrompt lets the item be answered before it is durable.
func (it *request) makePrompt() {
	done := it.done
	var answered atomic.Bool
	it.done = func(err error) {
		if answered.CompareAndSwap(false, true) {
			done(err)
		}
	}
	it.prompt = true
}

func (j *Journal) enqueue(it *request, delay time.Duration) error {
	if it.submits {
		if err := j.refusal(); err != nil {
			return err
		}
	}
	if err := j.queue.put(it, delay, j.c.MaxPendingBytes); err != nil {
		return err
	}
	if it.prompt {
		// Requests that are queued while the disk fails are not found by inspect, which may have run before.
		if c := j.health.current(); c != nil && c.source != causeSpace {
			it.done(c.rejection(j.c.RetryInterval))
		}
	}
	return nil
}

// Room returns nil while results can be appended, otherwise a channel that is closed when that may have changed: too much
// waits for the disk, or its free space is kept for deletes, cancels, the sweep and the next start.
func (j *Journal) Room() <-chan struct{} { return j.queue.full(j.c.MaxPendingBytes) }
