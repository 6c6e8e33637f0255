package main

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func TestModelOfPauses(t *testing.T) {
	s := newSubmission("low", "", "", numbers(3))
	good := func() *history {
		at := started.Add(61 * time.Second)
		done := ended("a", "succeeded", "5")
		done.StartedAt = &at
		return &history{
			operations: []operation{
				accept(s, unfinished("a", "queued")),
				sees(unfinished("a", "queued")),
				func() operation {
					o := sees(done)
					o.call, o.ret = int64(62*time.Second), int64(63*time.Second)
					return o
				}(),
			},
			holds: []hold{{jobs: []string{"a"}, until: int64(60 * time.Second)}},
		}
	}
	verifyModel(t, good, []wrong{
		{"started", func(h *history) { h.operations[1] = sees(unfinished("a", "running")) }, "job a was submitted during a pause, and is running"},
		{"ended", func(h *history) {
			h.operations[1] = sees(h.operations[2].view)
			h.operations = h.operations[:2]
		}, "job a was submitted during a pause, and is succeeded"},
		{"started, not seen by a client", func(h *history) { h.operations[2].view.StartedAt = &started }, "job a was submitted during a pause until"},
	})
}

func TestModelOfAfter(t *testing.T) {
	first := newSubmission("head", "", "", numbers(3))
	first.cancelled = true
	s := newSubmission("batch", "", "", numbers(3), numbers(3))
	s.after = [][]string{{`"a"`}, {"0", `"a"`}}
	after := func(v *view, deps ...string) *view {
		at := v.FinishedAt.Add(time.Second)
		v.After, v.CreatedAt, v.FinishedAt = deps, started, &at
		if v.StartedAt = v.FinishedAt; v.State == "cancelled" {
			v.StartedAt = nil
		}
		return v
	}
	unmet := func(v *view) *view {
		v.Error = jsontext.Value(`{"type":"/problems/dependency-failed"}`)
		return v
	}
	good := func() *history {
		return &history{operations: []operation{
			accept(first, unfinished("a", "queued")),
			accept(s, unfinished("b", "queued"), unfinished("c", "queued")),
			sees(ended("a", "succeeded", "5")),
			sees(after(ended("b", "succeeded", "5"), "a")),
			sees(after(ended("c", "succeeded", "5"), "b", "a")),
		}}
	}
	ends := func(a, b, c *view) func(*history) {
		return func(h *history) {
			for i, v := range []*view{a, b, c} {
				h.operations[2+i] = sees(v)
			}
		}
	}
	cancelled := func(id string, deps ...string) *view { return after(ended(id, "cancelled", "null"), deps...) }
	succeeded := func(id string, deps ...string) *view { return after(ended(id, "succeeded", "5"), deps...) }
	a := ended("a", "succeeded", "5")
	changed := func(i int, change func(v *view)) func(*history) {
		return func(h *history) { change(h.operations[i].view) }
	}
	verifyModel(t, good, []wrong{
		{"right, and cancelled", ends(ended("a", "cancelled", "null"), unmet(cancelled("b", "a")), unmet(cancelled("c", "b", "a"))), ""},
		{"right, and too late", func(h *history) {
			s := *s
			s.afterTimeout = time.Second
			h.operations[1].sub = &s
			ends(a, unmet(cancelled("b", "a")), unmet(cancelled("c", "b", "a")))(h)
		}, ""},
		{"right, and cancelled by a client", func(h *history) {
			s := *s
			s.cancelled = true
			h.operations[1].sub = &s
			ends(a, cancelled("b", "a"), unmet(cancelled("c", "b", "a")))(h)
			h.operations = append(h.operations, operation{action: cancel, job: "b", ret: never})
		}, ""},
		{"started before the end", changed(3, func(v *view) { v.StartedAt = &started }), "and job a before it succeeded at"},
		{"started before the end in the batch", changed(4, func(v *view) { v.StartedAt = a.StartedAt }), "and job b before it succeeded at"},
		{"started after a job that was cancelled", ends(ended("a", "cancelled", "null"), succeeded("b", "a"), succeeded("c", "b", "a")), "and job a before it cancelled"},
		{"cancelled too early", func(h *history) {
			s := *s
			s.afterTimeout = time.Hour
			h.operations[1].sub = &s
			ends(a, unmet(cancelled("b", "a")), unmet(cancelled("c", "b", "a")))(h)
		}, "job b of batch was cancelled because of the jobs [a] before it"},
		{"cancelled without a reason", ends(a, succeeded("b", "a"), unmet(cancelled("c", "b", "a"))), "job c of batch was cancelled because of the jobs [b a] before it"},
		{"started, and cancelled", func(h *history) {
			ends(ended("a", "cancelled", "null"), unmet(cancelled("b", "a")), unmet(cancelled("c", "b", "a")))(h)
			h.operations[3].view.StartedAt = &started
		}, "job b of batch started, and job a before it cancelled"},
		{"cancelled by no client", ends(ended("a", "cancelled", "null"), cancelled("b", "a"), unmet(cancelled("c", "b", "a"))), "job b of batch was cancelled, not by a client"},
		{"after another job", changed(4, func(v *view) { v.After = []string{"a", "b"} }), "job c of batch is after [a b], want [b a]"},
		{"after none", changed(3, func(v *view) { v.After = nil }), "job b of batch is after [], want [a]"},
	})
}

