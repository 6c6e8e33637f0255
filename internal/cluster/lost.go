package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// # A log that lost messages
//
// A node's replica can have more than the log, because the NATS servers lost messages, or the stream was deleted, purged or
// restored from an older backup. Rebuilding the replica from such a log would delete acknowledged jobs. Therefore a node
// compares the log with its replica whenever it begins to read. If the log lacks messages that the replica was made from for
// longer than Config.LogGrace, the node stops participating: it keeps the replica, serves reads from it, accepts no tasks and
// no submissions, and Ready reports it. Only an operator can decide which of the two is right; see GatherLogLost.md.
//
// The replica is rebuilt only when it is empty, or when the record of a trim proves that the log was trimmed past it.

// errLogLost means that the log does not contain the messages that this node has applied.
var errLogLost = errors.New("the cluster's log has lost messages that this node has applied")

// compare returns how the log contradicts the replica; "" if it does not.
func (c *Cluster) compare(ctx context.Context, stream jetstream.Stream) (contradiction string, err error) {
	info := stream.CachedInfo()
	state, read := &info.State, c.appliedSeq()
	switch {
	case info.Config.Metadata[streamIDKey] != c.streamID:
		return "it is another stream of the same name", nil
	case read == 0:
		return "", nil
	case state.LastSeq < read:
		return fmt.Sprintf("it ends at message %d", state.LastSeq), nil
	case state.Msgs == 0:
		return "it is empty", nil
	case state.FirstSeq > read+1:
		switch trim, err := c.lastTrim(ctx); {
		case err != nil:
			return "", err
		case trim == nil || trim.Through < state.FirstSeq:
			return fmt.Sprintf("it begins at message %d, and gather did not trim it that far", state.FirstSeq), nil
		}
		return "", nil
	}
	last := c.applied.seq - 1
	if c.applied.at == 0 || last < state.FirstSeq {
		return "", nil
	}
	msg, err := stream.GetMsg(ctx, last)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound): // it has just been trimmed
		return "", nil
	case err != nil:
		return "", err
	case msg.Time.UnixNano() != c.applied.at:
		return fmt.Sprintf("its message %d was written at %s, and the one that this node has applied at %s",
			last, msg.Time.Format(time.RFC3339Nano), time.Unix(0, c.applied.at).UTC().Format(time.RFC3339Nano)), nil
	}
	return "", nil
}

// checkStreamID checks that the log contains the messages that the replica was made from. It returns errLogLost if it has
// not contained them for LogGrace, because a server that lags may answer while the servers form a cluster.
func (c *Cluster) checkStreamID(ctx context.Context) error {
	stream, err := c.js.Stream(ctx, c.logStream)
	contradiction := "its stream does not exist"
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && c.appliedSeq() > 0:
	case err != nil:
		return err
	default:
		if contradiction, err = c.compare(ctx, stream); err != nil {
			return err
		}
	}
	switch {
	case contradiction == "":
	case c.appliedSeq() == 0: // the replica is empty, so nothing is lost
		c.streamID = stream.CachedInfo().Config.Metadata[streamIDKey]
		if err := c.rebuild(ctx, 1); err != nil {
			return err
		}
	default:
		return c.checkMismatch(contradiction)
	}
	c.mismatchSince = time.Time{}
	c.mismatch.Store(nil)
	select {
	case <-c.logChecked:
	default:
		close(c.logChecked)
	}
	return nil
}

// checkMismatch returns errLogLost if the mismatch has lasted for LogGrace, otherwise a temporary error.
func (c *Cluster) checkMismatch(how string) error {
	err := fmt.Errorf("%w: it has applied message %d of %s, and of the log %s", errLogLost, c.appliedSeq(), c.logStream, how)
	if c.mismatchSince.IsZero() {
		c.mismatchSince = time.Now()
		c.mismatch.Store(newRejection("log-unmatched", err.Error(), time.Second))
		c.log.Warn("the log does not match this node's replica; checking again", "error", err, "for", c.cfg.LogGrace)
	}
	if time.Since(c.mismatchSince) < c.cfg.LogGrace {
		return errors.New(err.Error()) // without errLogLost
	}
	return err
}

// stopLogLost stops the participation of the node, and keeps its replica.
func (c *Cluster) stopLogLost(err error) {
	c.log.Error("the node stops participating and keeps its replica: see the runbook GatherLogLost", "error", err, "replica", c.cfg.Dir)
	c.logLost.Store(true)
	c.fail("log-lost", err)
}
