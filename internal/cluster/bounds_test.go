package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// admitted returns a batch of submissions under bounds.
func admitted(bounds job.Admission, size job.Size, subs ...job.Submitted) job.Batch {
	b := batch(subs...)
	for range subs {
		bounds.Sizes = append(bounds.Sizes, size)
	}
	b.Admission = &bounds
	return b
}

// Three nodes together accept as many jobs as the bounds allow, and ended jobs make room.
func TestAdmission(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	size := job.Size{Memory: 100, Waiting: 7}
	for _, c := range []struct {
		name, reason string
		bounds       job.Admission
		err          error
		room         int
	}{
		{"jobs", "jobs", job.Admission{Jobs: 10}, job.ErrQueueFull, 10},
		{"quota", "quota", job.Admission{TenantJobs: 11, Jobs: 1000}, job.ErrQuota, 11},
		{"bytes", "bytes", job.Admission{Bytes: 1299}, job.ErrQueueFull, 12},
		{"waiting", "waiting", job.Admission{Waiting: 91}, job.ErrQueueFull, 13},
	} {
		var mu sync.Mutex
		var accepted []job.ID
		fill := func(each int) {
			var all sync.WaitGroup
			for _, n := range nodes {
				for range each {
					all.Go(func() {
						s := newJob(1)
						err := n.append(admitted(c.bounds, size, s))
						mu.Lock()
						defer mu.Unlock()
						if err == nil {
							accepted = append(accepted, s.Job.ID)
							return
						}
						r, ok := errors.AsType[*job.Rejection](err)
						if !ok || !errors.Is(r.Err, c.err) || r.Reason != c.reason || r.RetryAfter <= 0 {
							t.Errorf("%s: rejected with %v (%+v)", c.name, err, r)
						}
					})
				}
			}
			all.Wait()
		}
		fill(10)
		if len(accepted) != c.room {
			t.Errorf("%s: %d jobs were accepted, want %d", c.name, len(accepted), c.room)
		}
		for i := range 3 {
			f.ok(nodes[i].events(accepted[i], job.Started{At: time.Now()}, job.Finished{At: time.Now(), State: job.Succeeded}))
		}
		// Each node may have to apply the ends first.
		f.catchUp(nodes...)
		fill(5)
		if len(accepted) != c.room+3 {
			t.Errorf("%s: after 3 ends %d jobs in all were accepted, want %d", c.name, len(accepted), c.room+3)
		}
		// A batch is accepted or rejected as a whole.
		f.want(nodes[0].append(admitted(c.bounds, size, newJob(1), newJob(1))), c.err)
		for _, id := range accepted[3:] {
			f.ok(nodes[0].events(id, job.Finished{At: time.Now(), State: job.Failed}))
		}
		f.catchUp(nodes...)
	}
	if got, want := f.sameStates(nodes...), "tenants map[], 0 bytes, 0 waiting"; !strings.HasPrefix(got, want) {
		t.Errorf("in the end got the table %s, want %s", got, want)
	}
	for _, n := range nodes {
		f.eventually("rejected proposals are counted", func() bool {
			return n.metric("log_rejected_proposals_total", "bound") == nodes[0].metric("log_rejected_proposals_total", "bound")
		})
	}
}

// submitOnce submits a job with an idempotency key, as a server does.
func (n *node) submitOnce(key job.Key, s job.Submitted) (job.ID, error) {
	for {
		prior, err := n.Reserve(n.f.Context(), key)
		switch {
		case errors.Is(err, job.ErrKeyInProgress):
			time.Sleep(time.Millisecond)
			continue
		case err != nil:
			return job.ID{}, err
		case prior != nil:
			return prior[0], nil
		}
		b := batch(s)
		b.Key = &key
		err = n.append(b)
		if p, ok := errors.AsType[*job.DuplicateKeyError](err); ok {
			return p.IDs[0], nil
		}
		return s.Job.ID, err
	}
}

// Of many concurrent submissions with one key on all nodes, one is accepted, and all return its job.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.KeyRetention = time.Hour
	nodes := f.openThree()
	for round := range 5 {
		key := job.Key{Tenant: "t", Route: "r", Value: fmt.Sprint(round), Fingerprint: [32]byte{1}}
		var mu sync.Mutex
		answers := make(map[job.ID]int)
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				id, err := nodes[i%3].submitOnce(key, newJob(1))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				answers[id]++
			})
		}
		all.Wait()
		f.catchUp(nodes...)
		jobs, _, err := nodes[2].List(t.Context(), job.Query{Tenant: "t", Limit: 100})
		f.ok(err)
		if len(answers) != 1 || len(jobs) != round+1 || answers[jobs[0].ID] != 30 {
			t.Fatalf("there are %d jobs, clients got %v", len(jobs), answers)
		}
		other := key
		other.Fingerprint[0]++
		for _, n := range nodes {
			_, err := n.submitOnce(other, newJob(1))
			f.want(err, job.ErrKeyReused)
		}
	}
	// The same if the other node's use is not applied yet.
	raced := 0
	for i := range 20 {
		key := job.Key{Tenant: "t", Route: "r", Value: fmt.Sprint("race", i)}
		errs := make([]error, 2)
		var all sync.WaitGroup
		for k := range errs {
			all.Go(func() {
				key := key
				key.Fingerprint[0] = byte(k)
				_, errs[k] = nodes[k].submitOnce(key, newJob(1))
			})
		}
		all.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("of two bodies with one key: %v", errs)
		}
		f.want(errors.Join(errs...), job.ErrKeyReused)
		raced++
	}
	// Used keys outlive the nodes and their replicas.
	nodes[1].close()
	again := []*node{f.open("b"), f.open("empty")}
	for _, n := range again {
		id, err := n.submitOnce(job.Key{Tenant: "t", Route: "r", Value: "0", Fingerprint: [32]byte{1}}, newJob(1))
		f.ok(err)
		n.get(id)
	}
	f.sameStates(nodes[0], again[0], again[1])
}

