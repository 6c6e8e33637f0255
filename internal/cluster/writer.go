package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/notify"
)

// # Messages of the log
//
// A message is a version byte, a part byte and frames, each a uvarint length and an encoded job.Proposal. A write that does
// not fit into one message is split into several: the first has partFirst, the last partLast, the others partMiddle; messages
// of other authors may be between them. Each author has its own subject, <prefix>.log.<node>, and writes one message at a
// time, with the sequence number of its message before (JetStream's expected last subject sequence). A message without an
// acknowledgement can therefore be sent again, and is in the log once.
const (
	messageVersion = 1
	messageHeader  = 2

	partWhole  = 0
	partFirst  = 1
	partMiddle = 2
	partLast   = 3
)

// Bounds of the writer.
const (
	// maxMessage bounds a message, below the limit of the servers, so that a write takes milliseconds.
	maxMessage = 512 << 10
	// publishTimeout bounds one attempt. Attempts repeat until one succeeds.
	publishTimeout = 2 * time.Second
	// retryPause is the pause between two attempts.
	retryPause = 200 * time.Millisecond
	// partTimeout bounds the time between the parts of one write. After a longer time the write starts again.
	partTimeout = time.Minute
)

// A writer appends this node's proposals to the log.
type writer struct {
	js         jetstream.JetStream
	stream     string
	subject    string
	limit      int64
	message    int
	now        func() time.Time
	stallAfter time.Duration
	met        *metrics
	// appliedSeq returns the last applied message of the log.
	appliedSeq func() uint64
	// onLogLost stops the participation of the node.
	onLogLost func(error)

	mu     sync.Mutex
	queue  []*pending
	bytes  int64
	number uint64
	// waiting holds the proposals that are not decided, by number.
	waiting map[uint64]*pending
	closed  bool
	wake    notify.Signal
	room    chan struct{}
	// since is when the write in flight started, or its last part was acknowledged; zero without a write.
	since time.Time
	// failure is the error of the last attempt.
	failure error
	// skipped is the last message that the apply loop has skipped, and skipErr the outcome of proposals up to it.
	skipped uint64
	skipErr error
}

func (w *writer) init() {
	w.waiting = make(map[uint64]*pending)
	w.wake, w.room = notify.New(), make(chan struct{})
	w.now = time.Now
}

// put queues a proposal. A submission is rejected if it does not fit; any other proposal waits for room until ctx is done,
// or is queued without room if ctx is nil.
func (w *writer) put(ctx context.Context, p *job.Proposal, pd *pending, delay time.Duration) error {
	w.mu.Lock()
	for !w.closed && ctx != nil && w.bytes > w.limit {
		if pd.submits {
			w.mu.Unlock()
			return newRejection("log-full", "too much is waiting for the cluster's log", time.Second)
		}
		room := w.room
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if w.closed {
		return newRejection("closed", "the node is closed", 0)
	}
	w.number++
	p.Number, pd.number = w.number, w.number
	body := p.AppendBinary(make([]byte, 0, 256))
	pd.frame = append(binary.AppendUvarint(make([]byte, 0, len(body)+4), uint64(len(body))), body...)
	w.bytes += int64(len(pd.frame))
	if delay > 0 {
		pd.delayed = w.now().Add(delay)
	}
	w.queue = append(w.queue, pd)
	w.waiting[pd.number] = pd
	w.wake.Notify()
	return nil
}

// run writes proposals until ctx is done, or the closed queue is empty.
func (w *writer) run(ctx context.Context) {
	var last uint64
	for {
		batch, wait, ok := w.take()
		switch {
		case !ok:
			return
		case batch == nil:
			t := time.NewTimer(wait)
			select {
			case <-w.wake:
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return
			}
			t.Stop()
			continue
		}
		if err := w.write(ctx, batch, &last); err != nil {
			return // ctx is done
		}
	}
}

// take returns the proposals of the next write, or the time to wait for some. It returns false when the closed queue is
// empty.
func (w *writer) take() (batch []*pending, wait time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil, time.Hour, !w.closed
	}
	due := w.closed
	wait = time.Hour
	now := w.now()
	for _, p := range w.queue {
		d := p.delayed.Sub(now)
		if d <= 0 {
			due = true
			break
		}
		wait = min(wait, d)
	}
	if !due {
		return nil, wait, true
	}
	n, size := 0, messageHeader
	for n < len(w.queue) && (n == 0 || size+len(w.queue[n].frame) <= w.message) {
		size += len(w.queue[n].frame)
		w.queue[n].sent = true
		n++
	}
	batch = append(batch, w.queue[:n]...)
	w.queue = append(w.queue[:0:0], w.queue[n:]...)
	w.since = now
	return batch, 0, true
}

