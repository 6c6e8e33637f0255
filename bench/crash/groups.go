package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// A groupView is a group as a client reads it.
type groupView struct {
	ID   string `json:"id"`
	Jobs struct {
		Total      int64 `json:"total"`
		Queued     int64 `json:"queued"`
		Running    int64 `json:"running"`
		Cancelling int64 `json:"cancelling"`
		Succeeded  int64 `json:"succeeded"`
		Failed     int64 `json:"failed"`
		Cancelled  int64 `json:"cancelled"`
	} `json:"jobs"`
	Progress struct {
		Total     int64 `json:"total"`
		Completed int64 `json:"completed"`
		Failed    int64 `json:"failed"`
	} `json:"progress"`
	FinishedAt *time.Time `json:"finished_at"`
}

// A groupReading is what a client read of the events of a group.
type groupReading struct {
	ends []groupEnd
	// finished is the last event; nil without one.
	finished *groupView
	// whole is true if the client read to the end of a group that had finished.
	whole bool
}

// A groupEnd is the end of a job in the events of its group.
type groupEnd struct {
	seq int64
	job *view
}

func (r *groupReading) after() int64 {
	if len(r.ends) == 0 {
		return 0
	}
	return r.ends[len(r.ends)-1].seq
}

func (r *groupReading) ended() bool { return r.whole }
func (r *groupReading) end()        { r.whole = true }

func (r *groupReading) add(e *event) error {
	var err error
	switch e.Event {
	case "job":
		v := new(view)
		err = json.Unmarshal(e.Data, v)
		r.ends = append(r.ends, groupEnd{e.Seq, v})
	case "finished":
		r.whole, r.finished = true, new(groupView)
		err = json.Unmarshal(e.Data, r.finished)
	case "group":
		err = json.Unmarshal(e.Data, new(groupView))
	default:
		return fmt.Errorf("%w: event %q of a group", errStream, e.Event)
	}
	if err != nil {
		return fmt.Errorf("%w: event %s: %w", errStream, e.Data, err)
	}
	return nil
}

// followGroup reads the events of a group until all of its jobs have ended.
func (c *client) followGroup(ctx context.Context, group string) error {
	o := operation{action: followGroup, client: c.id, group: group, call: c.now(), ends: new(groupReading), status: http.StatusOK}
	err := c.follow(ctx, "/v1/groups/"+group+"/events", o.ends)
	if errors.Is(err, errNoGroup) {
		o.status, err = http.StatusNotFound, nil
	}
	o.node, o.ret = c.node, c.now()
	if err == nil || errors.Is(err, errStream) {
		c.done(&o)
	}
	return err
}

// grouped submits a job to a group of several clients, and follows the group or cancels nothing of it.
func (c *client) grouped(ctx context.Context, label, key string, n int) error {
	const clients, rounds = 4, 3 // with one group
	s := c.newSubmission(label, key, "", newOrder(c.rng))
	s.group = fmt.Sprintf("g%d-%d", c.id/clients, n/rounds)
	o, err := c.submit(ctx, s)
	if err != nil {
		return err
	}
	if c.rng.IntN(2) == 0 {
		return c.gather(ctx, o.ids[0])
	}
	c.hop()
	return c.followGroup(ctx, s.group)
}

// checkGroups checks that each node counts the jobs of a group that exist, and that the events of a group have the end of each job once,
// with the same number for all clients.
func (c *checker) checkGroups() {
	deleted := c.deleted()
	acknowledged := make(map[string]map[string]int64) // the earliest response with the job, by group
	readings := make(map[string][]operation)
	for i := range c.h.operations {
		switch o := &c.h.operations[i]; {
		case o.action == submit && o.group != "":
			if acknowledged[o.group] == nil {
				acknowledged[o.group] = make(map[string]int64)
			}
			for _, id := range o.ids {
				if at, ok := acknowledged[o.group][id]; !ok || o.ret < at {
					acknowledged[o.group][id] = o.ret
				}
			}
		case o.action == followGroup:
			readings[o.group] = append(readings[o.group], *o)
		}
	}
	for group, ops := range readings {
		c.checkGroupReadings(group, ops, acknowledged[group], deleted)
	}
	for node, l := range c.h.listings {
		c.checkCounts(node, &l)
		for group, ids := range acknowledged {
			for id := range ids {
				listed := slices.ContainsFunc(l.jobs, func(v view) bool { return v.ID == id && v.Group == group })
				if !listed && !deleted[id] {
					c.violation("job %s was acknowledged in group %s, and node %d does not list it there", id, group, node)
				}
			}
		}
	}
}

