package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A history has everything that clients of a cluster received, from all nodes, in any order.
type history struct {
	mu           sync.Mutex
	observations []observation
}

// An observation is one response, or one stream or sequence of pages that a client joined across reconnects.
type observation struct {
	node int
	// sent and at are the times of the request and of its response.
	sent, at time.Time
	job      string

	accepted *accepted // of a submission with status 200 or 202
	view     *view     // of a read job
	gone     int       // 404 or 410 of a read job
	read     *reading
}

// accepted is an accepted submission.
type accepted struct {
	key      string // "" without an idempotency key
	replayed bool
	order    *order // expected outcome; nil for a cancelled job
}

// A reading is what a client read of a job's log.
type reading struct {
	items []item
	// seqs are the seqs of all events, in order; nil for pages of results, which have only seqs of items.
	seqs []int64
	// whole is true if the log was read to the end of a finished job.
	whole bool
}

// add adds an observation that was received now. A zero sent is set to now.
func (h *history) add(t *observation) {
	t.at = time.Now()
	if t.sent.IsZero() {
		t.sent = t.at
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.observations = append(h.observations, *t)
}

// jobs returns the orders of all accepted jobs.
func (h *history) jobs() map[string]*accepted {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]*accepted)
	for i := range h.observations {
		if a := h.observations[i].accepted; a != nil && (all[h.observations[i].job] == nil || a.order != nil) {
			all[h.observations[i].job] = a
		}
	}
	return all
}

// check returns the violations in a history in which all jobs were seen to finish:
//   - no accepted job is lost: every node finds it, and each was seen to finish and read to the end;
//   - a job has one outcome, the correct one, on all nodes;
//   - a key has one job, which was accepted once;
//   - a node never goes back: no job is unfinished again or has completed less;
//   - the seqs of a stream are 1, 2, 3, ...; the seqs of results increase;
//   - every item appears once, is correct, and is the same for all clients.
func (h *history) check() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := checker{jobs: make(map[string]*jobChecks), keys: make(map[string]string)}
	sorted := slices.Clone(h.observations)
	slices.SortStableFunc(sorted, func(a, b observation) int { return a.at.Compare(b.at) })
	for i := range sorted {
		c.take(&sorted[i])
	}
	c.end()
	return c.violations
}

type checker struct {
	jobs       map[string]*jobChecks
	keys       map[string]string // the job of each key
	violations []error
}

// jobChecks has the observations of one job.
type jobChecks struct {
	accepted, first int // submissions of the job, and those that were no replays
	order           *order
	outcome         string // "" until it was seen to finish
	total           int64
	wholes          []observation // the readings to the end
	items           map[int]item  // by index
	indexes         map[int64]int // by seq
	shown           map[int][]observation
}

func (c *checker) violation(t *observation, format string, args ...any) {
	c.violations = append(c.violations, fmt.Errorf("job %s, node %d: %s", t.job, t.node, fmt.Sprintf(format, args...)))
}

func (c *checker) take(t *observation) {
	k := c.jobs[t.job]
	if k == nil {
		k = &jobChecks{items: make(map[int]item), indexes: make(map[int64]int), shown: make(map[int][]observation)}
		c.jobs[t.job] = k
	}
	switch {
	case t.accepted != nil:
		c.takeAccepted(t, k)
	case t.gone != 0:
		c.violation(t, "it was accepted, and has status %d", t.gone)
	case t.view != nil:
		c.takeView(t, k)
	case t.read != nil:
		c.takeRead(t, k)
	}
}

func (c *checker) takeAccepted(t *observation, k *jobChecks) {
	a := t.accepted
	k.accepted++
	if a.order != nil {
		k.order = a.order
	}
	if !a.replayed {
		if k.first++; k.first > 1 {
			c.violation(t, "it is the job of two submissions")
		}
	}
	if a.key == "" {
		return
	}
	if other, ok := c.keys[a.key]; ok && other != t.job {
		c.violation(t, "key %s also has job %s", a.key, other)
	}
	c.keys[a.key] = t.job
}

func (c *checker) takeView(t *observation, k *jobChecks) {
	v := t.view
	for _, before := range k.shown[t.node] {
		// Concurrent requests may be served in either order.
		if b := before.view; before.at.Before(t.sent) && (b.terminal() && !v.terminal() || b.State != "queued" && v.State == "queued" ||
			v.Progress.Completed < b.Progress.Completed) {
			c.violation(t, "it was %s with %d done, and later %s with %d", b.State, b.Progress.Completed, v.State, v.Progress.Completed)
		}
	}
	k.shown[t.node] = append(k.shown[t.node], *t)
	if !v.terminal() {
		return
	}
	k.total = v.Progress.Total
	if k.outcome == "" {
		k.outcome = v.outcome()
		c.checkOutcome(t, k)
	}
	if k.outcome != v.outcome() {
		c.violation(t, "its outcome was %s, and now it is %s", k.outcome, v.outcome())
	}
}

func (c *checker) checkOutcome(t *observation, k *jobChecks) {
	v := t.view
	switch {
	case k.order == nil && v.State != "cancelled":
		c.violation(t, "it %s, want cancelled", v.State)
	case k.order == nil:
	case v.State != "succeeded" || !sameNumber(v.Result, k.order.result):
		c.violation(t, "it %s with %s, want %s; error %s", v.State, v.Result, k.order.result, v.Error)
	case v.Progress.Completed != v.Progress.Total || v.Progress.Failed != 0:
		c.violation(t, "it succeeded with progress %+v", v.Progress)
	}
}

func (c *checker) takeRead(t *observation, k *jobChecks) {
	for i, seq := range t.read.seqs {
		if seq != int64(i)+1 {
			c.violation(t, "seq %d of a stream is at position %d", seq, i+1)
			break
		}
	}
	last := int64(0)
	for _, it := range t.read.items {
		if it.Seq <= last {
			c.violation(t, "item seq %d follows %d", it.Seq, last)
		}
		last = it.Seq
		before, ok := k.items[it.Index]
		if ok && before.String() != it.String() {
			c.violation(t, "a client saw item %s, and now it is %s", &before, &it)
		}
		if at, ok := k.indexes[it.Seq]; ok && at != it.Index {
			c.violation(t, "seq %d is of items %d and %d", it.Seq, at, it.Index)
		}
		k.items[it.Index], k.indexes[it.Seq] = it, it.Index
	}
	if t.read.whole {
		k.wholes = append(k.wholes, *t)
	}
}

func (c *checker) end() {
	for id, k := range c.jobs {
		t := observation{job: id, node: -1}
		switch {
		case k.accepted == 0:
			c.violation(&t, "it was never submitted")
		case k.outcome == "":
			c.violation(&t, "it was never seen to finish")
		case len(k.wholes) == 0:
			c.violation(&t, "its results were never read")
		case k.order != nil:
			for i := range k.wholes {
				if err := k.order.verify(k.wholes[i].read.items, int(k.total)); err != nil {
					c.violation(&k.wholes[i], "%v", err)
				}
			}
		}
	}
}
