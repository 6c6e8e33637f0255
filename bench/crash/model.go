package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// # What the model demands
//
//   - A key is a register that is written once: all submissions with the key return the same jobs, the first one alone without
//     Idempotency-Replayed. Linearizable, on every node.
//   - A job moves from queued to its one outcome and never back, has no success after its cancel was acknowledged or shown, and can
//     be read until it is deleted. Linearizable on one server; in a cluster the reads of each node are, and what other nodes have
//     acknowledged may be seen later, except that an acknowledged job is found everywhere.
//   - A stored array is a register: whole or absent. Linearizable.
//   - The seqs of a stream are 1, 2, 3, ... over any number of resumes; all readings of a job have the same items, and each item of
//     an order has the right value.
//   - The counts of a group are the states of its jobs. Its events have the end of each job once, with one number for all clients, and
//     none is left out over any number of resumes; see groups.go.
//   - A bulk request changes each job that it matches as a request for this job would; see bulk.go. A retry is a job of the items that did
//     not succeed, and there is one for a key; see retry.go.
//   - A failed attempt of a task is one event, with the number of the attempt, and the job counts it; a job has the retentions of its
//     submission; see store.go.
//   - A job with a webhook is delivered at least once, signed, with its outcome; see webhooks.go.
//   - A job that is submitted after every node has shown a pause does not start before the pause is ended; see pauses.go.
//   - A job does not start before the jobs that it comes after have succeeded, and is cancelled with this reason only if one does not, or not
//     in time; see after.go.
//   - Each tick of a schedule has one outcome and at most one job, each job of a schedule one tick; see schedules.go.
//   - After the run, each acknowledged job is read to its end, and each label has as many jobs as its submissions acknowledged.

// checkTimeout bounds the search for a linearization of one object.
const checkTimeout = time.Minute

// check returns the violations in a history.
func (h *history) check(nodes int) []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bound()
	h.spread(nodes)
	c := &checker{h: h, nodes: nodes}
	c.errs = append(c.errs, h.reported...)
	c.checkKeys()
	c.checkJobs()
	c.checkArrays()
	reports := c.checkOutcomes()
	c.checkLabels()
	c.checkGroups()
	c.checkBulk(reports)
	c.checkRetries(reports)
	c.checkHolds(reports)
	c.checkAfter(reports)
	c.checkSchedules()
	return c.errs
}

// bound ends the operations of a single server that the end of its process has ended.
func (h *history) bound() {
	for i := range h.operations {
		o := &h.operations[i]
		if !o.unknown() {
			continue
		}
		if k, _ := slices.BinarySearch(h.starts, o.call); k < len(h.starts) {
			o.ret = h.starts[k]
			o.status = 0
		}
	}
}

// A checker collects the violations.
type checker struct {
	h     *history
	nodes int
	errs  []error
}

func (c *checker) violation(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// linearizable checks the history of one object.
func (c *checker) linearizable(what string, m *porcupine.NondeterministicModel, ops []operation) {
	history := make([]porcupine.Operation, len(ops))
	for i := range ops {
		history[i] = porcupine.Operation{ClientId: ops[i].client, Input: &ops[i], Call: ops[i].call, Return: ops[i].ret}
	}
	switch porcupine.CheckOperationsTimeout(m.ToModel(), history, checkTimeout) {
	case porcupine.Illegal:
		c.violation("%s: its history is not linearizable:%s", what, describe(ops))
	case porcupine.Unknown:
		c.violation("%s: no linearization of its %d operations was found in %s", what, len(ops), checkTimeout)
	case porcupine.Ok:
	}
}

// describe lists operations by the times of their calls.
func describe(ops []operation) string {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b operation) int { return int(a.call - b.call) })
	var text strings.Builder
	for i := range ops {
		o := &ops[i]
		ret := "never"
		if !o.unknown() {
			ret = time.Duration(o.ret).String()
		}
		fmt.Fprintf(&text, "\n  client %d, node %d, %s to %s: %s", o.client, o.node, time.Duration(o.call), ret, o.action)
		switch {
		case o.ofMany:
			text.WriteString(" with others")
			if o.bulk != nil {
				fmt.Fprintf(&text, ", %d matched, %d changed", o.bulk.Matched, o.bulk.Changed)
			}
		case o.array != "":
			fmt.Fprintf(&text, " version %d", o.version)
		case o.action == submit:
			fmt.Fprintf(&text, " %s: jobs %v, replayed: %t", o.sub.label, o.ids, o.replayed)
		}
		fmt.Fprintf(&text, ", status %d", o.status)
		if o.view != nil {
			fmt.Fprintf(&text, ", %s with %d done", o.view.State, o.view.Progress.Completed)
		}
	}
	return text.String()
}

// group returns the operations with a name, by the name; name returns "" for others.
func (c *checker) group(name func(o *operation) string) map[string][]operation {
	groups := make(map[string][]operation)
	for i := range c.h.operations {
		if n := name(&c.h.operations[i]); n != "" {
			groups[n] = append(groups[n], c.h.operations[i])
		}
	}
	return groups
}

// keyModel is the model of an idempotency key. Its state is the jobs of the key: "" before the first submission, someJobs after one
// whose response is unknown.
var keyModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, _ any) []any {
		const someJobs = "?"
		o := input.(*operation)
		jobs := fmt.Sprint(o.ids)
		switch {
		case len(o.ids) == 0 && state == "": // unknown
			return []any{"", someJobs}
		case len(o.ids) == 0:
			return []any{state}
		case o.replayed && (state == someJobs || state == jobs), !o.replayed && state == "":
			return []any{jobs}
		}
		return nil
	},
}