// write publishes a batch, in one or several messages, until it is in the log or ctx is done.
func (w *writer) write(ctx context.Context, batch []*pending, last *uint64) error {
	size := 0
	for _, p := range batch {
		size += len(p.frame)
	}
	body := make([]byte, 0, size)
	for _, p := range batch {
		body = append(body, p.frame...)
	}
	began := w.now()
	for again := true; again; {
		again = false
		for at := 0; at < len(body); {
			n := min(len(body)-at, w.message-messageHeader)
			part := byte(partMiddle)
			switch {
			case n == len(body):
				part = partWhole
			case at == 0:
				part = partFirst
			case at+n == len(body):
				part = partLast
			}
			msg := append(make([]byte, 0, n+messageHeader), messageVersion, part)
			msg = append(msg, body[at:at+n]...)
			start := w.now()
			if err := w.publish(ctx, msg, last); err != nil {
				return err
			}
			if part != partWhole && w.now().Sub(start) > partTimeout {
				again = true // nodes may have dropped the first parts
				break
			}
			at += n
			w.progressed()
		}
	}
	w.met.appended(w.now().Sub(began), len(batch), size)
	var held []*pending
	w.mu.Lock()
	for _, p := range batch {
		p.frame, p.acked, p.seq = nil, true, *last
		if p.held != nil {
			delete(w.waiting, p.number)
			held = append(held, p)
		}
	}
	w.bytes -= int64(size)
	w.since, w.failure = time.Time{}, nil
	close(w.room)
	w.room = make(chan struct{})
	w.mu.Unlock()
	for _, p := range held {
		p.done(*p.held)
	}
	w.failSkipped(*last)
	return nil
}

// skip records that messages up to seq are not applied one by one, so that proposals in them get an error as their outcome.
func (w *writer) skip(seq uint64, err error) {
	w.mu.Lock()
	w.skipped, w.skipErr = seq, err
	w.mu.Unlock()
	w.failSkipped(0)
}

// failSkipped reports the outcome of the acknowledged proposals that were skipped. last is the last message of this node, after
// which it writes later ones; 0 if unknown.
func (w *writer) failSkipped(last uint64) {
	var failed []*pending
	w.mu.Lock()
	if w.skipped == 0 {
		w.mu.Unlock()
		return
	}
	for number, p := range w.waiting {
		if p.acked && p.seq <= w.skipped && p.held == nil {
			delete(w.waiting, number)
			if !p.completed {
				failed = append(failed, p)
			}
		}
	}
	err := w.skipErr
	if last > w.skipped {
		w.skipped = 0 // nothing else can have been skipped
	}
	w.mu.Unlock()
	for _, p := range failed {
		p.done(applyResult{err: err})
	}
}

// progressed records that the log answers, because a write of many parts takes long without being stalled.
func (w *writer) progressed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = w.now()
}

// publish writes one message after the last one, exactly once, and records its sequence number.
func (w *writer) publish(ctx context.Context, data []byte, last *uint64) error {
	read := w.appliedSeq()
	defer func() {
		if *last > 0 && *last <= read && ctx.Err() == nil {
			w.onLogLost(fmt.Errorf("%w: this node has applied message %d, and the next message got number %d", errLogLost, read, *last))
		}
	}()
	for {
		try, cancel := context.WithTimeout(ctx, publishTimeout)
		ack, err := w.js.PublishMsg(try, &nats.Msg{Subject: w.subject, Data: data},
			jetstream.WithExpectLastSequencePerSubject(*last), jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			*last = ack.Sequence
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// Only this node writes to the subject, so a later message than the last one is this one, whose acknowledgement
		// was lost. Without any message, the log was trimmed.
		if wrongSequence(err) {
			switch seq, err := w.lastOwnSeq(ctx); {
			case err != nil || seq == *last:
			case seq > *last:
				*last = seq
				return nil
			case seq == 0:
				*last = 0
				continue
			}
		}
		w.mu.Lock()
		w.failure = err
		w.mu.Unlock()
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func wrongSequence(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// lastOwnSeq returns the last message of the node's subject; 0 if there is none.
func (w *writer) lastOwnSeq(ctx context.Context) (seq uint64, err error) {
	try, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	s, err := w.js.Stream(try, w.stream)
	if err != nil {
		return 0, err
	}
	msg, err := s.GetLastMsgForSubject(try, w.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return msg.Sequence, nil
}

// drained waits until everything is written and decided, or ctx is done.
func (w *writer) drained(ctx context.Context) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		w.mu.Lock()
		left := len(w.waiting)
		w.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// close makes run end when everything is written.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake.Notify()
}
