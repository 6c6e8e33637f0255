package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// The checker finds violations, and none in a valid history.
func TestHistoryCheck(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	squares := numbersOrder(3)
	done := func(state, result string, completed int64) *view {
		finished := at(50)
		v := &view{ID: "a", State: state, Result: json.RawMessage(result), FinishedAt: &finished}
		v.Progress.Total, v.Progress.Completed = 5, completed
		return v
	}
	running := func(completed int64) *view {
		v := &view{ID: "a", State: "running"}
		v.Progress.Total, v.Progress.Completed = 5, completed
		return v
	}
	items := func(change func(all []item) []item) []item {
		all := []item{
			{Seq: 3, Index: 1, Value: json.RawMessage("9")},
			{Seq: 4, Index: 0, Value: json.RawMessage("9")},
			{Seq: 5, Index: 2, Value: json.RawMessage("1000000")},
			{Seq: 6, Index: 3, Value: json.RawMessage("6.25")},
			{Seq: 7, Index: 4, Value: json.RawMessage("0")},
		}
		if change != nil {
			all = change(all)
		}
		return all
	}
	good := func() []observation {
		return []observation{
			{job: "a", sent: at(0), at: at(10), accepted: &accepted{key: "k", order: &squares}},
			{job: "a", node: 1, sent: at(11), at: at(20), accepted: &accepted{key: "k", replayed: true, order: &squares}},
			{job: "a", sent: at(21), at: at(30), view: running(2)},
			{job: "a", node: 2, sent: at(31), at: at(40), view: running(1)}, // lags, but does not go back
			{job: "a", sent: at(41), at: at(50), read: &reading{items: items(nil)[:2]}},
			{job: "a", sent: at(51), at: at(60), view: done("succeeded", "5", 5)},
			{job: "a", sent: at(55), at: at(61), view: running(3)}, // overlapping requests
			{job: "a", node: 2, sent: at(61), at: at(70), view: done("succeeded", "5", 5)},
			{job: "a", node: 2, sent: at(71), at: at(80), read: &reading{items: items(nil), seqs: []int64{1, 2, 3, 4, 5, 6, 7, 8}, whole: true}},
			{job: "b", sent: at(1), at: at(12), accepted: &accepted{}},
			{job: "b", sent: at(13), at: at(20), view: done("cancelled", "null", 1)},
			{job: "b", sent: at(21), at: at(30), read: &reading{whole: true}},
		}
	}
	later := func(more ...observation) func([]observation) []observation {
		return func(all []observation) []observation {
			for i := range more {
				more[i].sent, more[i].at = at(100+2*i), at(101+2*i)
			}
			return append(all, more...)
		}
	}
	without := func(places ...int) func([]observation) []observation {
		return func(all []observation) []observation {
			for _, i := range slices.Backward(places) {
				all = slices.Delete(all, i, i+1)
			}
			return all
		}
	}
	whole := func(change func(all []item) []item) func([]observation) []observation {
		return func(all []observation) []observation {
			all[8].read = &reading{items: items(change), whole: true}
			return without(4)(all)
		}
	}
	for _, tt := range []struct {
		name      string
		change    func([]observation) []observation
		violation string // "" for none
	}{
		{"good", func(all []observation) []observation { return all }, ""},
		{"lost", later(observation{job: "a", gone: 404}), "has status 404"},
		{"expired", later(observation{job: "a", node: 1, gone: 410}), "has status 410"},
		{"never finished", without(5, 7), "never seen to finish"},
		{"never read", without(8), "never read"},
		{"from nowhere", later(observation{job: "c", view: running(1)}), "never submitted"},
		{"two outcomes", later(observation{job: "a", node: 1, view: done("failed", "null", 5)}), "its outcome was"},
		{"another result", later(observation{job: "a", node: 1, view: done("succeeded", "6", 5)}), "its outcome was"},
		{"wrong result", func(all []observation) []observation {
			all[5].view, all[7].view = done("succeeded", "4", 5), done("succeeded", "4", 5)
			return all
		}, "with 4, want 5"},
		{"failed", func(all []observation) []observation {
			all[5].view, all[7].view = done("failed", "null", 5), done("failed", "null", 5)
			return all
		}, "it failed"},
		{"not all done", func(all []observation) []observation {
			all[5].view, all[7].view = done("succeeded", "5", 4), done("succeeded", "5", 4)
			return all
		}, "with progress"},
		{"not cancelled", func(all []observation) []observation {
			all[10].view = done("succeeded", "5", 5)
			return all
		}, "want cancelled"},
		{"a key of two jobs", later(observation{job: "b", accepted: &accepted{key: "k", replayed: true}}), "also has job"},
		{"accepted twice", later(observation{job: "a", accepted: &accepted{key: "k", order: &squares}}), "two submissions"},
		{"unfinished again", later(observation{job: "a", view: running(5)}), "later running"},
		{"less done", later(observation{job: "b", node: 1, view: running(3)}, observation{job: "b", node: 1, view: running(2)}), "with 2"},
		{"queued again", func(all []observation) []observation {
			all[6].sent = at(31)
			all[6].at, all[6].view = at(32), running(2)
			all[6].view.State = "queued"
			return all
		}, "later queued"},
		{"a gap", func(all []observation) []observation {
			all[8].read.seqs = []int64{1, 2, 3, 5, 6, 7, 8}
			return all
		}, "seq 5 of a stream"},
		{"a seq twice", func(all []observation) []observation {
			all[8].read.seqs = []int64{1, 2, 3, 3, 4, 5, 6, 7, 8}
			return all
		}, "seq 3 of a stream"},
		{"the start is missing", func(all []observation) []observation {
			all[8].read.seqs = []int64{2, 3, 4, 5, 6, 7, 8}
			return all
		}, "seq 2 of a stream"},
		{"an item too few", whole(func(all []item) []item { return all[:4] }), "4 items, want 5"},
		{"an item twice", whole(func(all []item) []item { return append(all, item{Seq: 8, Index: 1, Value: json.RawMessage("9")}) }), "6 items"},
		{"an item instead of another", whole(func(all []item) []item {
			all[4].Index = 1
			all[4].Value = json.RawMessage("9")
			return all
		}), "now it is"},
		{"a chunk too few", func(all []observation) []observation {
			sum := sumOrder("{}", "5") // with as many items as the job has chunks
			all[0].accepted.order, all[1].accepted.order = &sum, &sum
			return whole(func(all []item) []item { return all[:4] })(all)
		}, "4 items, want 5"},
		{"a wrong item", whole(func(all []item) []item {
			all[0].Value = json.RawMessage("8")
			return all
		}), "8, want 9"},
		{"seqs go down", whole(func(all []item) []item {
			all[0], all[1] = all[1], all[0]
			return all
		}), "follows 4"},
		{"a changed value", later(observation{job: "a", read: &reading{items: []item{{Seq: 3, Index: 1, Value: json.RawMessage("9.0")}}}}), "now it is"},
		{"a changed seq", later(observation{job: "a", read: &reading{items: []item{{Seq: 4, Index: 1, Value: json.RawMessage("9")}}}}), "now it is"},
		{"a seq of two items", later(observation{job: "a", read: &reading{items: []item{{Seq: 3, Index: 7, Value: json.RawMessage("9")}}}}), "of items 1 and 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			violations := (&history{observations: tt.change(good())}).check()
			if tt.violation == "" && len(violations) > 0 {
				t.Errorf("found %v", violations)
			}
			found := func(err error) bool { return strings.Contains(err.Error(), tt.violation) }
			if tt.violation != "" && !slices.ContainsFunc(violations, found) {
				t.Errorf("want one with %q, got %v", tt.violation, violations)
			}
		})
	}
}