// An expired key can be used again on every node.
func TestKeyExpires(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.KeyRetention = 300 * time.Millisecond
	a, b := f.open("a"), f.open("b")
	key := job.Key{Tenant: "t", Route: "r", Value: "k", Fingerprint: [32]byte{1}}
	first, err := a.submitOnce(key, newJob(1))
	f.ok(err)
	key.Fingerprint[0] = 2
	f.eventually("the key has expired", func() bool {
		second, err := b.submitOnce(key, newJob(1))
		if err == nil && second == first {
			t.Fatal("another body gets the job of the first")
		}
		if !errors.Is(err, job.ErrKeyReused) {
			f.ok(err)
		}
		return err == nil
	})
	f.sameStates(a, b)
}

// Batches of many messages are applied completely or not at all, while others write, also by a node that starts in between.
func TestLargeBatches(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	f.cfg.NodeTimeout = shortNodeTimeout
	a, b := f.open("a"), f.open("b")
	large := func() []job.Submitted {
		var subs []job.Submitted
		for i := range 3 {
			s := newJob(1)
			s.Spec = []byte(strings.Repeat(fmt.Sprint(i, s.Job.ID), 600_000/37))
			subs = append(subs, s)
		}
		return subs
	}
	check := func(n *node, subs []job.Submitted) {
		t.Helper()
		for _, s := range subs {
			n.get(s.Job.ID)
		}
	}
	var mu sync.Mutex
	specs := make(map[job.ID][]byte)
	var all sync.WaitGroup
	for _, n := range []*node{a, b} {
		for range 3 {
			all.Go(func() {
				subs := large()
				if err := n.append(batch(subs...)); err != nil {
					t.Error(err)
					return
				}
				n.submit(1)
				mu.Lock()
				defer mu.Unlock()
				check(a, subs)
				check(b, subs)
				for _, s := range subs {
					specs[s.Job.ID] = s.Spec
				}
			})
		}
	}
	// c starts, and starts again, in the middle of it.
	for range 3 {
		f.open("c").close()
	}
	all.Wait()
	// A batch whose last entry makes it invalid.
	bad := large()
	illegal := batch(bad...)
	illegal.Entries = append(illegal.Entries, job.Entry{ID: job.NewID(), Events: []job.Event{job.Started{At: time.Now()}}})
	f.want(a.append(illegal), job.ErrTransition)
	c := f.open("c")
	f.sameStates(a, b, c)
	for _, n := range []*node{a, b, c} {
		for _, s := range bad {
			_, err := n.Get(t.Context(), "t", s.Job.ID)
			f.want(err, job.ErrNotFound)
		}
	}
	// c gives leases with the original specs.
	seen := make(map[job.ID]bool)
	for range len(specs) + 6 {
		lease := c.lease()
		if spec, ok := specs[lease.Job.ID]; ok && !slices.Equal(spec, lease.Spec) {
			t.Errorf("job %s has another spec", lease.Job.ID)
		}
		seen[lease.Job.ID] = true
		f.ok(perform(t.Context(), lease))
	}
	if len(seen) == 0 {
		t.Error("no job was given")
	}
}

// While too much waits for the log, submissions are rejected and other appends wait.
func TestPendingBytes(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", func(c *cluster.Config) { c.MaxPendingBytes = 100_000 })
	id := a.submit(1)
	f.ok(a.events(id, job.Started{At: time.Now()}))
	f.s.StopAll()
	done := make(chan error, 100)
	var rejected error
	fill := func(ctx context.Context) error {
		return a.Append(ctx, job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{
			job.TaskProgress{Partial: make([]byte, 30_000)},
		}}}, Done: func(err error) { done <- err }})
	}
	n := 0
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel() // an append without room ends immediately
	for ; n < 100; n++ {
		if rejected = fill(gaveUp); rejected != nil {
			break
		}
	}
	f.want(rejected, context.Canceled)
	if n < 3 || n > 6 {
		t.Errorf("under a bound of 100 kB got %d appends of 30 kB accepted, want 3 to 6", n)
	}
	f.s.StartAll()
	for range n {
		f.ok(<-done)
	}
	f.ok(fill(t.Context()))
	f.ok(<-done)
	if got := len(a.log(id)); got != 2+n+1 {
		t.Errorf("the log has %d events, want %d", got, 2+n+1)
	}
}
