package cluster_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

// Under overload few of the rejected submissions are in the log.
func TestOverload(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	for _, n := range nodes {
		f.eventually("each node sees three nodes", func() bool { return n.metric("nodes") == 3 })
		n.work(2, nil)
	}
	const clients, enough = 8, 500
	var accepted, rejected atomic.Int64
	var all sync.WaitGroup
	for _, n := range nodes {
		for range clients {
			all.Go(func() {
				for accepted.Load() < enough {
					err := n.append(admitted(job.Admission{Jobs: 12}, job.Size{}, newJob(1)))
					switch {
					case err == nil:
						accepted.Add(1)
					case errors.Is(err, job.ErrQueueFull):
						rejected.Add(1)
						runtime.Gosched()
					default:
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	f.catchUp(nodes...)
	inLog := nodes[0].metric("log_rejected_proposals_total", "bound")
	t.Logf("%d accepted, %d rejected, %v of these in the log", accepted.Load(), rejected.Load(), inLog)
	if most := 3 * 200.0; inLog > most {
		t.Errorf("%v rejected submissions are in the log, want at most %v", inLog, most)
	}
}

// counter submits jobs to a node one after the other.
type counter struct {
	*testing.T
	cluster.Counter
	bounds job.Admission
	now    time.Time
}

func newCounter(t *testing.T, bounds job.Admission) *counter {
	return &counter{T: t, bounds: bounds, now: time.Now()}
}

// submits fails the test unless exactly want jobs are accepted, while each is decided before the next is submitted.
func (c *counter) submits(what string, want, jobs, nodes int, how error) {
	c.Helper()
	for got := range want + 1 {
		decided, err := c.Submit(c.bounds, jobs, nodes, c.now)
		if taken := err == nil; taken != (got < want) {
			c.Fatalf("%s: job %d is taken: %t, want %d to be taken", what, got+1, taken, want)
		}
		if err != nil {
			return
		}
		decided(how, true)
	}
}

// A submission that is known not to fit is not written. One that may not fit is written only while the node has credit.
// Without credit a node keeps to its share of the room, and to less the more it has overdrawn.
func TestRefusedBeforehand(t *testing.T) {
	t.Parallel()
	bounds := job.Admission{Jobs: 10}
	t.Run("the queue is full", func(t *testing.T) {
		t.Parallel()
		c := newCounter(t, bounds)
		c.submits("one node", 0, 10, 1, nil)
		c.submits("three nodes, with credit", 0, 10, 3, nil)
	})
	t.Run("submissions on their way", func(t *testing.T) {
		t.Parallel()
		for name, bounds := range map[string]job.Admission{"jobs": bounds, "jobs of the tenant": {TenantJobs: 10}} {
			c := newCounter(t, bounds)
			first, err1 := c.Submit(c.bounds, 8, 1, c.now)
			_, err2 := c.Submit(c.bounds, 8, 1, c.now)
			_, err3 := c.Submit(c.bounds, 8, 1, c.now)
			if err1 != nil || err2 != nil || err3 == nil {
				t.Errorf("%s: got %v, %v, %v, want two to be taken where two fit", name, err1, err2, err3)
			}
			first(nil, true)
			if _, err := c.Submit(c.bounds, 8, 1, c.now); err != nil {
				t.Errorf("%s: got %v when one is decided about, want none", name, err)
			}
		}
	})
	for _, rejected := range []error{job.ErrQueueFull, job.ErrQuota} {
		t.Run("credit: "+rejected.Error(), func(t *testing.T) {
			t.Parallel()
			c := newCounter(t, bounds)
			c.submits("at first", 100, 8, 3, rejected) // the node's share of the room for two jobs is none
			c.now = c.now.Add(7 * time.Second)
			c.submits("after 7 s", 7, 8, 3, rejected)
			c.now = c.now.Add(time.Hour)
			c.submits("after an hour", 100, 8, 3, rejected)
			c.now = c.now.Add(time.Second)
			taken, err := c.Submit(c.bounds, 8, 3, c.now)
			if err != nil {
				t.Fatalf("with a credit of 1: got %v, want none", err)
			}
			c.submits("with as many on their way as there is credit", 0, 8, 3, nil)
			taken(nil, true)
		})
	}
	t.Run("no credit is taken", func(t *testing.T) {
		t.Parallel()
		c := newCounter(t, bounds)
		for range 200 {
			for _, how := range []error{nil, job.ErrTransition, job.ErrStorage} {
				decided, err := c.Submit(c.bounds, 8, 3, c.now)
				if err != nil {
					t.Fatalf("got %v, want none", err)
				}
				decided(how, true)
			}
			decided, err := c.Submit(c.bounds, 8, 3, c.now)
			if err != nil {
				t.Fatalf("got %v, want none", err)
			}
			decided(job.ErrQueueFull, false) // it does not stand in the log
		}
	})
	t.Run("share", func(t *testing.T) {
		t.Parallel()
		c := newCounter(t, bounds)
		c.submits("at first", 100, 8, 3, job.ErrQueueFull)
		decided, err := c.Submit(c.bounds, 7, 3, c.now)
		if err != nil {
			t.Errorf("the node's share of three: got %v, want none", err)
		}
		c.submits("a second of three", 0, 7, 3, nil)
		decided(nil, true)
		for range 10 {
			decided, err := c.Submit(c.bounds, 0, 3, c.now)
			if err != nil {
				t.Fatalf("the node's share of ten: got %v, want none", err)
			}
			decided(job.ErrQueueFull, true)
		}
		c.submits("overdrawn by 10, of five", 0, 5, 3, nil)
		c.submits("overdrawn by 10, of one, on a node without live members", 0, 9, 0, nil)
		if decided, err = c.Submit(c.bounds, 4, 3, c.now); err != nil {
			t.Errorf("overdrawn by 10, of six: got %v, want none", err)
		}
		decided(nil, true)
	})
	t.Run("overdrawn", func(t *testing.T) {
		t.Parallel()
		c := newCounter(t, job.Admission{Jobs: 1000})
		for range 200 { // the share is none of 1, and much of 1000
			decided, err := c.Submit(c.bounds, 0, 3, c.now)
			if err != nil {
				t.Fatalf("got %v, want none", err)
			}
			decided(job.ErrQueueFull, true)
			if decided, err = c.Submit(c.bounds, 0, 3, c.now); err != nil {
				t.Fatalf("got %v, want none", err)
			}
			decided(job.ErrQueueFull, true)
		}
		c.submits("just now", 0, 1000-32, 3, nil)
		c.now = c.now.Add(101 * time.Second)
		c.submits("the overdraft is paid back in 100 s", 1, 998, 3, job.ErrQueueFull)
	})
}
