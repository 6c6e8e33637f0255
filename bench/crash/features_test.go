package main

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// started is when the runs of these tests began.
var started = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// ended returns the view of a job of five units that has ended.
func ended(id, state, result string) *view {
	at := started.Add(50 * time.Second)
	v := &view{ID: id, State: state, Result: jsontext.Value(result), Error: jsontext.Value("null"), StartedAt: &at, FinishedAt: &at}
	if v.Progress.Total = 5; state == "succeeded" {
		v.Progress.Completed = 5
	}
	return v
}

// in returns a view of a job of a group.
func in(group string, v *view) *view {
	v.Group = group
	return v
}

func labelled(label string, v *view) *view {
	v.Labels = map[string]string{"crash": label}
	return v
}

func accept(s *submission, v ...*view) operation {
	o := operation{action: submit, status: http.StatusAccepted, sub: s, group: s.group}
	for _, v := range v {
		o.ids = append(o.ids, v.ID)
	}
	if len(v) == 1 {
		o.view = v[0]
	}
	return o
}

func unfinished(id, state string) *view {
	v := &view{ID: id, State: state}
	v.Progress.Total = 5
	return v
}

func sees(v *view) operation {
	return operation{action: get, status: http.StatusOK, job: v.ID, view: v}
}

// A wrong is a change of a right history, and the violation that it is.
type wrong struct {
	name      string
	change    func(h *history)
	violation string
}

// verifyModel demands that a history is right, and that each changed one is rejected.
func verifyModel(t *testing.T, good func() *history, wrongs []wrong) {
	t.Helper()
	for _, w := range append([]wrong{{"right", func(*history) {}, ""}}, wrongs...) {
		t.Run(w.name, func(t *testing.T) {
			h := good()
			h.began = started
			w.change(h)
			for i := range h.operations {
				o := &h.operations[i]
				if o.call == 0 {
					o.call = int64(10 * i)
				}
				if o.ret == 0 {
					o.ret = o.call + 5
				}
			}
			errs := h.check(1)
			if w.violation == "" && len(errs) > 0 {
				t.Errorf("got %v, want no violation", errs)
			}
			found := func(err error) bool { return strings.Contains(err.Error(), w.violation) }
			if w.violation != "" && !slices.ContainsFunc(errs, found) {
				t.Errorf("got %v, want one with %q", errs, w.violation)
			}
		})
	}
}

