package cluster

import (
	"errors"
	"fmt"
	"time"

	"gather/internal/job"
)

// A pending is a proposal that is queued or written, and not decided.
type pending struct {
	frame   []byte
	number  uint64
	delayed time.Time
	// submits is true for a submission, which can be rejected before its outcome is known.
	submits bool
	// sent is true when the proposal may be in the log.
	sent bool
	// completed is true when done was called, or will be called with held.
	completed bool
	// acked is true when the leader of the log has acknowledged the proposal. The outcome of a submission is held until
	// then, see readbarrier.go.
	acked bool
	// seq is the message of an acknowledged proposal.
	seq  uint64
	held *applyResult
	// reserved is the share of the bounds that a submission uses until it is decided.
	reserved *reservation
	// done receives the outcome, from the apply loop or the replica. It must not block.
	done func(applyResult)
}

// An applyResult is the outcome of a proposal.
type applyResult struct {
	// err is nil, or the reason for which the proposal was rejected.
	err error
	// last is true when the job waits only for its last event: all its tasks are done, or it is ending and has no
	// participants.
	last bool
	// seq is the message of the proposal in the log; 0 if it is not in the log.
	seq uint64
}

// complete records the outcome of a proposal, and reports it unless it must be held. It returns true if the proposal was
// rejected before, while its outcome was unknown. An outcome that comes again while a replica is rebuilt is ignored.
func (w *writer) complete(number uint64, d applyResult) (rejected bool) {
	w.mu.Lock()
	p := w.waiting[number]
	switch {
	case p == nil || p.held != nil:
		w.mu.Unlock()
		return false
	case p.completed:
		delete(w.waiting, number)
		w.mu.Unlock()
		return true
	}
	p.completed = true
	if p.submits && !p.acked {
		p.held = &d
		w.mu.Unlock()
		return false
	}
	delete(w.waiting, number)
	w.mu.Unlock()
	p.done(d)
	return false
}

// reservation returns the reservation of a proposal; nil if it has none.
func (w *writer) reservation(number uint64) *reservation {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.waiting[number]; p != nil {
		return p.reserved
	}
	return nil
}

// stalled returns the error of submissions while the log does not answer, otherwise nil.
func (w *writer) stalled() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return errors.New("the node is closed")
	case w.since.IsZero() || w.now().Sub(w.since) < w.stallAfter:
		return nil
	case w.failure != nil:
		return fmt.Errorf("the cluster's log takes no message: %w", w.failure)
	default:
		return errors.New("the cluster's log does not answer")
	}
}

// rejectPending rejects the waiting submissions. A submission that has been sent, and that is found in the log later, is
// cancelled.
func (w *writer) rejectPending(err error) {
	w.mu.Lock()
	var rejected []*pending
	keep := w.queue[:0]
	for _, p := range w.queue {
		if !p.submits {
			keep = append(keep, p)
			continue
		}
		p.completed = true
		delete(w.waiting, p.number)
		w.bytes -= int64(len(p.frame))
		rejected = append(rejected, p)
	}
	clear(w.queue[len(keep):])
	w.queue = keep
	for _, p := range w.waiting {
		if p.submits && p.sent && !p.completed {
			p.completed = true
			rejected = append(rejected, p)
		}
	}
	w.mu.Unlock()
	for _, p := range rejected {
		p.done(applyResult{err: err})
	}
}

// failPending reports an error for the proposals that will never be decided.
func (w *writer) failPending(err error) {
	w.mu.Lock()
	left := w.waiting
	w.waiting = make(map[uint64]*pending)
	w.queue = nil
	w.mu.Unlock()
	for _, p := range left {
		switch {
		case p.held != nil:
			p.done(*p.held)
		case !p.completed:
			p.done(applyResult{err: err})
		}
	}
}

func (w *writer) pendingBytes() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

// newRejection returns a rejection of a submission with job.ErrStorage.
func newRejection(reason, detail string, retry time.Duration) *job.Rejection {
	return &job.Rejection{Err: job.ErrStorage, Reason: reason, Detail: detail, RetryAfter: retry}
}
