package main

import (
	"context"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
)

// retried submits a job, cancels it, and retries it: the new job has the items that did not succeed.
func (c *client) retried(ctx context.Context, label, key string) error {
	o := newOrder(c.rng)
	switch c.rng.IntN(3) {
	case 0:
		o = sleeps(20, 4000, 50, 100, 4500)
	case 1:
		o = squaresRange(c.rng.Int64N(1e6), 50_000)
	}
	s := c.newSubmission(label, key, "", o)
	s.cancelled = true
	accepted, err := c.submit(ctx, s)
	if err != nil {
		return err
	}
	id := accepted.ids[0]
	if _, err := c.onJob(ctx, get, id, "Prefer", "wait=1"); err != nil {
		return err
	}
	if _, err := c.onJob(ctx, cancel, id); err != nil {
		return err
	}
	v, err := c.await(ctx, id)
	if err != nil || v == nil {
		return err
	}
	got, err := c.readResults(ctx, id)
	if err != nil || got == nil {
		return err
	}
	again := &submission{label: retryLabel(id), key: "retry-" + label, orders: []order{o.without(got.items)}, webhook: s.webhook, retryOf: id}
	c.hop()
	for range 1 + c.rng.IntN(2) {
		if accepted, err = c.submit(ctx, again); err != nil {
			return err
		}
		if v.State == "succeeded" { // and refused to be retried
			return nil
		}
		c.hop()
	}
	return c.gather(ctx, accepted.ids[0])
}

// retryLabel returns the label of the retries of a job in a history. On the server they have the label of the job.
func retryLabel(id string) string { return "retries of " + id }

// without returns an order of the items that are not among some; the whole order for a kind without items.
func (o *order) without(done []item) order {
	if o.items == 0 {
		return *o
	}
	succeeded := make(map[int]bool)
	for i := range done {
		succeeded[done[i].Index] = done[i].Error == nil
	}
	var left []int
	for i := range o.items {
		if !succeeded[i] {
			left = append(left, i)
		}
	}
	return order{
		items: len(left), result: strconv.Itoa(len(left)),
		check: func(index int, value string) string { return o.check(left[index], value) },
	}
}

// decodeRetry completes a submission that is a retry.
func decodeRetry(a *response, o *operation) error {
	if a.status != http.StatusAccepted { // nothing to retry; the model decides
		return nil
	}
	o.replayed = a.header.Get("Idempotency-Replayed") == "true"
	o.view = new(view)
	err := json.Unmarshal(a.body, o.view)
	o.ids = []string{o.view.ID}
	return err
}

// checkRetries checks that each retry is of its job, with its labels, group and key, and that only a job that has not succeeded is retried.
func (c *checker) checkRetries(reports map[string]*jobReport) {
	for i := range c.h.operations {
		o := &c.h.operations[i]
		if o.action != submit || o.status == 0 || o.unknown() {
			continue
		}
		if v := o.view; v != nil && v.RetryOf != o.sub.retryOf {
			c.violation("job %s of %s is a retry of %q, want %q", v.ID, o.sub.label, v.RetryOf, o.sub.retryOf)
		}
		r := reports[o.sub.retryOf]
		if r == nil || r.final == nil {
			continue
		}
		if succeeded := r.final.State == "succeeded"; succeeded == (len(o.ids) > 0) {
			c.violation("the retry of job %s, which %s, got status %d and jobs %v", r.id, r.final.State, o.status, o.ids)
		}
		if v := o.view; v != nil && (v.Labels["crash"] != r.sub.label || v.Group != r.sub.group) {
			c.violation("job %s has labels %v and group %q; it retries a job of %s in group %q", v.ID, v.Labels, v.Group, r.sub.label, r.sub.group)
		}
	}
}