func TestModelOfGroups(t *testing.T) {
	s := newSubmission("pair", "", "", numbers(3), numbers(3))
	s.group = "g"
	follow := func(from ...groupEnd) operation {
		finished := new(groupView)
		finished.FinishedAt = &started
		return operation{action: followGroup, status: http.StatusOK, group: "g", ends: &groupReading{ends: from, finished: finished, whole: true}}
	}
	a, b := in("g", ended("a", "succeeded", "5")), in("g", ended("b", "succeeded", "5"))
	good := func() *history {
		l := listing{jobs: []view{*a, *b, *ended("other", "succeeded", "1")}, groups: []groupView{{ID: "g", FinishedAt: &started}}}
		g := &l.groups[0]
		g.Jobs.Total, g.Jobs.Succeeded, g.Progress.Total, g.Progress.Completed = 2, 2, 10, 10
		return &history{
			operations: []operation{
				accept(s, a, b), // places of operations below
				sees(a),
				sees(b),
				follow(groupEnd{7, a}, groupEnd{9, b}),
				follow(groupEnd{7, a}, groupEnd{9, b}),
			},
			listings: []listing{l},
		}
	}
	events := func(from ...groupEnd) func(*history) {
		return func(h *history) { h.operations[3] = follow(from...) }
	}
	counts := func(change func(g *groupView)) func(*history) {
		return func(h *history) { change(&h.listings[0].groups[0]) }
	}
	verifyModel(t, good, []wrong{
		{"a gap", events(groupEnd{9, b}), "the events up to 9 lack the end of job a"},
		{"an end that never came", events(groupEnd{7, a}), "the end of job b, acknowledged before, is not among them"},
		{"an end twice", events(groupEnd{7, a}, groupEnd{8, a}, groupEnd{9, b}), "the end of job a has the numbers"},
		{"an event twice", events(groupEnd{7, a}, groupEnd{7, a}, groupEnd{9, b}), "event 7 follows 7"},
		{"a number of two jobs", events(groupEnd{7, b}, groupEnd{9, a}), "number 7 is of the jobs"},
		{"another number for another client", events(groupEnd{8, a}, groupEnd{9, b}), "the end of job a has the numbers"},
		{"an end before the end", events(groupEnd{7, in("g", unfinished("a", "running"))}, groupEnd{9, b}), "the end of job a, which is running"},
		{"a job of another group", events(groupEnd{7, a}, groupEnd{9, b}, groupEnd{10, in("h", ended("other", "succeeded", "1"))}), `is succeeded and of group "h"`},
		{"another outcome", events(groupEnd{7, in("g", ended("a", "failed", "null"))}, groupEnd{9, b}), "job a has the outcomes"},
		{"finished with jobs left", func(h *history) { h.operations[3].ends.finished.Jobs.Running = 1 }, "its stream ended with"},
		{"not found", func(h *history) {
			h.operations[3] = operation{action: followGroup, status: http.StatusNotFound, group: "g"}
		}, "group g was not found on node 0"},
		{"a job too few", counts(func(g *groupView) { g.Jobs.Total-- }), "group g on node 0: got"},
		{"another state", counts(func(g *groupView) { g.Jobs.Succeeded, g.Jobs.Failed = 1, 1 }), "group g on node 0: got"},
		{"lost progress", counts(func(g *groupView) { g.Progress.Completed-- }), "group g on node 0: got"},
		{"never finished", counts(func(g *groupView) { g.FinishedAt = nil }), "group g on node 0: got"},
		{"a group without jobs", counts(func(g *groupView) { g.ID = "h" }), "lists group h, which has no job"},
		{"a lost group", func(h *history) { h.listings[0].groups = nil }, "group g has jobs, and node 0 does not list it"},
		{"a job in another group", func(h *history) { h.listings[0].jobs[0].Group = "" }, "job a was acknowledged in group g"},
		{"a job without an end", func(h *history) { h.listings[0].jobs[0].State = "running" }, "job a of group g is running at the end"},
		{"an end of an unlisted job", events(groupEnd{7, a}, groupEnd{9, b}, groupEnd{11, in("g", ended("x", "succeeded", "1"))}), "the end of job x was sent, and no node lists"},
	})
}

