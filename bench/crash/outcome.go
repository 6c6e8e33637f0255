package main

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A jobReport is what all clients saw of one job.
type jobReport struct {
	id    string
	sub   *submission
	order *order
	// batch are the jobs of the submission, of which this is the one with the index.
	batch   []string
	index   int
	outcome string
	final   *view
	deleted bool // perhaps
	// cancelling is true if a client saw the job in this state.
	cancelling bool
	reads      []operation
	items      map[int]item // by index
}

// reports returns what clients saw of each job in a response to a submission.
func (c *checker) reports() map[string]*jobReport {
	all := make(map[string]*jobReport)
	for i := range c.h.operations {
		o := &c.h.operations[i]
		if o.action != submit {
			continue
		}
		for k, id := range o.ids {
			if r := all[id]; r == nil {
				all[id] = &jobReport{id: id, sub: o.sub, order: &o.sub.orders[k], batch: o.ids, index: k, items: make(map[int]item)}
			} else if r.order != &o.sub.orders[k] {
				c.violation("job %s is of the submissions %s and %s, or of two orders of one", id, r.sub.label, o.sub.label)
			}
		}
	}
	return all
}

// checkOutcomes checks each acknowledged job: it has one outcome for all clients, the right one, and its results are exact and the
// same in every reading. It returns what clients saw of the jobs.
func (c *checker) checkOutcomes() map[string]*jobReport {
	reports := c.reports()
	for i := range c.h.operations {
		o := &c.h.operations[i]
		if r := reports[o.job]; r != nil {
			c.collect(r, o)
		} else if o.job != "" {
			c.violation("job %s was read and never submitted", o.job)
		}
		if o.ends != nil {
			for _, e := range o.ends.ends {
				if r := reports[e.job.ID]; r != nil {
					c.see(r, e.job)
				}
			}
		}
		if o.view != nil && o.action == submit {
			if r := reports[o.view.ID]; r != nil {
				c.see(r, o.view)
			}
		}
	}
	c.checkDeliveries(reports)
	for _, r := range reports {
		c.conclude(r)
	}
	return reports
}

// collect adds an operation to the report of its job.
func (c *checker) collect(r *jobReport, o *operation) {
	switch {
	case o.action == remove && o.status != http.StatusConflict:
		r.deleted = true
	case o.action == read:
		r.reads = append(r.reads, *o)
		c.collectItems(r, o.read)
		c.see(r, o.read.last)
	}
	c.see(r, o.view)
}

func (c *checker) see(r *jobReport, v *view) {
	if v != nil && v.Retention != "" && r.sub.retryOf == "" && v.Failed != cmp.Or(r.sub.failedRetention(), v.Retention) {
		c.violation("job %s of %s has the retentions %s and %s, want %s if it fails", r.id, r.sub.label, v.Retention, v.Failed, r.sub.failedRetention())
	}
	switch {
	case v == nil:
	case !v.terminal():
		r.cancelling = r.cancelling || v.State == "cancelling"
	case r.final == nil:
		r.final, r.outcome = v, v.outcome()
	case v.outcome() != r.outcome:
		c.violation("job %s has the outcomes %s and %s", r.id, r.outcome, v.outcome())
	}
}

func (c *checker) collectItems(r *jobReport, got *reading) {
	for i, seq := range got.seqs {
		if seq != int64(i)+1 {
			c.violation("job %s: seq %d of a stream is at position %d", r.id, seq, i+1)
			break
		}
	}
	c.checkAttempts(r.id, got)
	for _, it := range got.items {
		if before, ok := r.items[it.Index]; ok && before.String() != it.String() {
			c.violation("job %s: a client saw item %s, another one %s", r.id, &before, &it)
		}
		r.items[it.Index] = it
	}
}

