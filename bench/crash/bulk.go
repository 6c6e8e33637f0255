package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// A bulkResult is the response to a bulk request.
type bulkResult struct {
	Matched int64   `json:"matched"`
	Changed int64   `json:"changed"`
	Next    *string `json:"next_page_token"`
}

// bulk submits several jobs, cancels them by their label or group, and perhaps deletes all that have ended.
func (c *client) bulk(ctx context.Context, label, key string) error {
	orders := make([]order, 2+c.rng.IntN(5))
	for i := range orders {
		if orders[i] = newOrder(c.rng); c.rng.IntN(3) > 0 {
			orders[i] = sleeps(2000, 5000, 100)
		}
	}
	s := c.newSubmission(label, key, "", orders...)
	s.cancelled, s.group = true, "bulk-"+label
	o, err := c.submit(ctx, s)
	if err != nil {
		return err
	}
	c.hop()
	path := "/v1/jobs:cancel?label=crash:" + label
	if c.rng.IntN(2) == 0 {
		path = "/v1/groups/" + s.group + "/cancel"
	}
	if err := c.all(ctx, cancelAll, path, o.ids); err != nil {
		return err
	}
	for _, id := range o.ids {
		if _, err := c.onJob(ctx, get, id); err != nil {
			return err
		}
	}
	if c.rng.IntN(2) == 0 {
		return c.followGroup(ctx, s.group)
	}
	for _, id := range o.ids {
		if _, err := c.await(ctx, id); err != nil {
			return err
		}
	}
	if err := c.all(ctx, removeAll, "/v1/jobs:delete?label=crash:"+label, o.ids); err != nil {
		return err
	}
	c.hop()
	for _, id := range o.ids {
		if _, err := c.onJob(ctx, get, id); err != nil {
			return err
		}
	}
	return nil
}

// all sends a bulk request for jobs, with all of its pages.
func (c *client) all(ctx context.Context, what action, path string, ids []string) error {
	page := path
	for {
		o, err := c.do(ctx, call{
			operation: operation{action: what, ids: ids}, method: http.MethodPost, path: page, accept: []int{http.StatusOK, http.StatusNotFound},
			decode: func(a *response, o *operation) error {
				if a.status == http.StatusNotFound { // of a group; the model decides
					return nil
				}
				o.bulk = new(bulkResult)
				err := json.Unmarshal(a.body, o.bulk)
				if o.bulk.Next != nil { // jobs are left
					o.ret, o.status = never, 0
				}
				return err
			},
		})
		if err != nil || o.bulk == nil || o.bulk.Next == nil {
			return err
		}
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		page = path + sep + "page_token=" + *o.bulk.Next
	}
}

// spread adds the cancels and deletes of single jobs that bulk requests are. A bulk cancel has no effect on a job while its end is being
// written, although reads show it unfinished.
func (h *history) spread(nodes int) {
	margin := time.Duration(0)
	if nodes > 1 {
		margin = startMargin
	}
	finished := make(map[string]time.Time)
	for i := range h.operations {
		if v := h.operations[i].view; v != nil && v.FinishedAt != nil {
			finished[v.ID] = *v.FinishedAt
		}
	}
	for i := range h.operations {
		o := h.operations[i]
		if o.action != cancelAll && o.action != removeAll {
			continue
		}
		for _, id := range o.ids {
			one := operation{action: cancel, client: o.client, node: o.node, call: o.call, ret: o.ret, status: o.status, job: id, bulk: o.bulk, ofMany: true}
			if at, ok := finished[id]; ok && o.action == cancelAll && !o.unknown() && (h.clockSteps || !at.After(h.began.Add(time.Duration(o.ret)+margin))) {
				one.status = 0
			}
			if o.action == removeAll {
				if one.action = remove; one.status == http.StatusOK {
					one.status = http.StatusNoContent
				}
			}
			h.operations = append(h.operations, one)
		}
	}
}

// stepOfMany returns the states of a job after a bulk request, which may have found it ended although no client has seen its end.
func (s jobState) stepOfMany(o *operation) []any {
	ended := s
	ended.phase = terminal
	switch {
	case s.deleted, o.status != http.StatusOK && o.status != http.StatusNoContent:
		return []any{s}
	case o.action == remove && s.phase == terminal:
		return []any{jobState{deleted: true}}
	case o.action == remove:
		return []any{s, jobState{deleted: true}}
	case s.phase == terminal:
		return []any{s}
	}
	s.phase = cancelling
	return []any{s, ended}
}

// checkBulk checks the numbers of jobs in the responses to bulk requests that had one attempt.
func (c *checker) checkBulk(reports map[string]*jobReport) {
	unknown := make(map[string]bool) // labels with submissions of unknown effect
	for i := range c.h.operations {
		if o := &c.h.operations[i]; o.action == submit && len(o.ids) == 0 {
			unknown[o.sub.label] = true
		}
	}
	for i := range c.h.operations {
		o := &c.h.operations[i]
		if o.status == http.StatusNotFound && o.action == cancelAll {
			c.violation("the group of jobs %v was not found by a bulk request to node %d after they were acknowledged", o.ids, o.node)
		}
		if o.bulk == nil || o.ofMany || o.attempt > 0 || o.unknown() {
			continue
		}
		cancelled := int64(0)
		for _, id := range o.ids {
			if r := reports[id]; r != nil && r.final != nil && r.final.State == "cancelled" {
				cancelled++
			}
		}
		known := !slices.ContainsFunc(o.ids, func(id string) bool { return reports[id] == nil || unknown[reports[id].sub.label] })
		switch {
		case o.bulk.Changed > o.bulk.Matched, known && o.bulk.Matched > int64(len(o.ids)):
			c.violation("%s of jobs %v: got %+v", o.action, o.ids, *o.bulk)
		case o.action == cancelAll && o.bulk.Changed < cancelled:
			c.violation("a bulk request cancelled %d of the jobs %v, and %d are cancelled", o.bulk.Changed, o.ids, cancelled)
		}
	}
}
