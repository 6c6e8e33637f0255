package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// # Read barrier
//
// A node answers reads from its replica. Before it reports that a job does not exist, it applies the log up to its end,
// so that a job is found on every node as soon as its submission has been acknowledged. This read barrier (Raft's
// ReadIndex) writes nothing: it requests the last sequence from the leader of the log's stream, once for all waiting
// requests.
//
// The leader applies a message a moment after it has committed it; until then its last sequence does not have the
// message, though another server may already have delivered it to its author. So a submission is acknowledged only when
// the leader of the log has acknowledged the message too, which it does once it has applied it. A new leader reports
// leader_since when it has applied everything that the leader before had committed.
//
// Not every answer counts. A member of a group without a leader answers too, and a server that has just restarted; their
// state may be old, and leader_since is missing. A leader that was deposed and has not noticed answers with an old
// sequence, for up to 20 seconds. Therefore an answer counts only if its leader had a response from enough followers for
// a quorum within the last leaderLease (Raft's lease read): a follower that has lost its leader waits at least four
// seconds before it stands for election, so no other leader was elected without these followers, and a leader that hands
// over to another server steps down first. Followers respond to each write, and to a heartbeat each second or two.
// Otherwise the barrier retries, and after Config.stallAfter the request is 503.
//
// A window remains: when the leader is cut off from one follower, but not from the server whose vote this follower
// requests, it notices with its next heartbeat; and a server that was paused as a whole can take old responses for new
// ones until it has read the messages that arrived meanwhile. In this second a request may get 404 for a job that was
// submitted in the same second. Operations that delete something use CatchUp, which writes.

// leaderLease is how old the last responses of a quorum to the leader of the log may be.
const leaderLease = 3 * time.Second

// errUncertain: the answer for the last sequence came from a server that does not lead the log, or has no quorum.
var errUncertain = errors.New("no leader of the log with a quorum answers")

// certainAsOf returns the time as of which nothing behind the last sequence of an answer had been acknowledged; the
// request was sent at a given time. It is false when the answer does not prove any.
func certainAsOf(info *jetstream.StreamInfo, sent time.Time) (time.Time, bool) {
	if info.Cluster == nil || info.Config.Replicas <= 1 {
		return sent, true
	}
	if info.Cluster.LeaderSince == nil {
		return time.Time{}, false
	}
	var since []time.Duration
	for _, r := range info.Cluster.Replicas {
		if r.Active > 0 { // 0: this leader has had no response from it
			since = append(since, r.Active)
		}
	}
	slices.Sort(since)
	others := max(info.Config.Replicas, len(info.Cluster.Replicas)+1) / 2 // the followers of a quorum
	if len(since) < others {
		return time.Time{}, false
	}
	return sent.Add(-since[others-1]), true
}

// errBehind: the replica has not come to the end of the log in time.
var errBehind = errors.New("the node has not read as far as the log goes")

// freshness has the time as of which the replica is known to have everything that was acknowledged.
type freshness struct {
	mu sync.Mutex
	at time.Time
	// The replica has everything of nextAt when it has applied message next.
	next   uint64
	nextAt time.Time
}

// observe takes an answer for the last sequence, which is certain as of a time.
func (f *freshness) observe(seq uint64, at time.Time, read uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.advance(read); f.nextAt.IsZero() { // otherwise a node that lags all the time would never reach it
		f.next, f.nextAt = seq, at
	}
}

// advance takes how far the log is applied. Caller holds f.mu.
func (f *freshness) advance(read uint64) {
	if f.nextAt.IsZero() || read < f.next {
		return
	}
	if f.nextAt.After(f.at) {
		f.at = f.nextAt
	}
	f.next, f.nextAt = 0, time.Time{}
}

// Age returns the age of the replica: how long it may have missed changes of other nodes. It is one or two seconds while
// the node follows the log.
func (c *Cluster) Age() time.Duration {
	f := &c.freshness
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance(c.appliedSeq())
	if f.at.IsZero() {
		return time.Since(c.opened)
	}
	return time.Since(f.at)
}

