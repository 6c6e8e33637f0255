package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// A run is one set of servers, their clients and the history of both.
type run struct {
	*history

	plan  *plan
	nodes []*process
	nats  *natsServers // nil for a server alone
	http  *http.Client
	// key is the API key of all clients, webhook the URL of the receiver, and bucket the URL of the store with its endpoint.
	key, webhook, bucket string
	shared               sync.Map // submissions that several clients submit, by label
	log                  io.Writer
	// idle ends the run; each step, fault and read of a job puts it off by limit.
	idle  *time.Timer
	limit time.Duration

	stepsMu sync.Mutex
	steps   int
	current []int         // the step of each client
	moved   chan struct{} // closed at the next step; nil without a waiter
	// injected counts the faults by kind.
	injected map[string]int
}

// watch returns a context that ends when no step, fault or read of a job ended for a while. The caller must call stop.
func (r *run) watch(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.current = make([]int, r.plan.clients)
	r.idle = time.AfterFunc(r.limit, func() {
		r.stepsMu.Lock()
		defer r.stepsMu.Unlock()
		cancel(fmt.Errorf("nothing was done for %s; the clients are at their steps %d", r.limit, r.current))
	})
	return ctx, func() {
		r.idle.Stop()
		cancel(nil)
	}
}

// done adds an operation with a response.
func (r *run) done(o *operation) { r.add(o) }

func (r *run) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.log, "%8.3fs "+format+"\n", append([]any{time.Duration(r.now()).Seconds()}, args...)...)
}

// execute runs the clients and the faults of the plan, and then reads every job to its end. It returns an error if the run could not be
// completed, which is a violation too: something did not come back.
func (r *run) execute(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var clients sync.WaitGroup
	for i := range r.plan.clients {
		clients.Go(func() {
			c := &client{run: r, id: i}
			for n := range r.plan.steps {
				if ctx.Err() != nil {
					return
				}
				if err := c.step(ctx, n); err != nil && ctx.Err() == nil {
					r.report(fmt.Errorf("client %d, step %d: %w", i, n, err))
				}
				r.count(i)
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for _, f := range []func(context.Context, <-chan struct{}) error{r.pauseAll, r.scheduleAll} {
		others.Go(func() {
			if err := f(ctx, stop); err != nil && ctx.Err() == nil {
				r.report(err)
			}
		})
	}
	err := r.injectAll(ctx)
	if err != nil {
		cancel(err)
	}
	clients.Wait()
	r.printf("all steps are done")
	close(stop)
	others.Wait()
	r.printf("pauses and schedules have ended")
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return err
	}
	return r.readAll(ctx)
}

// count counts a step of a client.
func (r *run) count(client int) {
	r.idle.Reset(r.limit)
	r.stepsMu.Lock()
	defer r.stepsMu.Unlock()
	r.steps++
	r.current[client]++
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}

// reach waits until the clients have done n steps.
func (r *run) reach(ctx context.Context, n int) error {
	for {
		r.stepsMu.Lock()
		if r.steps >= n {
			r.stepsMu.Unlock()
			return nil
		}
		if r.moved == nil {
			r.moved = make(chan struct{})
		}
		moved := r.moved
		r.stepsMu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// slowRead is the time of the reading of a job from which on the log of a run has it.
const slowRead = 30 * time.Second

// readAll reads every acknowledged job to its end, and the lists of jobs by label, after one more restart of a server alone.
func (r *run) readAll(ctx context.Context) error {
	if r.nats == nil {
		if err := r.inject(ctx, &fault{kind: kill}); err != nil {
			return err
		}
	}
	ids := make(map[string]bool)
	webhooks := make(map[string]bool)
	groups := make(map[string]bool)
	names := make(map[string]bool)
	for i := range r.operations {
		o := &r.operations[i]
		for _, id := range o.ids {
			ids[id] = true
			if o.sub != nil && o.sub.webhook != "" {
				webhooks[id] = true
			}
		}
		if o.group != "" {
			groups[o.group] = true
		}
		if o.array != "" {
			names[o.array] = true
		}
	}
	work := make(chan func(c *client) error)
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			c := &client{run: r, id: r.plan.clients + i}
			for n := 0; ; n++ {
				f, ok := <-work
				if !ok {
					return
				}
				c.seed(n)
				began := r.now()
				if err := f(c); err != nil {
					r.report(fmt.Errorf("after the run: %w", err))
				}
				if took := time.Duration(r.now() - began); took > slowRead {
					r.printf("the reading of a job or group took %s", took.Round(time.Millisecond))
				}
				r.idle.Reset(r.limit)
			}
		})
	}
	for id := range ids {
		work <- func(c *client) error {
			err := c.results(ctx, id)
			if err == nil && webhooks[id] {
				err = c.delivered(ctx, id)
			}
			return err
		}
	}
	for group := range groups {
		work <- func(c *client) error { return c.followGroup(ctx, group) }
	}
	for name := range names {
		work <- func(c *client) error { return c.fetch(ctx, name) }
	}
	close(work)
	readers.Wait()
	r.printf("all jobs are read")
	return errors.Join(context.Cause(ctx), r.list(ctx))
}

// list reads the lists of jobs and groups of each node. The labels of node 0 are those of the history, and others must be the same.
func (r *run) list(ctx context.Context) error {
	for node := range r.nodes {
		c := &client{run: r, id: -1, node: node}
		listed := make(map[string][]string)
		var l listing
		for path := "/v1/jobs?page_size=200"; path != ""; {
			a, err := c.try(ctx, http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			var page struct {
				Jobs []view  `json:"jobs"`
				Next *string `json:"next_page_token"`
			}
			if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
				return fmt.Errorf("list: status %d: %.300s: %w", a.status, a.body, err)
			}
			for _, j := range page.Jobs {
				label := j.Labels["crash"]
				if j.RetryOf != "" {
					label = retryLabel(j.RetryOf)
				}
				if slices.Contains(listed[label], j.ID) {
					r.report(fmt.Errorf("node %d lists job %s twice", node, j.ID))
				}
				listed[label] = append(listed[label], j.ID)
			}
			l.jobs = append(l.jobs, page.Jobs...)
			path = ""
			if page.Next != nil {
				path = "/v1/jobs?page_size=200&page_token=" + *page.Next
			}
		}
		for path := "/v1/groups?page_size=50"; path != ""; {
			a, err := c.try(ctx, http.MethodGet, path, nil)
			if err != nil {
				return err
			}
			var page struct {
				Groups []groupView `json:"groups"`
				Next   *string     `json:"next_after"`
			}
			if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
				return fmt.Errorf("list groups: status %d: %.300s: %w", a.status, a.body, err)
			}
			l.groups = append(l.groups, page.Groups...)
			path = ""
			if page.Next != nil {
				path = "/v1/groups?page_size=50&after=" + *page.Next
			}
		}
		r.listings = append(r.listings, l)
		if node == 0 {
			r.listed = listed
			continue
		}
		for label, ids := range r.listed {
			if len(listed[label]) != len(ids) {
				r.report(fmt.Errorf("label %s: node 0 lists jobs %v, node %d lists %v", label, ids, node, listed[label]))
			}
		}
	}
	return nil
}