func TestModelOfBulk(t *testing.T) {
	s := newSubmission("bulk", "", "", sleeps(2000), sleeps(2000))
	s.cancelled = true
	many := func(what action, matched, changed int64) operation {
		return operation{action: what, status: http.StatusOK, ids: []string{"a", "b"}, bulk: &bulkResult{Matched: matched, Changed: changed}}
	}
	good := func() *history {
		return &history{operations: []operation{
			accept(s, unfinished("a", "queued"), unfinished("b", "queued")),
			many(cancelAll, 2, 2),
			sees(unfinished("a", "cancelling")),
			sees(ended("a", "cancelled", "null")),
			sees(ended("b", "cancelled", "null")),
			many(removeAll, 2, 2),
			{action: get, status: http.StatusGone, job: "a"},
			{action: get, status: http.StatusGone, job: "b"},
		}}
	}
	replace := func(i int, o operation) func(*history) {
		return func(h *history) { h.operations[i] = o }
	}
	verifyModel(t, good, []wrong{
		{"right, and ended before", func(h *history) {
			h.operations[1] = many(cancelAll, 1, 1)
			h.operations[4] = sees(ended("b", "succeeded", "1"))
			h.operations[4].view.Progress.Total, h.operations[4].view.Progress.Completed = 1, 1
		}, ""},
		{"right, and the end was being written", func(h *history) {
			h.operations[1] = many(cancelAll, 1, 1)
			h.operations[2] = sees(unfinished("a", "running"))
			h.operations[3] = sees(ended("a", "succeeded", "1"))
			h.operations[3].view.Progress.Total, h.operations[3].view.Progress.Completed = 1, 1
			h.operations[3].view.FinishedAt = &started
			for i := range h.operations {
				h.operations[i].call, h.operations[i].ret = int64(time.Minute)+int64(10*i), int64(time.Minute)+int64(10*i+5)
			}
		}, ""},
		{"right, and the response was lost", func(h *history) {
			h.operations[1] = operation{action: cancelAll, ids: []string{"a", "b"}, ret: never}
			h.operations[2] = sees(unfinished("a", "running"))
		}, ""},
		{"still running", replace(2, sees(unfinished("a", "running"))), "job a, node 0: its history"},
		{"success after it was cancelling", replace(3, sees(ended("a", "succeeded", "1"))), "job a of bulk was cancelling, and succeeded"},
		{"deleted and still there", replace(6, sees(ended("a", "cancelled", "null"))), "job a, node 0: its history"},
		{"more changed than matched", replace(1, many(cancelAll, 1, 2)), "got {Matched:1 Changed:2"},
		{"others matched", replace(1, many(cancelAll, 3, 2)), "got {Matched:3 Changed:2"},
		{"fewer changed than cancelled", replace(1, many(cancelAll, 2, 1)), "cancelled 1 of the jobs [a b], and 2 are cancelled"},
		{"a group that is not found", replace(1, operation{action: cancelAll, status: http.StatusNotFound, ids: []string{"a"}}), "was not found by a bulk request"},
	})
}

func TestModelOfRetries(t *testing.T) {
	s := newSubmission("job", "", "", numbers(3))
	s.cancelled = true
	again := &submission{label: retryLabel("a"), key: "retry", orders: []order{s.orders[0].without([]item{{Index: 0}, {Index: 3}})}, retryOf: "a"}
	retry := func(v *view, replayed bool) operation {
		v.RetryOf = "a"
		o := accept(again, labelled("job", v))
		o.replayed = replayed
		return o
	}
	result := func(changed ...func(*view)) *view {
		v := ended("b", "succeeded", "3")
		v.Progress.Total, v.Progress.Completed = 3, 3
		for _, change := range changed {
			change(v)
		}
		return v
	}
	items := func(values ...string) operation {
		r := &reading{whole: true}
		for i, v := range values {
			r.items = append(r.items, item{Seq: int64(3 + i), Index: i, Value: jsontext.Value(v)})
		}
		return operation{action: read, job: "b", read: r}
	}
	good := func() *history {
		return &history{
			operations: []operation{
				accept(s, unfinished("a", "queued")),
				sees(ended("a", "cancelled", "null")),
				retry(unfinished("b", "queued"), false),
				retry(unfinished("b", "running"), true),
				sees(result()),
				items("9", "1000000", "0"),
				{action: read, job: "a", read: &reading{whole: true}},
			},
			listed: map[string][]string{"job": {"a"}, retryLabel("a"): {"b"}},
		}
	}
	verifyModel(t, good, []wrong{
		{"two jobs of a key", func(h *history) { h.operations[3] = retry(unfinished("c", "queued"), true) }, "key retry: its history"},
		{"two jobs of a key in the list", func(h *history) { h.listed[retryLabel("a")] = []string{"b", "c"} }, "label retries of a: got 2 jobs"},
		{"a job that is no retry", func(h *history) { h.operations[2].view.RetryOf = "" }, `is a retry of "", want "a"`},
		{"a submission that is one", func(h *history) { h.operations[0].view.RetryOf = "x" }, `is a retry of "x", want ""`},
		{"other labels", func(h *history) { h.operations[2].view.Labels = nil }, "job b has labels map[]"},
		{"all items again", func(h *history) {
			h.operations[5] = items("9", "9", "1000000", "6.25", "0")
		}, "got 5 items, want 3"},
		{"the wrong items", func(h *history) { h.operations[5] = items("9", "1000000", "6.25") }, "item 2: 6.25, want 0"},
		{"a success that is retried", func(h *history) { h.operations[1] = sees(ended("a", "succeeded", "5")) }, "the retry of job a, which succeeded, got status 202"},
		{"a failure that is not", func(h *history) {
			h.operations[3] = operation{action: submit, status: http.StatusConflict, sub: again}
		}, "the retry of job a, which cancelled, got status 409"},
	})
}

