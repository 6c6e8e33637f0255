package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A history is what all clients of a cluster were told, by whichever node, in any order.
type history struct {
	mu   sync.Mutex
	told []told
}

// told is one answer, or one stream or sequence of pages as a client put it together across breaks.
type told struct {
	node int
	// asked and at are when the request was sent and when its answer was there.
	asked, at time.Time
	job       string

	accepted *accepted // a submission was answered 200 or 202
	view     *view     // the job was shown
	gone     int       // the job was asked for and this was the status: 404, 410
	read     *reading
}

// accepted is an accepted submission.
type accepted struct {
	key      string // "" without an idempotency key
	replayed bool
	order    *order // what must come of it; nil if it is to be cancelled
}

// reading is what a client read of a job's log.
type reading struct {
	items []item
	// seqs are those of all events, in their order; nil for pages of results, which have only those of items.
	seqs []int64
	// whole tells that the log was read to the end of a finished job.
	whole bool
}

// add adds what a client was told. The zero asked is now.
func (h *history) add(t *told) {
	t.at = time.Now()
	if t.asked.IsZero() {
		t.asked = t.at
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, *t)
}

// jobs returns the orders of all accepted jobs.
func (h *history) jobs() map[string]*accepted {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]*accepted)
	for i := range h.told {
		if a := h.told[i].accepted; a != nil && (all[h.told[i].job] == nil || a.order != nil) {
			all[h.told[i].job] = a
		}
	}
	return all
}

// check returns everything that is wrong with a history at whose end all jobs were seen to finish:
//   - no accepted job is lost: none is unknown to any node, and each was seen to finish and read as a whole;
//   - a job has one outcome, whoever tells it, and it is the right one;
//   - a key has one job, and it was accepted once;
//   - what a node tells never goes back: no job is unfinished again, or has done less;
//   - the seqs of a stream are 1, 2, 3, ...; those of results increase;
//   - every item is there once, right, and the same for everybody.
func (h *history) check() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := checker{jobs: make(map[string]*known), keys: make(map[string]string)}
	sorted := slices.Clone(h.told)
	slices.SortStableFunc(sorted, func(a, b told) int { return a.at.Compare(b.at) })
	for i := range sorted {
		c.take(&sorted[i])
	}
	c.end()
	return c.faults
}

type checker struct {
	jobs   map[string]*known
	keys   map[string]string // the job of each key
	faults []error
}

// known is what is known of a job.
type known struct {
	accepted, first int // how often it was accepted, and how often as a new one
	order           *order
	outcome         string // "" until it was seen to finish
	total           int64
	wholes          []told        // the readings to the end
	items           map[int]item  // by index
	indexes         map[int64]int // by seq
	shown           map[int][]told
}

func (c *checker) fault(t *told, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("job %s, node %d: %s", t.job, t.node, fmt.Sprintf(format, args...)))
}

func (c *checker) take(t *told) {
	k := c.jobs[t.job]
	if k == nil {
		k = &known{items: make(map[int]item), indexes: make(map[int64]int), shown: make(map[int][]told)}
		c.jobs[t.job] = k
	}
	switch {
	case t.accepted != nil:
		c.takeAccepted(t, k)
	case t.gone != 0:
		c.fault(t, "it was accepted, and is answered %d", t.gone)
	case t.view != nil:
		c.takeView(t, k)
	case t.read != nil:
		c.takeRead(t, k)
	}
}

func (c *checker) takeAccepted(t *told, k *known) {
	a := t.accepted
	k.accepted++
	if a.order != nil {
		k.order = a.order
	}
	if !a.replayed {
		if k.first++; k.first > 1 {
			c.fault(t, "it was given to two submissions")
		}
	}
	if a.key == "" {
		return
	}
	if other, ok := c.keys[a.key]; ok && other != t.job {
		c.fault(t, "key %s has job %s as well", a.key, other)
	}
	c.keys[a.key] = t.job
}

func (c *checker) takeView(t *told, k *known) {
	v := t.view
	for _, before := range k.shown[t.node] {
		// Two requests at the same time may be answered in either order.
		if b := before.view; before.at.Before(t.asked) && (b.terminal() && !v.terminal() || b.State != "queued" && v.State == "queued" ||
			v.Progress.Completed < b.Progress.Completed) {
			c.fault(t, "it was %s with %d done, and later %s with %d", b.State, b.Progress.Completed, v.State, v.Progress.Completed)
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
		c.fault(t, "its outcome was %s, and now it is %s", k.outcome, v.outcome())
	}
}

func (c *checker) checkOutcome(t *told, k *known) {
	v := t.view
	switch {
	case k.order == nil && v.State != "cancelled":
		c.fault(t, "it was to be cancelled, and %s", v.State)
	case k.order == nil:
	case v.State != "succeeded" || !sameNumber(v.Result, k.order.result):
		c.fault(t, "it %s with %s, want %s; error %s", v.State, v.Result, k.order.result, v.Error)
	case v.Progress.Completed != v.Progress.Total || v.Progress.Failed != 0:
		c.fault(t, "it succeeded with progress %+v", v.Progress)
	}
}

func (c *checker) takeRead(t *told, k *known) {
	for i, seq := range t.read.seqs {
		if seq != int64(i)+1 {
			c.fault(t, "seq %d of a stream is at place %d", seq, i+1)
			break
		}
	}
	last := int64(0)
	for _, it := range t.read.items {
		if it.Seq <= last {
			c.fault(t, "item seq %d follows %d", it.Seq, last)
		}
		last = it.Seq
		before, ok := k.items[it.Index]
		if ok && before.String() != it.String() {
			c.fault(t, "a client was shown item %s, and now it is %s", &before, &it)
		}
		if at, ok := k.indexes[it.Seq]; ok && at != it.Index {
			c.fault(t, "seq %d is of items %d and %d", it.Seq, at, it.Index)
		}
		k.items[it.Index], k.indexes[it.Seq] = it, it.Index
	}
	if t.read.whole {
		k.wholes = append(k.wholes, *t)
	}
}

func (c *checker) end() {
	for id, k := range c.jobs {
		t := told{job: id, node: -1}
		switch {
		case k.accepted == 0:
			c.fault(&t, "nobody submitted it")
		case k.outcome == "":
			c.fault(&t, "nobody saw it finish")
		case len(k.wholes) == 0:
			c.fault(&t, "nobody read its results")
		case k.order != nil:
			for i := range k.wholes {
				if err := k.order.verify(k.wholes[i].read.items, int(k.total)); err != nil {
					c.fault(&k.wholes[i], "%v", err)
				}
			}
		}
	}
}