// checkCounts checks the counts of groups that a node returned at the end, when nothing changed any longer.
func (c *checker) checkCounts(node int, l *listing) {
	want := make(map[string]*groupView)
	for i := range l.jobs {
		v := &l.jobs[i]
		if v.Group == "" {
			continue
		}
		g := want[v.Group]
		if g == nil {
			g = &groupView{ID: v.Group}
			want[v.Group] = g
		}
		g.Jobs.Total++
		switch v.State {
		case "succeeded":
			g.Jobs.Succeeded++
		case "failed":
			g.Jobs.Failed++
		case "cancelled":
			g.Jobs.Cancelled++
		default:
			c.violation("job %s of group %s is %s at the end", v.ID, v.Group, v.State)
		}
		g.Progress.Total += v.Progress.Total
		g.Progress.Completed += v.Progress.Completed
		g.Progress.Failed += v.Progress.Failed
	}
	for i := range l.groups {
		got := &l.groups[i]
		w := want[got.ID]
		delete(want, got.ID)
		if w == nil {
			c.violation("node %d lists group %s, which has no job", node, got.ID)
		} else if got.Jobs != w.Jobs || got.Progress != w.Progress || got.FinishedAt == nil {
			c.violation("group %s on node %d: got %+v %+v, finished at %v; its jobs make %+v %+v", got.ID, node, got.Jobs, got.Progress, got.FinishedAt, w.Jobs, w.Progress)
		}
	}
	for name := range want {
		c.violation("group %s has jobs, and node %d does not list it", name, node)
	}
}

// checkGroupReadings checks all readings of the events of one group.
func (c *checker) checkGroupReadings(group string, ops []operation, acknowledged map[string]int64, deleted map[string]bool) {
	numbers := make(map[string]int64) // of ends, by job
	jobs := make(map[int64]string)    // by number
	final := make(map[string]bool)    // the jobs of the group that exist at the end
	for i := range c.h.listings {
		for _, v := range c.h.listings[i].jobs {
			if v.Group == group {
				final[v.ID] = true
			}
		}
	}
	for i := range ops {
		o := &ops[i]
		if o.status == http.StatusNotFound {
			for id, at := range acknowledged {
				if at < o.call && !deleted[id] {
					c.violation("group %s was not found on node %d, and job %s of it had been acknowledged", group, o.node, id)
				}
			}
			continue
		}
		last := int64(0)
		for _, e := range o.ends.ends {
			if e.seq <= last {
				c.violation("group %s, client %d: event %d follows %d", group, o.client, e.seq, last)
			}
			last = e.seq
			if n, ok := numbers[e.job.ID]; ok && n != e.seq {
				c.violation("group %s: the end of job %s has the numbers %d and %d", group, e.job.ID, n, e.seq)
			}
			if id, ok := jobs[e.seq]; ok && id != e.job.ID {
				c.violation("group %s: number %d is of the jobs %s and %s", group, e.seq, id, e.job.ID)
			}
			numbers[e.job.ID], jobs[e.seq] = e.seq, e.job.ID
			if !e.job.terminal() || e.job.Group != group {
				c.violation("group %s: got the end of job %s, which is %s and of group %q", group, e.job.ID, e.job.State, e.job.Group)
			}
			if len(final) > 0 && !final[e.job.ID] && !deleted[e.job.ID] {
				c.violation("group %s: the end of job %s was sent, and no node lists the job", group, e.job.ID)
			}
		}
		if f := o.ends.finished; f != nil && (f.FinishedAt == nil || f.Jobs.Queued+f.Jobs.Running+f.Jobs.Cancelling > 0) {
			c.violation("group %s: its stream ended with %+v", group, *f)
		}
	}
	for i := range ops {
		c.checkGaps(group, &ops[i], numbers, deleted, acknowledged)
	}
}

// checkGaps checks that a reading has each end whose number is not above its last one, and to the end each job acknowledged before.
func (c *checker) checkGaps(group string, o *operation, numbers map[string]int64, deleted map[string]bool, acknowledged map[string]int64) {
	if o.status == http.StatusNotFound {
		return
	}
	seen := make(map[string]bool)
	for _, e := range o.ends.ends {
		seen[e.job.ID] = true
	}
	for id, n := range numbers {
		if n <= o.ends.after() && !seen[id] && !deleted[id] {
			c.violation("group %s, client %d: the events up to %d lack the end of job %s, which is %d", group, o.client, o.ends.after(), id, n)
		}
	}
	for id, at := range acknowledged {
		if o.ends.whole && at < o.call && !seen[id] && !deleted[id] {
			c.violation("group %s, client %d: all events were read, and the end of job %s, acknowledged before, is not among them", group, o.client, id)
		}
	}
}