func TestModelOfWebhooks(t *testing.T) {
	s := newSubmission("job", "", "", numbers(3))
	s.webhook = "http://127.0.0.1/ended"
	good := func() *history {
		a := ended("a", "succeeded", "5")
		return &history{
			operations: []operation{
				accept(s, unfinished("a", "queued")),
				accept(newSubmission("none", "", "", numbers(3)), unfinished("b", "queued")),
				{action: read, job: "a", read: &reading{whole: true, items: []item{
					{Seq: 3, Index: 0, Value: jsontext.Value("9")},
					{Seq: 4, Index: 1, Value: jsontext.Value("9")},
					{Seq: 5, Index: 2, Value: jsontext.Value("1000000")},
					{Seq: 6, Index: 3, Value: jsontext.Value("6.25")},
					{Seq: 7, Index: 4, Value: jsontext.Value("0")},
				}}},
				sees(a),
				{action: remove, status: http.StatusNoContent, job: "b"},
			},
			listed: map[string][]string{"job": {"a"}},
			deliveries: []delivery{
				{id: "a-0", body: "x", kind: "job.succeeded", view: *a, status: http.StatusServiceUnavailable},
				{id: "a-0", body: "x", kind: "job.succeeded", view: *a, status: http.StatusOK},
			},
		}
	}
	// Deleted before its end was seen, the other job has no part in this.
	change := func(f func(d *delivery)) func(*history) { return func(h *history) { f(&h.deliveries[1]) } }
	verifyModel(t, func() *history {
		h := good()
		h.operations[4] = operation{action: remove, ret: never, job: "b"}
		return h
	}, []wrong{
		{"never delivered", func(h *history) { h.deliveries = nil }, "job a of job succeeded, and was not delivered"},
		{"refused, and never again", func(h *history) { h.deliveries = h.deliveries[:1] }, "job a of job succeeded, and was not delivered"},
		{"another outcome", change(func(d *delivery) { d.view, d.kind = *ended("a", "failed", "null"), "job.failed" }), "job a has the outcomes"},
		{"another result", change(func(d *delivery) { d.view = *ended("a", "succeeded", "4") }), "job a has the outcomes"},
		{"another type", change(func(d *delivery) { d.kind = "job.failed" }), "delivery a-0 is job.failed of a job that succeeded"},
		{"before the end", change(func(d *delivery) { d.view, d.kind = *unfinished("a", "running"), "job.running" }), "of a job that running"},
		{"other words", change(func(d *delivery) { d.body = "y" }), "delivery a-0 has the bodies x and y"},
		{"a job without a webhook", change(func(d *delivery) { d.view, d.id = *ended("b", "succeeded", "5"), "b-0" }), "job b has no webhook"},
	})
}

// TestReceiver demands that the receiver of webhooks reports a delivery with a wrong signature, and only that.
func TestReceiver(t *testing.T) {
	wh, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory()
	receiver, err := h.receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	const id, signed = "d-1", `{"type":"job.succeeded","data":{"id":"a","state":"succeeded"}}`
	at := time.Now()
	signature, err := wh.Sign(id, at, []byte(signed))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, body string
		reported   int
	}{
		{"signed", signed, 0},
		{"changed", strings.Replace(signed, "succeeded", "cancelled", 2), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.reported = nil
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, receiver.URL, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Webhook-Id", id)
			req.Header.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
			req.Header.Set("Webhook-Signature", signature)
			resp, err := receiver.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if len(h.reported) != test.reported {
				t.Errorf("got violations %v, want %d", h.reported, test.reported)
			}
		})
	}
}