// queryInterval is how often a node requests the state of the log.
const queryInterval = time.Second

// watchLog requests the state of the log every lookEvery until ctx is done.
func (c *Cluster) watchLog(ctx context.Context) {
	t := time.NewTicker(queryInterval)
	defer t.Stop()
	for {
		if _, _, err := c.queryLog(ctx); err != nil && ctx.Err() == nil {
			c.log.Debug("look at the log", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// queryLog requests from the leader of the log its last sequence, as of a time when it is certain, and its clock.
func (c *Cluster) queryLog(ctx context.Context) (last uint64, at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	read, sent := c.appliedSeq(), time.Now()
	stream, err := c.js.Stream(ctx, c.logStream)
	if err != nil {
		return 0, time.Time{}, err
	}
	info := stream.CachedInfo()
	c.setClock(sent, time.Now(), info)
	at, ok := certainAsOf(info, sent)
	if !ok || info.State.LastSeq < read {
		return 0, time.Time{}, errUncertain
	}
	c.freshness.observe(info.State.LastSeq, at, c.appliedSeq())
	return info.State.LastSeq, at, nil
}

// readClock reads the log's clock.
func (c *Cluster) readClock(ctx context.Context) error {
	if _, _, err := c.queryLog(ctx); !errors.Is(err, errUncertain) {
		return err
	}
	return nil
}

// stalledLog returns the rejection of a request for which the log gave no answer.
func stalledLog(err error) *job.Rejection {
	if r, ok := errors.AsType[*job.Rejection](err); ok {
		return r
	}
	return newRejection("log-stalled", "the cluster's log does not answer: "+err.Error(), time.Second)
}

// barriers shares the answers for the last sequence between waiting requests.
type barriers struct {
	mu   sync.Mutex
	next *barrier
	busy bool
}

// A barrier is the answer to the requests that came before it was requested. done is closed when it is there.
type barrier struct {
	done chan struct{}
	seq  uint64
	err  error
}

// ReadBarrier waits until this node has everything that any node had accepted when it was called. Errors: job.ErrStorage
// when the log does not answer, or the replica does not follow it, within some seconds.
func (c *Cluster) ReadBarrier(ctx context.Context) error {
	if err := c.checkReadable(); err != nil {
		return asRejection(err)
	}
	s := &c.barriers
	s.mu.Lock()
	if s.next == nil {
		s.next = &barrier{done: make(chan struct{})}
	}
	b := s.next
	if !s.busy {
		s.busy = true
		c.done.Go(c.runBarriers)
	}
	s.mu.Unlock()
	select {
	case <-b.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if b.err != nil {
		return stalledLog(b.err)
	}
	within, cancel := context.WithTimeout(ctx, c.cfg.stallAfter)
	defer cancel()
	err := c.await(within, b.seq)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return stalledLog(errBehind)
	}
	return err
}

// runBarriers requests the last sequence until no request waits.
func (c *Cluster) runBarriers() {
	s := &c.barriers
	for {
		s.mu.Lock()
		b := s.next
		s.next = nil
		s.busy = b != nil
		s.mu.Unlock()
		if b == nil {
			return
		}
		b.seq, b.err = c.lastSequence()
		close(b.done)
	}
}

// lastSequence requests the last sequence of the log until the answer counts.
func (c *Cluster) lastSequence() (last uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.stallAfter)
	defer cancel()
	for {
		asked := time.Now()
		last, at, err := c.queryLog(ctx)
		switch {
		case err == nil && asked.Sub(at) <= leaderLease:
			return last, nil
		case err == nil:
			err = errUncertain
		}
		select {
		case <-time.After(retryPause):
		case <-c.failed:
			return 0, c.failure.Load()
		case <-ctx.Done():
			return 0, err
		}
	}
}
