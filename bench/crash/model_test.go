package main

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The model rejects every wrong history, and accepts the right ones that they are made of.
func TestModel(t *testing.T) {
	squares := numbers(3)
	one := newSubmission("one", "k1", "", squares)
	sleep := newSubmission("two", "", "", sleeps(2000))
	sleep.cancelled = true
	pair := newSubmission("pair", "k3", "", numbers(4), numbers(5))

	done := func(id, state, result string, total, completed int64) *view {
		finished := time.Unix(50, 0)
		v := &view{ID: id, State: state, Result: jsontext.Value(result), Error: jsontext.Value("null"), FinishedAt: &finished}
		v.Progress.Total, v.Progress.Completed = total, completed
		return v
	}
	unfinished := func(id, state string, completed int64) *view {
		v := &view{ID: id, State: state}
		v.Progress.Total, v.Progress.Completed = 5, completed
		return v
	}
	items := func(i int64) []item {
		all := make([]item, 0, 5)
		for k, value := range []string{"9", "9", "1000000", "6.25", "0"} {
			if i == 4 {
				value = []string{"16", "16", "100000000", "6.25", "0"}[k]
			}
			if i == 5 {
				value = []string{"25", "25", "10000000000", "6.25", "0"}[k]
			}
			all = append(all, item{Seq: int64(3 + k), Index: k, Value: jsontext.Value(value)})
		}
		return all
	}
	stream := func(id string, change func(r *reading)) operation {
		r := &reading{items: items(3), seqs: []int64{1, 2, 3, 4, 5, 6, 7, 8}, last: done(id, "succeeded", "5", 5, 5), whole: true}
		if change != nil {
			change(r)
		}
		return operation{action: read, job: id, read: r}
	}
	pages := func(id string, all []item) operation {
		return operation{action: read, job: id, read: &reading{items: all, whole: true}}
	}
	accepted := func(s *submission, replayed bool, ids ...string) operation {
		o := operation{action: submit, status: http.StatusAccepted, sub: s, ids: ids, replayed: replayed}
		if len(ids) == 1 {
			o.view = unfinished(ids[0], "queued", 0)
		}
		return o
	}
	seen := func(v *view) operation {
		return operation{action: get, status: http.StatusOK, job: v.ID, view: v}
	}
	cancels := func(v *view) operation {
		return operation{action: cancel, status: http.StatusAccepted, job: v.ID, view: v}
	}
	gone := func(id string, status int) operation { return operation{action: get, status: status, job: id} }
	deletes := func(id string, status int) operation { return operation{action: remove, status: status, job: id} }
	array := func(what action, status, version int) operation {
		return operation{action: what, status: status, array: "a", version: version}
	}
	lost := func(o operation) operation { // the response
		o.status, o.ids, o.view, o.ret = 0, nil, nil, never
		return o
	}

	// The operations of the right history, in order. Each ends before the next one begins, unless its response is lost.
	good := func() []operation {
		return []operation{
			lost(accepted(one, false)),
			accepted(one, true, "a"),
			seen(unfinished("a", "running", 2)),
			stream("a", nil),
			seen(done("a", "succeeded", "5", 5, 5)),
			accepted(sleep, false, "b"),
			seen(unfinished("b", "running", 0)),
			cancels(unfinished("b", "cancelling", 0)),
			seen(done("b", "cancelled", "null", 1, 0)),
			pages("b", nil),
			accepted(pair, false, "c", "d"),
			accepted(pair, true, "c", "d"),
			seen(done("c", "succeeded", "5", 5, 5)),
			pages("c", items(4)),
			seen(done("d", "succeeded", "5", 5, 5)),
			pages("d", items(5)),
			deletes("d", http.StatusNoContent),
			gone("d", http.StatusGone),
			array(fetch, http.StatusNotFound, 0),
			array(put, http.StatusCreated, 1),
			array(fetch, http.StatusOK, 1),
			lost(array(put, 0, 2)),
			array(fetch, http.StatusOK, 1),
			array(fetch, http.StatusOK, 2),
			array(discard, http.StatusNoContent, 0),
			array(fetch, http.StatusNotFound, 0),
		}
	}
	listed := func() map[string][]string {
		return map[string][]string{"one": {"a"}, "two": {"b"}, "pair": {"c"}}
	}
	after := func(more ...operation) func([]operation, map[string][]string) []operation {
		return func(all []operation, _ map[string][]string) []operation { return append(all, more...) }
	}
	replace := func(i int, o operation) func([]operation, map[string][]string) []operation {
		return func(all []operation, _ map[string][]string) []operation { all[i] = o; return all }
	}
	without := func(places ...int) func([]operation, map[string][]string) []operation {
		return func(all []operation, _ map[string][]string) []operation {
			for _, i := range slices.Backward(places) {
				all = slices.Delete(all, i, i+1)
			}
			return all
		}
	}
	lists := func(label string, ids ...string) func([]operation, map[string][]string) []operation {
		return func(all []operation, listed map[string][]string) []operation {
			listed[label] = ids
			return all
		}
	}
	changed := func(change func(r *reading)) func([]operation, map[string][]string) []operation {
		return replace(3, stream("a", change))
	}
	for _, tt := range []struct {
		name      string
		change    func([]operation, map[string][]string) []operation
		violation string // "" for none
	}{
		{"right", after(), ""},
		{"right, and a lost delete", after(lost(deletes("c", 0)), gone("c", http.StatusGone)), ""},
		{"right, and the lost submission was the only one", without(1, 2, 3, 4), ""},
		{"right, and deleted after an end that nobody saw", replace(8, deletes("b", http.StatusNoContent)), ""},
		{"right, and an array in use", after(array(put, http.StatusCreated, 3), array(put, http.StatusConflict, 4), array(fetch, http.StatusOK, 3)), ""},

		{"a lost job", after(gone("a", http.StatusNotFound)), "job a, node 0: its history"},
		{"an expired job", after(gone("a", http.StatusGone)), "job a, node 0: its history"},
		{"a job that is not listed", lists("one"), "job a of one was acknowledged and is not listed"},
		{"a job that never ends", without(3, 4), "job a of one was never seen to finish"},
		{"a job that was never read", without(3), "job a of one was never read to its end"},
		{"a job from nowhere", after(seen(unfinished("x", "running", 1))), "job x was read and never submitted"},

		{"a key with two jobs", after(accepted(one, true, "x")), "key k1: its history"},
		{"a key used first twice", after(accepted(one, false, "a")), "key k1: its history"},
		{"a key that another request filled", replace(0, lost(accepted(sleep, false))), "key k1: its history"},
		{"a key with two jobs in the list", lists("one", "a", "x"), "label one: got 2 jobs"},
		{"more jobs than attempts", lists("two", "b", "x"), "label two: got 2 jobs"},
		{"half a batch", lists("pair", "c", "d", "x"), "label pair: got 3 jobs"},
		{"another batch for a key", after(accepted(pair, true, "c", "x")), "key k3: its history"},
		{"a job of two submissions", after(accepted(sleep, false, "a")), "job a is of the submissions"},

		{"another outcome", after(seen(done("a", "failed", "null", 5, 5))), "job a has the outcomes"},
		{"another result", after(seen(done("a", "succeeded", "6", 5, 5))), "job a has the outcomes"},
		{"another outcome in a stream", changed(func(r *reading) { r.last = done("a", "succeeded", "7", 5, 5) }), "job a has the outcomes"},
		{"a wrong result", after(accepted(newSubmission("w", "", "", squares), false, "w"), stream("w", func(r *reading) {
			r.last = done("w", "succeeded", "4", 5, 5)
		})), "job w of w: got result 4, want 5"},
		{"a failed job", after(accepted(newSubmission("w", "", "", squares), false, "w"), stream("w", func(r *reading) {
			r.last = done("w", "failed", "null", 5, 5)
		})), "job w of w failed, want succeeded"},
		{"cancelled by no client", after(accepted(newSubmission("w", "", "", squares), false, "w"), seen(done("w", "cancelled", "null", 5, 0))), "job w of w cancelled"},
		{"success with work left", after(accepted(newSubmission("w", "", "", squares), false, "w"), seen(done("w", "succeeded", "5", 5, 4))), "succeeded with progress"},
		{"success after the cancel was acknowledged", replace(8, seen(done("b", "succeeded", "1", 1, 1))), "job b of two was cancelling, and succeeded"},
		{"success after a cancel, in the history", replace(8, seen(done("b", "succeeded", "1", 1, 1))), "job b, node 0: its history"},

		{"unfinished again", after(seen(unfinished("a", "running", 5))), "job a, node 0: its history"},
		{"queued again", replace(4, seen(unfinished("a", "queued", 2))), "job a, node 0: its history"},
		{"less done", replace(4, seen(unfinished("a", "running", 1))), "job a, node 0: its history"},
		{"a cancel without effect", replace(7, cancels(unfinished("b", "running", 0))), "job b, node 0: its history"},
		{"deleted and still there", after(seen(done("d", "succeeded", "5", 5, 5))), "job d, node 0: its history"},
		{"deleted by nobody", replace(16, gone("d", http.StatusGone)), "job d, node 0: its history"},
		{"finished, and refused to be deleted", replace(16, deletes("d", http.StatusConflict)), "job d, node 0: its history"},

		{"a gap", changed(func(r *reading) { r.seqs = []int64{1, 2, 3, 5, 6, 7, 8} }), "seq 5 of a stream is at position 4"},
		{"a seq twice", changed(func(r *reading) { r.seqs = []int64{1, 2, 3, 3, 4, 5} }), "seq 3 of a stream is at position 4"},
		{"a stream without its start", changed(func(r *reading) { r.seqs = []int64{2, 3} }), "seq 2 of a stream is at position 1"},
		{"numbered attempts", changed(func(r *reading) { r.attempts, r.last.Retries = []failedAttempt{{0, 1}, {0, 2}}, 2 }), ""},
		{"attempts that begin anew", changed(func(r *reading) { r.attempts, r.last.Retries = []failedAttempt{{0, 1}, {0, 1}}, 2 }), "attempt 1 of task 0 is at position 2"},
		{"an attempt that was lost", changed(func(r *reading) { r.attempts, r.last.Retries = []failedAttempt{{0, 1}, {0, 3}}, 2 }), "attempt 3 of task 0 is at position 2"},
		{"attempts that were not counted", changed(func(r *reading) { r.attempts, r.last.Retries = []failedAttempt{{0, 1}}, 0 }), "has 0 retries, its events have 1"},
		{"another retention", changed(func(r *reading) { r.last.Retention, r.last.Failed = "24h0m0s", "1h0m0s" }), "has the retentions 24h0m0s and 1h0m0s"},
		{"an item too few", changed(func(r *reading) { r.items = r.items[:4] }), "got 4 items, want 5"},
		{"an item twice", changed(func(r *reading) { r.items = append(r.items, item{Seq: 8, Index: 1, Value: jsontext.Value("9")}) }), "got 6 items"},
		{"a wrong item", changed(func(r *reading) { r.items[2].Value = jsontext.Value("1") }), "item 2: 1, want 1000000"},
		{"items out of order", changed(func(r *reading) { r.items[0], r.items[1] = r.items[1], r.items[0] }), "follows"},
		{"a failed item", changed(func(r *reading) { text := "why"; r.items[0].Error = &text }), "item 0 failed: why"},
		{"another item for another client", after(stream("a", func(r *reading) { r.items[0].Seq = 2 })), "a client saw item"},

		{"an array that came back", after(array(fetch, http.StatusOK, 2)), "array a: its history"},
		{"an array that was lost", after(array(put, http.StatusCreated, 3), array(fetch, http.StatusNotFound, 0)), "array a: its history"},
		{"an old version", after(array(put, http.StatusCreated, 3), array(put, http.StatusOK, 4), array(fetch, http.StatusOK, 3)), "array a: its history"},
		{"a version of nobody", after(array(put, http.StatusCreated, 3), array(fetch, http.StatusOK, 9)), "array a: its history"},
		{"created in place of another", after(array(put, http.StatusCreated, 3), array(put, http.StatusCreated, 4)), "array a: its history"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHistory()
			h.listed = listed()
			h.operations = tt.change(good(), h.listed)
			for i := range h.operations {
				o := &h.operations[i]
				if o.call = int64(10 * i); o.ret == 0 {
					o.ret = o.call + 5
				}
			}
			errs := h.check(1)
			if tt.violation == "" && len(errs) > 0 {
				t.Errorf("got %v, want no violation", errs)
			}
			found := func(err error) bool { return strings.Contains(err.Error(), tt.violation) }
			if tt.violation != "" && !slices.ContainsFunc(errs, found) {
				t.Errorf("got %v, want one with %q", errs, tt.violation)
			}
		})
	}
}