// conclude checks the outcome and the complete readings of a job.
func (c *checker) conclude(r *jobReport) {
	if r.final == nil {
		if !r.deleted && c.h.listed != nil {
			c.violation("job %s of %s was never seen to finish", r.id, r.sub.label)
		}
		return
	}
	v := r.final
	switch {
	case v.State == "cancelled" && r.sub.cancelled, r.dependencyFailed():
	case r.cancelling && v.State == "succeeded":
		c.violation("job %s of %s was cancelling, and succeeded", r.id, r.sub.label)
	case v.State == "failed" && c.nodes > 1 && c.arrayChanged(r):
	case v.State != "succeeded":
		c.violation("job %s of %s %s, want succeeded; error %s", r.id, r.sub.label, v.State, v.Error)
	case !c.right(r):
		c.violation("job %s of %s: got result %.200s, want %s", r.id, r.sub.label, v.Result, r.order.result)
	case v.Progress.Completed != v.Progress.Total || v.Progress.Failed != 0:
		c.violation("job %s succeeded with progress %+v", r.id, v.Progress)
	}
	whole := 0
	for i := range r.reads {
		got := r.reads[i].read
		var err error
		switch {
		case got.whole && v.State == "succeeded":
			err = r.order.verify(got.items, int(v.Progress.Total))
		default:
			err = r.order.verifySome(got.items, max(r.order.items, int(v.Progress.Total)))
		}
		if err != nil {
			c.violation("job %s of %s, client %d: %w", r.id, r.sub.label, r.reads[i].client, err)
		}
		if got.whole {
			if whole++; len(got.items) != len(r.items) {
				c.violation("job %s: client %d read %d items to the end, others saw %d", r.id, r.reads[i].client, len(got.items), len(r.items))
			}
		}
	}
	if whole == 0 && !r.deleted && c.h.listed != nil {
		c.violation("job %s of %s was never read to its end", r.id, r.sub.label)
	}
}

// arrayChanged reports whether a job of a cluster failed because its array was replaced or deleted while it was being submitted. Only
// then a node may accept a job whose array another node is about to change.
func (c *checker) arrayChanged(r *jobReport) bool {
	if r.sub.array == "" || !strings.Contains(string(r.final.Error), `"/problems/source-changed"`) {
		return false
	}
	for i := range c.h.operations {
		s := &c.h.operations[i]
		if s.action != submit || s.sub != r.sub {
			continue
		}
		for k := range c.h.operations {
			o := &c.h.operations[k]
			if (o.action == put || o.action == discard) && o.array == r.sub.array && o.call < s.ret && s.call < o.ret {
				return true
			}
		}
	}
	return false
}

// right reports whether a job succeeded with the right result. The sum of a stored array is right for any version of the array.
func (c *checker) right(r *jobReport) bool {
	if r.sub.array == "" {
		return sameResult(r.final.Result, r.order.result)
	}
	for i := range c.h.operations {
		o := &c.h.operations[i]
		if o.action == put && o.array == r.sub.array && sameResult(r.final.Result, versionSum(o.version)) {
			return true
		}
	}
	return false
}

// deleted returns the jobs that a client has deleted, perhaps.
func (c *checker) deleted() map[string]bool {
	deleted := make(map[string]bool)
	for i := range c.h.operations {
		if o := &c.h.operations[i]; o.action == remove && o.status != http.StatusConflict {
			deleted[o.job] = true
		}
	}
	return deleted
}

// checkLabels checks the list of jobs at the end: it has every acknowledged job that was not deleted, one set of jobs for each key, at
// most one for each attempt without a key, and no part of a batch.
func (c *checker) checkLabels() {
	if c.h.listed == nil {
		return
	}
	deleted := c.deleted()
	for label, ops := range c.group(func(o *operation) string {
		if o.action != submit {
			return ""
		}
		return o.sub.label
	}) {
		sub := ops[0].sub
		acknowledged := make(map[string]bool)
		attempts := 0
		for i := range ops {
			if ops[i].status == 0 || ops[i].unknown() || !ops[i].replayed {
				attempts++
			}
			for _, id := range ops[i].ids {
				acknowledged[id] = true
			}
		}
		if sub.key != "" {
			attempts = 1
		}
		listed := slices.Clone(c.h.listed[label])
		for id := range acknowledged {
			if !slices.Contains(listed, id) {
				if !deleted[id] {
					c.violation("job %s of %s was acknowledged and is not listed", id, label)
				}
				listed = append(listed, id)
			}
		}
		if n := len(sub.orders); len(listed)%n != 0 || len(listed)/n > attempts {
			c.violation("label %s: got %d jobs, want those of at most %d submissions of %d: %s", label, len(listed), attempts, n, describe(ops))
		}
	}
}

// label returns the label of a submission.
func labelOf(client, n int) string { return fmt.Sprintf("c%d-%d", client, n) }
