package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// afterTimeout is the timeout of jobs that wait for a job which takes longer.
const afterTimeout = 1500 * time.Millisecond

// dependent submits a job, and a batch of jobs after it and after one another. The first job succeeds, or is cancelled, or takes longer
// than the others wait, or one of the others is cancelled.
func (c *client) dependent(ctx context.Context, label, key string) error {
	const succeeds, headCancelled, timesOut, middleCancelled = 0, 1, 2, 3
	scenario := c.rng.IntN(5) % 4
	head := newOrder(c.rng)
	if scenario == timesOut || scenario != succeeds && c.rng.IntN(3) > 0 {
		head = sleeps(1500, 4000)
	}
	first := c.newSubmission("head-"+label, "", "", head)
	first.cancelled = scenario == headCancelled
	accepted, err := c.submit(ctx, first)
	if err != nil {
		return err
	}
	id := accepted.ids[0]
	if c.rng.IntN(4) == 0 { // before or after its end
		if _, err := c.onJob(ctx, get, id, "Prefer", "wait=2"); err != nil {
			return err
		}
	}
	if scenario == headCancelled && c.rng.IntN(2) == 0 {
		if _, err := c.onJob(ctx, cancel, id); err != nil {
			return err
		}
	}
	orders := make([]order, 2+c.rng.IntN(4))
	for i := range orders {
		orders[i] = numbers(c.rng.Int64N(1e6))
	}
	s := c.newSubmission(label, key, "", orders...)
	s.cancelled = scenario == middleCancelled
	if scenario == timesOut {
		s.afterTimeout = afterTimeout
	}
	s.after = make([][]string, len(orders))
	for i := range orders {
		if i == 0 || c.rng.IntN(3) == 0 {
			s.after[i] = append(s.after[i], strconv.Quote(id))
		}
		for k := range i {
			if k == i-1 || c.rng.IntN(3) == 0 {
				s.after[i] = append(s.after[i], strconv.Itoa(k))
			}
		}
	}
	c.hop()
	if accepted, err = c.submit(ctx, s); err != nil {
		return err
	}
	if key != "" && c.rng.IntN(2) == 0 {
		c.hop()
		if _, err := c.submit(ctx, s); err != nil {
			return err
		}
	}
	c.hop()
	switch scenario {
	case headCancelled:
		_, err = c.onJob(ctx, cancel, id)
	case middleCancelled:
		_, err = c.onJob(ctx, cancel, accepted.ids[len(orders)/2])
	}
	if err != nil {
		return err
	}
	if c.rng.IntN(2) == 0 {
		return c.followGroup(ctx, accepted.group)
	}
	for _, id := range accepted.ids {
		c.hop()
		if err := c.gather(ctx, id); err != nil {
			return err
		}
	}
	if v, err := c.await(ctx, id); err != nil || v == nil || c.rng.IntN(3) > 0 {
		return err
	}
	_, err = c.onJob(ctx, remove, id) // changes nothing for the others
	return err
}

// dependencies returns the ids of the jobs that a job was submitted after.
func (r *jobReport) dependencies() (ids []string) {
	if r.sub.after == nil {
		return nil
	}
	for _, dep := range r.sub.after[r.index] {
		if k, err := strconv.Atoi(dep); err == nil {
			ids = append(ids, r.batch[k])
		} else {
			ids = append(ids, strings.Trim(dep, `"`))
		}
	}
	return ids
}

// dependencyFailed reports whether a job was cancelled because of the jobs that it was submitted after.
func (r *jobReport) dependencyFailed() bool {
	return r.sub.after != nil && r.final.State == "cancelled" && strings.Contains(string(r.final.Error), `"/problems/dependency-failed"`)
}

// checkAfter checks that no job started before the jobs that it was submitted after had succeeded, and that a job was cancelled because of
// them only if one did not succeed, or not in time.
func (c *checker) checkAfter(reports map[string]*jobReport) {
	margin := time.Duration(0)
	if c.nodes > 1 {
		margin = startMargin
	}
	cancelled := make(map[string]bool)
	for i := range c.h.operations {
		if o := &c.h.operations[i]; o.action == cancel && (o.status == http.StatusOK || o.status == http.StatusAccepted || o.unknown() || o.status == 0) {
			cancelled[o.job] = true
		}
	}
	for _, r := range reports {
		deps := r.dependencies()
		if r.final == nil || len(deps) == 0 {
			continue
		}
		v := r.final
		if !slices.Equal(v.After, deps) {
			c.violation("job %s of %s is after %v, want %v", r.id, r.sub.label, v.After, deps)
		}
		failed := false
		for _, id := range deps {
			d := reports[id]
			switch {
			case d == nil || d.final == nil: // reported elsewhere
				failed = true
			case d.final.State != "succeeded":
				if failed = true; v.StartedAt != nil {
					c.violation("job %s of %s started, and job %s before it %s", r.id, r.sub.label, id, d.final.State)
				}
			case v.StartedAt != nil && v.StartedAt.Before(d.final.FinishedAt.Add(-margin)) && !c.h.clockSteps:
				c.violation("job %s of %s started at %s, and job %s before it succeeded at %s", r.id, r.sub.label, v.StartedAt, id, d.final.FinishedAt)
			}
		}
		late := r.sub.afterTimeout > 0 && (c.h.clockSteps || v.FinishedAt.Sub(v.CreatedAt) >= r.sub.afterTimeout-margin)
		switch {
		case r.dependencyFailed() && (v.StartedAt != nil || !failed && !late):
			c.violation("job %s of %s was cancelled because of the jobs %v before it, started at %v, created at %s, and all have succeeded: %s",
				r.id, r.sub.label, deps, v.StartedAt, v.CreatedAt, v.Error)
		case v.State == "cancelled" && !r.dependencyFailed() && !cancelled[r.id]:
			c.violation("job %s of %s was cancelled, not by a client, and has the error %s", r.id, r.sub.label, v.Error)
		}
	}
}

// afterMember returns the members of a submission for a job after others.
func (s *submission) afterMember(i int) string {
	if s.after == nil {
		return ""
	}
	member := fmt.Sprintf(`,"after":[%s]`, strings.Join(s.after[i], ","))
	if s.afterTimeout > 0 {
		member += fmt.Sprintf(`,"after_timeout":%q`, s.afterTimeout)
	}
	return member
}
