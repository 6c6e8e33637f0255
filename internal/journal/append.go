package journal

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// The states of a request. The goroutine that moves a request out of requestPending calls its Done.
const (
	requestPending = iota
	requestAccepted
	requestRejected
)

// A request is an entry of the writer's queue: a batch, or an operation of the journal itself.
type request struct {
	entries []job.Entry
	done    func(error)
	key     *job.Key
	bytes   int64
	// bulk is true for results that are written in a piece of their own.
	bulk bool
	// after is the number of requests that are not bulk results and have to be written before this one.
	after uint64
	// ahead is what this request adds to queue.ahead.
	ahead int64
	// submits is true when an entry has a Submitted event.
	submits bool
	// rejectable is true when every entry has a Submitted event: the batch can be rejected while it waits for the disk,
	// and deleted again if the disk has taken it.
	rejectable bool
	state      atomic.Int32
	// prompt is true when done is called as soon as the disk fails, before the outcome is known.
	prompt bool
	// applied is true when the request is part of a write; owned by the writer.
	applied bool
	// rejection is the error with which the request is rejected when the write is durable; owned by the writer.
	rejection error
	// metadata is written with the entries, and also when these are rejected.
	metadata []Metadata
	// op adds an operation of the journal itself to a write; nil for a batch. The writer calls the returned function when
	// the write is durable.
	op func(b *pebble.Batch) (durable func())
	// durable is the function that op returned.
	durable func()
}

// measure sets the estimated size of a batch, in memory and on disk, and whether it submits jobs.
func (r *request) measure() {
	n := 128
	r.rejectable = len(r.entries) > 0
	for i := range r.entries {
		fresh := false
		for _, e := range r.entries[i].Events {
			n += job.EventBytes(e)
			_, submits := e.(job.Submitted)
			fresh = fresh || submits
		}
		r.submits = r.submits || fresh
		r.rejectable = r.rejectable && fresh
	}
	r.bytes = int64(n)
}

// events reports whether the request has nothing but events of jobs that were submitted before.
func (r *request) events() bool { return r.op == nil && !r.submits }

// Append queues a batch without blocking. b.Done is called once, when the whole batch is durable or rejected, and never when
// Append returns an error. Callers with results to append wait while Room returns a channel. A batch with a Submitted event
// is rejected with a *job.Rejection of job.ErrStorage, immediately or through Done, while the journal is unhealthy or
// MaxPendingBytes wait for the disk. A batch with an event that is invalid in its job's state is rejected through Done, with
// job.ErrTransition. The events must not be changed afterwards.
func (j *Journal) Append(_ context.Context, b job.Batch) error {
	r := &request{entries: b.Entries, done: b.Done, key: b.Key}
	r.measure()
	if b.Prompt {
		r.makePrompt()
	}
	r.bulk = !j.c.Replica && r.bytes >= minBulk && len(r.entries) == 1 && !r.submits && r.key == nil
	err := j.enqueue(r, b.Delay)
	if err != nil && b.Key != nil {
		j.Release(*b.Key)
	}
	return err
}

// makePrompt allows done to be called before the request is durable.
func (r *request) makePrompt() {
	done := r.done
	var answered atomic.Bool
	r.done = func(err error) {
		if answered.CompareAndSwap(false, true) {
			done(err)
		}
	}
	r.prompt = true
}

func (j *Journal) enqueue(r *request, delay time.Duration) error {
	if r.submits {
		if err := j.rejection(); err != nil {
			return err
		}
	}
	if err := j.queue.put(r, delay, j.c.MaxPendingBytes); err != nil {
		return err
	}
	if r.prompt {
		// inspect may have run just before the request was queued.
		if c := j.health.current(); c != nil && c.source != issueSpace {
			r.done(c.rejection(j.c.RetryInterval))
		}
	}
	return nil
}

// Room returns nil while results can be appended. While too much waits for the disk, or its free space is reserved for
// deletes, cancels, the sweep and the next start, it returns a channel that is closed when that may have changed.
func (j *Journal) Room() <-chan struct{} { return j.queue.full(j.c.MaxPendingBytes) }