// In a cluster a node may see the changes of other nodes later, and never goes back.
func TestModelOfNodes(t *testing.T) {
	s := newSubmission("one", "", "", sleeps(2000))
	s.cancelled = true
	view := func(state string) *view { return &view{ID: "a", State: state} }
	history := func(last operation) *history {
		h := newHistory()
		h.operations = []operation{
			{action: submit, node: 0, status: http.StatusAccepted, sub: s, ids: []string{"a"}, view: view("queued")},
			{action: cancel, node: 0, status: http.StatusAccepted, job: "a", view: view("cancelling")},
			{action: get, node: 1, status: http.StatusOK, job: "a", view: view("running")}, // it lags
			{action: get, node: 1, status: http.StatusOK, job: "a", view: view("cancelled")},
			{action: read, node: 1, job: "a", read: &reading{whole: true}},
			last,
		}
		for i := range h.operations {
			h.operations[i].call, h.operations[i].ret = int64(10*i), int64(10*i+5)
		}
		return h
	}
	if errs := history(operation{action: get, node: 0, status: http.StatusOK, job: "a", view: view("cancelled")}).check(2); len(errs) > 0 {
		t.Errorf("got %v, want no violation", errs)
	}
	for _, wrong := range []operation{
		{action: get, node: 1, status: http.StatusOK, job: "a", view: view("running")},
		{action: get, node: 0, status: http.StatusOK, job: "a", view: view("running")},
		{action: get, node: 1, status: http.StatusNotFound, job: "a"},
	} {
		if errs := history(wrong).check(2); len(errs) == 0 {
			t.Errorf("node %d, status %d, %v: got no violation", wrong.node, wrong.status, wrong.view)
		}
	}
}

