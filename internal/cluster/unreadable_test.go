package cluster_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
	"gather/internal/journal"
)

// A node that finds an event of a later version in the log stops participating: it is not ready, accepts nothing and
// applies nothing further, and still serves reads from its replica. So does a node that starts.
func TestUnreadableLog(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	id := a.submit(1)
	f.catchUp(a, b)
	// A proposal with an event that this version does not have, which nodes of a later version apply. It ends with the event.
	event := job.Started{At: time.Now()}
	p := job.Proposal{Kind: job.ProposeBatch, Number: 1, Entries: []job.Entry{{ID: id, Events: []job.Event{event}}}}
	body := p.AppendBinary(nil)
	body[len(body)-len(job.AppendEvent(nil, event))] = 99
	data := binary.AppendUvarint([]byte{1, 0}, uint64(len(body)))
	_, err := f.jetStream().Publish(t.Context(), f.cfg.Prefix+".log.later", append(data, body...))
	f.ok(err)
	for _, n := range []*node{a, b, f.open("c")} {
		f.eventually("the node is not ready", func() bool { return n.Ready() != nil })
		if err := n.Ready(); !errors.Is(err, job.ErrStorage) || !strings.Contains(err.Error(), "another version") {
			t.Errorf("%s: got Ready %v, want a log of another version", n.dir, err)
		}
		f.want(n.append(job.Batch{Entries: []job.Entry{{ID: job.NewID(), Events: []job.Event{newJob(1)}}}}), job.ErrStorage)
		f.eventually("the job is read from the replica, queued as before", func() bool {
			j, err := n.Get(t.Context(), "t", id)
			return err == nil && j.State == job.Queued
		})
	}
}

// A node does not start on a replica whose position it cannot read; taken for an empty one, the replica would be cleared.
func TestUnreadablePosition(t *testing.T) { //nolint:tparallel // the cases share a directory
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a")
	a.submit(1)
	a.close()
	for name, value := range map[string][]byte{"a later version": {3, 3, 0, 1, 0}, "no position": {0xff}} {
		t.Run(name, func(t *testing.T) {
			view, err := journal.Open(t.Context(), journal.Config{Dir: a.dir, Replica: true})
			f.ok(err)
			f.ok(view.ApplyReplicated(t.Context(), job.Batch{}, journal.Metadata{Name: "position", Value: value}))
			f.ok(view.Close())
			c := f.cfg
			c.Dir, c.Logger = a.dir, logger()
			if n, err := cluster.Open(t.Context(), c); !errors.Is(err, job.ErrVersion) {
				t.Errorf("got %v, %v, want %v", n, err, job.ErrVersion)
			}
		})
	}
}