func TestModelOfSchedules(t *testing.T) {
	s := allSchedules()[0]
	tick := func(n int) time.Time { return started.Add(time.Duration(n) * s.every) }
	run := func(n int, outcome, job string) scheduleRun {
		return scheduleRun{Tick: tick(n), Outcome: outcome, Job: job, Decided: tick(n).Add(time.Millisecond)}
	}
	reading := func(runs ...scheduleRun) scheduleReading {
		return scheduleReading{name: s.name, updated: started, runs: runs}
	}
	job := func(id string) view {
		v := ended(id, "succeeded", "5")
		v.Labels = map[string]string{"schedule": s.name}
		return *v
	}
	good := func() *history {
		manual := scheduleRun{Tick: tick(2).Add(time.Millisecond), Outcome: "submitted", Job: "m", Manual: true}
		first := reading(manual, run(2, "submitted", "b"), run(1, "submitted", "a"))
		first.manual = []string{"m", "m"}
		return &history{
			schedules: []scheduleReading{first, reading(run(4, "submitted", "d"), run(3, "skipped", "b"), manual, run(2, "submitted", "b"))},
			listings:  []listing{{jobs: []view{job("a"), job("b"), job("d"), job("m")}}},
		}
	}
	last := func(runs ...scheduleRun) func(*history) {
		return func(h *history) { h.schedules[1].runs = runs }
	}
	lists := func(change func(jobs []view) []view) func(*history) {
		return func(h *history) { h.listings[0].jobs = change(h.listings[0].jobs) }
	}
	late := func(n int, job string) scheduleRun {
		r := run(n, "submitted", job)
		r.Decided = tick(200)
		return r
	}
	missed := func(n int) scheduleRun {
		r := run(n, "missed", "")
		r.Decided = tick(200)
		return r
	}
	verifyModel(t, good, []wrong{
		{"right, and missed after an outage", func(h *history) {
			h.schedules[1].runs = append([]scheduleRun{late(102, "f"), late(101, "e"), missed(100)}, h.schedules[1].runs...)
			h.listings[0].jobs = append(h.listings[0].jobs, job("e"), job("f"))
		}, ""},
		{"right, and skipped after the submission", lists(func(jobs []view) []view {
			x := job("x")
			x.CreatedAt = tick(3)
			return append(jobs, x)
		}), ""},
		{"a tick without an outcome", last(run(4, "submitted", "d")), "is a tick without an outcome"},
		{"two jobs of a tick", last(run(4, "submitted", "d"), run(3, "skipped", "b"), run(2, "submitted", "x")), "has the outcomes"},
		{"a job of two ticks", last(run(4, "submitted", "d"), run(3, "submitted", "b")), "job b is of the ticks"},
		{"a job of no tick", lists(func(jobs []view) []view { return append(jobs, job("x")) }), "job x on node 0 is of no tick"},
		{"a lost job", lists(func(jobs []view) []view { return jobs[1:] }), "job a of tick"},
		{"a lost job that was requested", lists(func(jobs []view) []view { return jobs[:3] }), "job m, which was requested"},
		{"a job that failed", lists(func(jobs []view) []view { jobs[0].State = "failed"; return jobs }), "job a on node 0 is failed"},
		{"a wrong result", lists(func(jobs []view) []view { jobs[0].Result = jsontext.Value("4"); return jobs }), "with result 4, want 5"},
		{"missed in time", last(run(4, "submitted", "d"), run(3, "missed", "")), "a tick was missed within"},
		{"rejected", last(run(4, "submitted", "d"), run(3, "rejected", "")), "Outcome:rejected"},
		{"no tick", last(func() scheduleRun {
			r := run(4, "submitted", "d")
			r.Tick = r.Tick.Add(time.Second)
			return r
		}(), run(3, "skipped", "b")), "is not a tick"},
		{"too early", last(func() scheduleRun {
			r := run(4, "submitted", "d")
			r.Decided = tick(3)
			return r
		}(), run(3, "skipped", "b")), "was decided before the tick"},
		{"more than the catch-up", last(late(7, "g"), late(6, "f"), late(5, "e"), run(4, "submitted", "d"), run(3, "skipped", "b")), "a tick was submitted late, after 2 others"},
		{"another definition", func(h *history) { h.schedules[1].updated = tick(1) }, "of its definition, which did not change"},
		{"a lost outcome", last(run(4, "submitted", "d"), run(3, "submitted", "c"), run(2, "skipped", "")), "has the outcomes"},
	})
}
