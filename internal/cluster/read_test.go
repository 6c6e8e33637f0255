package cluster_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// An accepted job can be read on all nodes.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			for k := range 40 {
				id := n.submit(1)
				if _, err := n.Get(t.Context(), "t", id); err != nil {
					t.Errorf("on its own node: %v", err)
				}
				if _, err := nodes[(i+1+k%2)%3].Get(t.Context(), "t", id); err != nil {
					t.Errorf("on another node: %v", err)
				}
			}
		})
	}
	all.Wait()
	for _, n := range nodes {
		_, err := n.Get(t.Context(), "t", job.NewID())
		f.want(err, job.ErrNotFound)
		_, err = n.Get(t.Context(), "other", nodes[0].submit(1))
		f.want(err, job.ErrNotFound)
	}
}

// While no NATS server runs, nothing is accepted and the replica can be read; when the servers return, work continues.
func TestNoServers(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	id := a.submit(2)
	f.catchUp(b)
	lease := a.lease()
	f.ok(lease.Start(t.Context()))
	f.s.StopAll()
	for _, n := range []*node{a, b} {
		f.eventually("a node is not ready", func() bool { return n.Ready() != nil })
		f.want(n.Ready(), job.ErrStorage)
		n.get(id)
		_, err := n.Get(t.Context(), "t", job.NewID())
		f.want(err, job.ErrStorage)
		err = n.append(batch(newJob(1)))
		r, ok := errors.AsType[*job.Rejection](err)
		if !ok || !errors.Is(r.Err, job.ErrStorage) || r.RetryAfter <= 0 {
			t.Errorf("a submission: %v, want a rejection with a time to retry after", err)
		}
		_, err = n.Nodes(t.Context())
		f.want(err, job.ErrStorage)
		_, err = n.Cancel(t.Context(), "t", id)
		f.want(err, job.ErrStorage)
		if v := n.metric("connected"); v != 0 {
			t.Errorf("connected is %v", v)
		}
	}
	done := make(chan error, 1)
	var servers atomic.Bool // have been started again
	f.ok(lease.Append(t.Context(), func(err error) {
		if !servers.Load() {
			t.Errorf("without servers: got the result %v of an append, want none", err)
		}
		done <- err
	}, job.TaskProgress{Task: lease.Task, Done: true, Completed: 1}))
	servers.Store(true)
	f.s.StartAll()
	select {
	case err := <-done:
		f.ok(err)
	case <-time.After(waitTimeout):
		t.Fatal("an append without servers was never decided")
	}
	lease.End()
	for _, n := range []*node{a, b} {
		f.eventually("a node is ready again", func() bool { return n.Ready() == nil })
		n.work(2, nil)
	}
	b.submit(1)
	if j := b.waitEnded(id); j.State != job.Succeeded || j.Progress.Completed != 2 {
		t.Errorf("the job is %v with %+v", j.State, j.Progress)
	}
	f.catchUp(a)
	a.checkLog(id)
	if n := a.metric("disconnects_total"); n < 1 {
		t.Errorf("%v disconnects", n)
	}
}

// quickly has a node reject submissions soon after the log has ceased to answer.
var quickly = cluster.WithStallAfter(4 * time.Second)

// A submission with an unknown outcome is accepted once if its client retries with its key, and cancelled if it has no key.
func TestUnknownFate(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a", quickly), f.open("b", quickly)
	keyed, plain := newJob(2), newJob(2)
	key := job.Key{Tenant: "t", Route: "r", Value: "k", Fingerprint: [32]byte{1}}
	_, err := a.Reserve(t.Context(), key)
	f.ok(err)
	f.s.StopAll()
	// If the node had noticed, it would reject the submission before sending it; both may happen.
	keyedBatch := batch(keyed)
	keyedBatch.Key = &key
	rejected := make(chan error, 2)
	sent := 0
	for _, batch := range []job.Batch{keyedBatch, batch(plain)} {
		batch.Done = func(err error) { rejected <- err }
		if a.AppendAnyway(t.Context(), batch) == nil {
			sent++
		}
	}
	for range sent {
		f.want(<-rejected, job.ErrStorage)
	}
	f.s.StartAll()
	for _, n := range []*node{a, b} {
		f.eventually("a node is ready again", func() bool { return n.Ready() == nil })
		n.work(1, nil)
	}
	id, err := a.submitOnce(key, newJob(2))
	f.ok(err)
	if j := b.waitEnded(id); j.State != job.Succeeded {
		t.Errorf("the job that was submitted twice is %v", j.State)
	}
	f.catchUp(a)
	if _, err := a.Get(t.Context(), "t", plain.Job.ID); err == nil {
		if j := a.waitEnded(plain.Job.ID); j.State != job.Cancelled {
			t.Errorf("the job without a key is %v", j.State)
		}
	} else {
		f.want(err, job.ErrNotFound)
	}
}
