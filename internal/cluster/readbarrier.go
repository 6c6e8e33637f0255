package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/notify"
)

// # Read barrier
//
// A node serves reads from its replica. Before it reports that a job does not exist, it applies the log up to its end, so
// that a job is found on every node as soon as its submission has been acknowledged. This read barrier (Raft's ReadIndex)
// writes nothing: it requests the last sequence from the leader of the log's stream, once for all waiting requests.
//
// The leader applies a message a moment after it has committed it; until then its last sequence does not include the
// message, although another server may already have delivered it to its author. Therefore a submission is acknowledged only
// after the leader of the log has acknowledged the message, which it does once it has applied it. A new leader reports
// leader_since when it has applied everything that the previous leader had committed.
//
// Some responses are stale. A member of a group without a leader responds too, as does a server that has just restarted; their
// state may be old, and leader_since is missing. A leader that was deposed and has not noticed responds with an old sequence
// for up to 20 seconds. Therefore a response is used only if its leader had responses from a quorum within the last
// leaderLease (Raft's lease read): a follower that has lost its leader waits at least four seconds before it stands for
// election, so no other leader was elected without these followers, and a leader that hands over to another server steps
// down first. Followers respond to each write, and to a heartbeat each second or two. Otherwise the barrier retries, and
// after Config.stallAfter the request fails with 503.
//
// A window remains: if the leader is cut off from one follower, but not from the server whose vote this follower requests, it
// learns of the election with its next heartbeat; and a server that was paused can take old responses for new ones until it
// has read the messages that arrived meanwhile. During this second a request may get 404 for a job that was submitted in the
// same second. Operations that delete something use CatchUp, which writes.

// leaderLease is the maximum age of the responses of a quorum to the leader of the log.
const leaderLease = 3 * time.Second

// errUncertain means that the last sequence came from a server that does not lead the log, or has no quorum.
var errUncertain = errors.New("no leader of the log with a quorum answers")

// certainAsOf returns a time such that the last sequence of a response includes everything acknowledged before it. sent is
// when the request was sent. It returns false if the response proves no such time.
func certainAsOf(info *jetstream.StreamInfo, sent time.Time) (time.Time, bool) {
	if info.Cluster == nil || info.Config.Replicas <= 1 {
		return sent, true
	}
	if info.Cluster.LeaderSince == nil {
		return time.Time{}, false
	}
	var since []time.Duration
	for _, r := range info.Cluster.Replicas {
		if r.Active > 0 { // 0: no response to this leader yet
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

// errLagging means that the replica did not reach the end of the log in time.
var errLagging = errors.New("the replica of the node lags behind the log")

// freshness records the time up to which the replica has everything that was acknowledged.
type freshness struct {
	mu sync.Mutex
	at time.Time
	// When the replica has applied message next, it has everything that was acknowledged before nextAt.
	next   uint64
	nextAt time.Time
}

// observe records a last sequence that is certain as of a time.
func (f *freshness) observe(seq uint64, at time.Time, read uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.advance(read); f.nextAt.IsZero() { // keep the earlier target, because a node that always lags would never reach a moving one
		f.next, f.nextAt = seq, at
	}
}

// advance records how far the log is applied. Caller holds f.mu.
func (f *freshness) advance(read uint64) {
	if f.nextAt.IsZero() || read < f.next {
		return
	}
	if f.nextAt.After(f.at) {
		f.at = f.nextAt
	}
	f.next, f.nextAt = 0, time.Time{}
}

// Age returns the age of the replica: the time for which it may have missed changes of other nodes. It is one or two
// seconds while the node follows the log.
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

// queryInterval is the interval between requests for the state of the log.
const queryInterval = time.Second

// watchLog requests the state of the log every queryInterval until ctx is done.
func (c *Cluster) watchLog(ctx context.Context) {
	query := func() {
		if _, _, err := c.queryLog(ctx); err != nil && ctx.Err() == nil {
			c.log.Debug("request the state of the log", "error", err)
		}
	}
	query()
	notify.Every(ctx, queryInterval, nil, query)
}

// queryLog requests the last sequence of the log, the time as of which it is certain, and the log's clock.
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

// barriers shares one request for the last sequence between all waiting callers.
type barriers struct {
	mu   sync.Mutex
	next *barrier
	busy bool
}

// A barrier is the response for the callers that came before its request. done is closed when it has arrived.
type barrier struct {
	done chan struct{}
	seq  uint64
	err  error
}

// ReadBarrier waits until this node has applied everything that any node had accepted before the call. It returns
// job.ErrStorage if the log does not answer, or the replica lags, for some seconds.
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
		return stalledLog(errLagging)
	}
	return err
}

// runBarriers requests the last sequence until no caller waits.
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

// lastSequence requests the last sequence of the log until a response is certain.
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
