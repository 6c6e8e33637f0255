package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A hold is a pause of the jobs with low priority.
type hold struct {
	// jobs were submitted after the pause was acknowledged and every node had shown it.
	jobs []string
	// until is the time of the first request to end it.
	until int64
}

// pausesPath is the path of the pause.
const pausesPath = "/v1/pauses/priority/low"

// pauseAll pauses, submits and resumes jobs of a priority that no other client has, until stop is closed.
func (r *run) pauseAll(ctx context.Context, stop <-chan struct{}) error {
	c := &client{run: r, id: -2}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		c.seed(n)
		if err := c.pauseOnce(ctx, n); err != nil {
			return fmt.Errorf("pause %d: %w", n, err)
		}
	}
}

// pauseOnce pauses, submits, looks at the jobs for a while, and resumes.
func (c *client) pauseOnce(ctx context.Context, n int) error {
	base := call{
		operation: operation{action: pauses}, method: http.MethodPut, path: pausesPath, body: []byte(`{"reason":"crash"}`),
		accept: []int{http.StatusOK, http.StatusCreated},
	}
	if _, err := c.do(ctx, base); err != nil {
		return err
	}
	for node := range c.nodes {
		if err := c.shown(ctx, node); err != nil {
			return err
		}
	}
	var h hold
	for i := range 2 {
		s := c.newSubmission(fmt.Sprintf("pause-%d-%d", n, i), "", "", numbers(int64(n)))
		s.priority = "low"
		c.hop()
		o, err := c.submit(ctx, s)
		if err != nil {
			return err
		}
		h.jobs = append(h.jobs, o.ids...)
	}
	end := time.Now().Add(time.Duration(500+c.rng.IntN(2000)) * time.Millisecond)
	for time.Now().Before(end) {
		for _, id := range h.jobs {
			c.hop()
			if _, err := c.onJob(ctx, get, id, "Prefer", "wait=1"); err != nil {
				return err
			}
		}
	}
	h.until = c.now()
	c.hold(h)
	base.method, base.body, base.accept = http.MethodDelete, nil, []int{http.StatusNoContent, http.StatusNotFound}
	c.hop()
	if _, err := c.do(ctx, base); err != nil {
		return err
	}
	for _, id := range h.jobs {
		if _, err := c.await(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// shown waits until a node shows the pause.
func (c *client) shown(ctx context.Context, node int) error {
	for {
		c.node = node
		a, err := c.try(ctx, http.MethodGet, "/v1/pauses", nil)
		if err == nil && a.status == http.StatusOK && strings.Contains(string(a.body), `"low"`) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("node %d does not show the pause", node), context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// startMargin is how much earlier a timestamp of a cluster may be than the clock of this machine: nodes estimate the clock of NATS.
const startMargin = time.Second

// checkHolds checks that no job started during a pause that was acknowledged before the job was submitted.
func (c *checker) checkHolds(reports map[string]*jobReport) {
	until := make(map[string]int64)
	for i := range c.h.holds {
		for _, id := range c.h.holds[i].jobs {
			until[id] = c.h.holds[i].until
		}
	}
	for i := range c.h.operations {
		o := &c.h.operations[i]
		v := o.view
		if v == nil || o.ret >= until[v.ID] {
			continue
		}
		if v.State != "queued" || v.StartedAt != nil {
			c.violation("job %s was submitted during a pause, and is %s, started at %v, %s before the end of the pause", v.ID, v.State, v.StartedAt, time.Duration(until[v.ID]-o.ret))
		}
	}
	for id, at := range until {
		r := reports[id]
		if r == nil || r.final == nil || r.final.StartedAt == nil || c.h.clockSteps {
			continue
		}
		if end := c.h.began.Add(time.Duration(at)); r.final.StartedAt.Before(end.Add(-startMargin)) {
			c.violation("job %s was submitted during a pause until %s, and started at %s", id, end.UTC(), r.final.StartedAt.UTC())
		}
	}
}