func (c *checker) checkKeys() {
	for key, ops := range c.group(func(o *operation) string {
		if o.action != submit {
			return ""
		}
		return o.sub.key
	}) {
		c.linearizable("key "+key, &keyModel, ops)
	}
}

// arrayModel is the model of a stored array. Its state is the version; 0 if there is no array.
var arrayModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{0} },
	Step: func(state, input, _ any) []any {
		o := input.(*operation)
		next := 0 // discard
		if o.action == put {
			next = o.version
		}
		switch {
		case o.action == fetch && o.version == state:
			return []any{state}
		case o.action == fetch:
			return nil
		case o.status == 0 || o.unknown():
			return []any{state, next}
		case o.status == http.StatusOK && state != 0, o.status == http.StatusCreated && state == 0, o.status == http.StatusNoContent && state != 0:
			return []any{next}
		case o.status == http.StatusNotFound && state == 0, o.status == http.StatusConflict && state != 0:
			return []any{state} // absent, or in use by a job
		}
		return nil
	},
}

func (c *checker) checkArrays() {
	for name, ops := range c.group(func(o *operation) string { return o.array }) {
		c.linearizable("array "+name, &arrayModel, ops)
	}
}

// A jobState is a state of the model of a job.
type jobState struct {
	phase     int
	completed int64
	outcome   string
	deleted   bool
}

// The phases of a job. Each may be skipped.
const (
	queued = iota
	running
	cancelling
	terminal
)

func phase(state string) int {
	switch state {
	case "queued":
		return queued
	case "running":
		return running
	case "cancelling":
		return cancelling
	}
	return terminal
}

// see returns the state after a client saw a view, because a job moves on without clients; ok is false if it cannot get there.
func (s jobState) see(v *view) (next jobState, ok bool) {
	p := phase(v.State)
	switch {
	case s.deleted, p < s.phase, v.Progress.Completed < s.completed:
	case s.phase == terminal && s.outcome != "" && s.outcome != v.outcome():
	case s.phase == cancelling && v.State == "succeeded":
	default:
		next = jobState{phase: p, completed: v.Progress.Completed}
		if p == terminal {
			next.outcome = v.outcome()
		}
		return next, true
	}
	return s, false
}

// step returns the states after an operation.
func (s jobState) step(o *operation) []any {
	unknown := o.status == 0 || o.unknown()
	switch {
	case o.ofMany && !unknown:
		return s.stepOfMany(o)
	case o.view != nil:
		next, ok := s.see(o.view)
		if !ok || o.action == cancel && next.phase < cancelling {
			return nil
		}
		return []any{next}
	case o.action == cancel && unknown:
		next := s
		next.phase = max(s.phase, cancelling)
		return []any{s, next}
	case o.action == remove && unknown:
		return []any{s, jobState{deleted: true}}
	case o.status == http.StatusGone && s.deleted: // any action
		return []any{s}
	case o.action == remove && o.status == http.StatusNoContent && !s.deleted:
		return []any{jobState{deleted: true}}
	case o.action == remove && o.status == http.StatusConflict && !s.deleted && s.phase < terminal:
		return []any{s}
	}
	return nil
}

// jobModel is the model of an accepted job.
var jobModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{jobState{}} },
	Step: func(state, input, _ any) []any { return state.(jobState).step(input.(*operation)) },
}

// checkJobs checks the history of each job. In a cluster each node has a history of its own, in which the acknowledged changes by
// other nodes come at any time after their calls.
func (c *checker) checkJobs() {
	for id, ops := range c.group(func(o *operation) string {
		switch {
		case o.action == submit && len(o.ids) == 1 && o.view != nil:
			return o.ids[0]
		case o.action == get, o.action == cancel, o.action == remove:
			return o.job
		}
		return ""
	}) {
		for node := range c.nodes {
			var seen []operation
			for _, o := range ops {
				switch {
				case c.nodes == 1 || o.node == node:
					seen = append(seen, o)
				case o.action == cancel, o.action == remove && (o.unknown() || o.status == http.StatusNoContent):
					o.ret, o.view, o.status = never, nil, 0
					seen = append(seen, o)
				}
			}
			c.linearizable(fmt.Sprintf("job %s, node %d", id, node), &jobModel, withoutRepeats(seen))
		}
	}
}

// withoutRepeats removes cancels and deletes of one job of unknown effect during which another one is, from an earlier call on: the
// effect of both is that of one, and the search for a linearization would try all subsets of them.
func withoutRepeats(ops []operation) []operation {
	type change struct {
		action action
		ofMany bool
		ret    int64
	}
	earliest := make(map[change]int64)
	key := func(o *operation) (change, bool) {
		effect := (o.action == cancel || o.action == remove) && (o.status == 0 || o.unknown())
		return change{o.action, o.ofMany, o.ret}, effect
	}
	for i := range ops {
		k, ok := key(&ops[i])
		if at, found := earliest[k]; ok && (!found || ops[i].call < at) {
			earliest[k] = ops[i].call
		}
	}
	return slices.DeleteFunc(ops, func(o operation) bool {
		k, ok := key(&o)
		return ok && o.call > earliest[k]
	})
}