// A job of a cluster may fail because its array was changed while it was submitted, and for no other reason.
func TestModelOfChangedArrays(t *testing.T) {
	const changed = `{"type":"/problems/source-changed"}`
	for _, tt := range []struct {
		name     string
		nodes    int
		problem  string
		putCall  int64 // the submission is from 10 to 20; the upload takes 5
		array    string
		violates bool
	}{
		{"during the submission", 3, changed, 12, "a", false},
		{"since before the submission", 3, changed, 8, "a", false},
		{"before the submission", 3, changed, 3, "a", true},
		{"after the submission", 3, changed, 21, "a", true},
		{"of another array", 3, changed, 12, "b", true},
		{"for another reason", 3, `{"type":"/problems/job-failed"}`, 12, "a", true},
		{"of a server alone", 1, changed, 12, "a", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSubmission("one", "", "a", sum(`{"source":"npy","name":"a"}`, ""))
			h := newHistory()
			end := &view{ID: "j", State: "failed", Error: jsontext.Value(tt.problem)}
			h.operations = []operation{
				{action: submit, status: http.StatusAccepted, sub: s, ids: []string{"j"}, view: &view{ID: "j", State: "queued"}, call: 10, ret: 20},
				{action: put, status: http.StatusCreated, array: tt.array, version: 1, call: tt.putCall, ret: tt.putCall + 5},
				{action: get, status: http.StatusOK, job: "j", view: end, call: 30, ret: 40},
			}
			if errs := h.check(tt.nodes); (len(errs) > 0) != tt.violates {
				t.Errorf("got violations %v, want some: %t", errs, tt.violates)
			}
		})
	}
}

// A seed is one schedule.
func TestPlan(t *testing.T) {
	s := &settings{nodes: 3}
	newPlan := func(seed uint64) *plan { return newPlan(seed, 8, 20, 10, s.defaultKinds(), s.nodes) }
	if a, b := newPlan(7), newPlan(7); !reflect.DeepEqual(a, b) {
		t.Errorf("got plans %v and %v of one seed", a, b)
	}
	if a, b := newPlan(7), newPlan(8); reflect.DeepEqual(a.faults, b.faults) {
		t.Errorf("got faults %v of two seeds", a.faults)
	}
	for seed := range uint64(20) {
		last := 0
		for _, f := range newPlan(seed).faults {
			if f.after < last || f.after > 8*20 {
				t.Errorf("seed %d: got a fault after %d steps of %d, behind one after %d", seed, f.after, 8*20, last)
			}
			last = f.after
		}
	}
}
