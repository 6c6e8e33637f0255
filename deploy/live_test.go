package deploy_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// capacity is small, so that it can be filled.
const capacity = 4000

// whole is a window that reaches back over all of the test.
const whole = "30m"

// TestLive runs a server, puts a load on it that knows what it does, has a Prometheus watch, and asks it everything that the
// dashboards and the rules ask.
func TestLive(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	need(t, "prometheus")
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL) // makes exemplars
	started := time.Now()
	s := serve(t, "--workers=2", fmt.Sprintf("--queue-jobs=%d", capacity))
	// A Prometheus that scrapes native histograms drops the classic ones of the same name.
	p := watch(t, "native-histograms,exemplar-storage", s)
	t.Run("idle", func(t *testing.T) { idle(t, p) })

	l := newLoad(t, s)
	l.mixed(8, 50)
	t.Run("backlog", func(t *testing.T) { backlog(t, l, p) })
	t.Run("full", func(t *testing.T) { full(t, l, p) })

	t.Run("starts", func(t *testing.T) { starts(t, p, started, time.Now()) })
	t.Run("exemplars", func(t *testing.T) { exemplars(t, l, p) })

	p.settle(t, l)
	settled := p.evaluated(t)
	t.Run("panels", func(t *testing.T) { settled = answered(t, p) })
	t.Run("rules", func(t *testing.T) { ruled(t, p, settled) })
	// Prometheus extrapolates a counter from the last scrape to the time of the query, which is long on a busy machine.
	scraped := time.UnixMilli(int64(math.Round(1000 * p.value(t, `timestamp(gather_admitted_jobs)`, settled))))
	t.Run("counts", func(t *testing.T) { counts(t, l, p, scraped) })
	t.Run("quantiles", func(t *testing.T) { quantiles(t, l.jobs(t), p, settled) })
}

// settle waits until everything that was submitted has ended, and Prometheus knows.
func (p *prometheus) settle(t *testing.T, l *load) time.Time {
	t.Helper()
	return p.until(t, fmt.Sprintf("gather_admitted_jobs == 0 and on () sum(gather_jobs_finished_total) >= %d", total(l.submitted)))
}

func total(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// answered waits until every query of every panel has a result, and returns the time of the queries. No result may be NaN or
// infinite.
func answered(t *testing.T, p *prometheus) time.Time {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(100 * time.Millisecond) {
		at := time.Now()
		empty := unanswered(t, p, at)
		if len(empty) == 0 {
			return at
		}
		if time.Now().After(deadline) {
			t.Errorf("got no data for %q, want some for every query", empty)
			return at
		}
	}
}

// unanswered returns the queries without a result.
func unanswered(t *testing.T, p *prometheus, at time.Time) (empty []string) {
	t.Helper()
	for _, window := range []string{"4s", whole} {
		for _, q := range queries(t) {
			found := p.query(t, substitute(q.target.Expr, window), at)
			if len(found) == 0 && !mayBeEmpty(q) {
				empty = append(empty, fmt.Sprintf("%s in %s", q, window))
			}
			for _, s := range found {
				if v := s.last(); math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("%s: got %v of %q, want a number", q, v, s.labels)
				}
			}
		}
	}
	return empty
}

// mayBeEmpty reports whether a healthy server can leave a query without a result: panels with a text for that, and the
// memory limit where none is set.
func mayBeEmpty(q query) bool {
	return q.panel.FieldConfig.Defaults.NoValue != "" || q.panel.Title == "Memory" && q.target.LegendFormat == "limit"
}

// zero are the panels that read 0 when there is nothing to do: all about jobs. The others have something to show of a server
// that only runs.
func zero(title string) bool {
	for _, word := range []string{"Servers", "capacity", "Capacity", "Workers", "Waiting items", "Memory", "Journal", "Disk", "Waiting for the disk", "ratio", "budget"} {
		if strings.Contains(title, word) {
			return false
		}
	}
	return true
}

func idle(t *testing.T, p *prometheus) {
	at := answered(t, p)
	checked := 0
	for _, q := range queries(t) {
		if q.dashboard != "gather-overview.json" || !zero(q.panel.Title) {
			continue
		}
		checked++
		for _, s := range p.query(t, substitute(q.target.Expr, "4s"), at) {
			if v := s.last(); v != 0 {
				t.Errorf("%s: %v when nothing happens", q, v)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d queries were held to 0", checked)
	}
}

// backlog: the depth and the age that Prometheus sees are those that the last in the queue sees.
func backlog(t *testing.T, l *load, p *prometheus) {
	p.settle(t, l)
	// Some milliseconds of work each, in one task.
	const side = 500
	jobs := l.batch(3500, "array_sum", "succeeded", fmt.Sprintf(
		`"array":{"source":"random","distribution":"normal","shape":[%d,%d],"dtype":"float64"}`, side, side))
	if len(jobs) == 0 {
		t.Fatal("the batch was not taken")
	}
	l.summed += len(jobs) * side * side * sizeOfFloat64
	known := l.drain(jobs[len(jobs)-1])
	drained := p.settle(t, l)
	took := known[len(known)-1].at.Sub(known[0].at)

	compared := 0
	for _, raw := range p.query(t, `gather_queue_jobs{kind="array_sum", priority="normal"}[10m]`, drained) {
		for i, got := range raw.points[:len(raw.points)-1] {
			// A scrape has the time at which it began, and ended before the next one began. Depth only falls, so it is between
			// what was received before the scrape and what was requested after it. Prometheus rounds times to milliseconds,
			// and to the interval when it is off by 2 ms at most.
			ended := raw.points[i+1].at.Add(10 * time.Millisecond)
			after := slices.IndexFunc(known, func(d depth) bool { return d.at.After(ended) })
			before := slices.IndexFunc(known, func(d depth) bool { return !d.received.Before(got.at) }) - 1
			if before < 0 || after < 0 || known[before].value == 0 {
				continue
			}
			compared++
			if got.value > known[before].value || got.value < known[after].value {
				t.Errorf("got a depth of %v, want %v to %v", got.value, known[after].value, known[before].value)
			}
			age := p.panel(t, "Oldest job", "Oldest job", "4s", got.at)
			least, most := got.at.Sub(jobs[0].CreatedAt).Seconds()-0.1, ended.Sub(jobs[0].CreatedAt).Seconds()+0.1
			if got.value > 0 && (age < least || age > most) {
				t.Errorf("got an oldest job of %v s, want %v to %v s", age, least, most)
			}
			if v := p.panel(t, "Queue depth", "Queue depth", "4s", got.at); v != got.value {
				t.Errorf("got a depth of %v in the panel, want %v", v, got.value)
			}
		}
	}
	if compared < 2 {
		t.Errorf("got %d scrapes of the queue, want at least 2", compared)
	}
	// Rates over all of the drain: a busy machine delays scrapes, which counts little in a long window. Far from 1 is a wrong
	// divisor.
	window := fmt.Sprintf("%ds", max(4, int(took.Seconds())))
	if v := p.panel(t, "Busiest server", "Busiest server", window, known[len(known)-1].at); v < 0.3 || v > 1.5 {
		t.Errorf("got a share of %v of busy workers under load, want 0.3 to 1.5", v)
	}
	if v := p.panel(t, "Time to drain", "Time to drain", window, known[0].at.Add(took/2)); v <= 0 || v > 3600 {
		t.Errorf("got %v s to drain under load, want more than 0 and at most 3600 s", v)
	}
	t.Logf("%d scrapes saw the queue, which was drained in %s", compared, took)
}

// full: at capacity every figure of it is exact, what is too much is counted, and the alerts are on their way.
func full(t *testing.T, l *load, p *prometheus) {
	later := `"count":1,"duration":"1s","start_after":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"`
	held := l.batch(capacity-1, "sleep_batch", "cancelled", later)
	held = append(held, l.batch(1, "sleep_batch", "cancelled", later)...)
	defer l.cancelAll(held)
	for range 20 {
		l.batch(1, "sleep_batch", "cancelled", later)
	}
	l.batch(7, "sleep_batch", "cancelled", later)
	if l.rejected != 27 {
		t.Fatalf("%d jobs were rejected, of which 27 were too many", l.rejected)
	}
	p.until(t, fmt.Sprintf("gather_admitted_jobs == %d and on () sum(gather_jobs_rejected_total) == %d", capacity, l.rejected))
	p.until(t, `ALERTS{alertname="GatherRejecting", alertstate="pending", reason="jobs"}`)
	p.until(t, `ALERTS{alertname="GatherNearCapacity", alertstate="pending", bound="jobs"}`)
	at := p.evaluated(t)
	for _, want := range []struct {
		panel, curve string
		value        float64
	}{
		{"Queue depth and capacity", "admitted", capacity},
		{"Queue depth and capacity", "capacity", capacity},
		{"Queue depth and capacity", "start later", capacity},
		{"Queue depth and capacity", "queued", 0},
		{"Queue depth and capacity", "running", 0},
		{"Unfinished jobs", "Unfinished jobs", capacity},
		{"Time to drain", "Time to drain", 0}, // no task waits for a worker
		{"Capacity of the fullest server", "jobs", 1},
		{"Capacity, mean of servers", "jobs", 1},
		{"Capacity used", "Capacity used", 1},
		{"Waiting items", "counted", capacity},
		{"Waiting items", "waiting", 0},
		{"Jobs", "active", capacity},
		{"Oldest job", "Oldest job", 0},
		{"Alerts", "Alerts", 0}, // none fires so soon
	} {
		if got := p.panel(t, want.panel, want.curve, "4s", at); got != want.value {
			t.Errorf("%s: %s: %v, not %v", want.panel, want.curve, got, want.value)
		}
	}
}

// counts: what was counted over all of the test is what the load has done.
func counts(t *testing.T, l *load, p *prometheus, at time.Time) {
	states := map[string]int{}
	for _, j := range l.jobs(t) {
		states[j.State]++
	}
	exact := map[string]int{
		`sum(gather_jobs_submitted_total)`: total(l.submitted),
		`sum(gather_jobs_rejected_total)`:  l.rejected,
		`sum(gather_jobs_failed_total)`:    l.finished["failed"],
		`sum(gather_jobs_resumed_total)`:   0,
	}
	for state, n := range l.finished {
		exact[`sum(gather_jobs_finished_total{state="`+state+`"})`] = n
		if states[state] != n {
			t.Errorf("the API lists %d jobs as %s, the load knows of %d", states[state], state, n)
		}
	}
	for kind, n := range l.submitted {
		exact[`sum(gather_jobs_submitted_total{kind="`+kind+`"})`] = n
	}
	for expr, want := range exact {
		if got := p.value(t, expr, at); got != float64(want) {
			t.Errorf("%s is %v, the load knows of %d", expr, got, want)
		}
	}

	// What panels show are rates: times the window they are counts again, but for the edges.
	const window = 30 * 60
	rates := map[[2]string]int{
		{"Submitted and finished", "submitted"}:        total(l.submitted),
		{"Submitted and finished", "succeeded"}:        l.finished["succeeded"],
		{"Submitted and finished", "failed"}:           l.finished["failed"],
		{"Submitted and finished", "cancelled"}:        l.finished["cancelled"],
		{"Failures by reason", "job-timeout"}:          l.finished["failed"],
		{"Failures by reason", "job-panicked"}:         0,
		{"Rejections by reason", "jobs"}:               l.rejected,
		{"Rejections", "Rejections"}:                   l.rejected,
		{"Finished jobs by kind", "squares"}:           l.submitted["squares"],
		{"Finished jobs by kind", "sleep_batch"}:       l.submitted["sleep_batch"],
		{"Finished jobs by kind", "array_sum"}:         l.submitted["array_sum"],
		{"Items by kind", "squares"}:                   l.squared,
		{"Array data summed", "summed"}:                l.summed,
		{"Requests by route", "POST /v1/jobs"}:         l.requests["POST /v1/jobs"],
		{"Requests by route", "POST /v1/jobs:batch"}:   l.requests["POST /v1/jobs:batch"],
		{"Requests by route", "GET /v1/jobs/{job_id}"}: l.requests["GET /v1/jobs/%s"],
	}
	for curve, want := range rates {
		if got := window * p.panel(t, curve[0], curve[1], whole, at); math.Abs(got-float64(want)) > 0.03*float64(want) {
			t.Errorf("%s: %s: %.1f in all, the load knows of %d", curve[0], curve[1], got, want)
		}
	}
	share := float64(l.finished["failed"]) / float64(l.finished["failed"]+l.finished["succeeded"])
	for _, got := range []float64{
		1 - p.panel(t, "Success ratio", "Success ratio", whole, at),
		p.value(t, `job:gather_jobs_failed:ratio_rate3d`, time.Now()),
	} {
		if math.Abs(got-share) > 1e-3*share {
			t.Errorf("%.5f of the jobs failed, the load knows of %.5f", got, share)
		}
	}
	for _, kind := range []string{"squares", "sleep_batch", "array_sum"} {
		ended := 0.0
		for _, column := range []string{"succeeded", "failed", "cancelled"} {
			for _, s := range p.query(t, substitute(tableQuery(t, "Kinds", column), whole), at) {
				if s.labels["kind"] == kind {
					ended += s.last()
				}
			}
		}
		if want := float64(l.submitted[kind]); math.Abs(ended-want) > 0.03*want {
			t.Errorf("the table of kinds shows %.1f ended %s, the load knows of %v", ended, kind, want)
		}
	}
	if got := p.panel(t, "Servers ready", "Servers ready", whole, at); got != 1 {
		t.Errorf("%v servers are ready", got)
	}
}

// tableQuery is the query of a column of a table.
func tableQuery(t *testing.T, title, column string) string {
	t.Helper()
	for _, q := range queries(t) {
		if q.panel.Title == title && q.target.LegendFormat == column {
			return q.target.Expr
		}
	}
	t.Fatalf("no table %q has a column %q", title, column)
	return ""
}

// starts: the annotation marks the moment of the start, also long after it.
func starts(t *testing.T, p *prometheus, after, before time.Time) {
	for name, d := range boards(t) {
		for _, a := range d.Annotations.List {
			found := p.query(t, substitute(a.Expr, "1m"), before)
			if len(found) != 1 || !a.UseValueForTime {
				t.Errorf("%s: got %d starts, at their value: %t, want 1, true", name, len(found), a.UseValueForTime)
				continue
			}
			// The kernel counts the start of a process in hundredths of a second since boot.
			if at := time.UnixMilli(int64(found[0].last())); at.Before(after.Add(-2*time.Second)) || at.After(before) {
				t.Errorf("%s: got a start at %s, want one from %s to %s", name, at, after, before)
			}
		}
	}
}

// exemplars: the histograms lead from a latency to the trace of a job.
func exemplars(t *testing.T, l *load, p *prometheus) {
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	l.header = http.Header{"Traceparent": {"00-" + traceID + "-b7ad6b7169203331-01"}}
	l.submit("squares", "succeeded", `"numbers":[1]`)
	l.squared++
	l.header = nil
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(100 * time.Millisecond) {
		var text json.RawMessage
		query := url.Values{"query": {`gather_job_wait_seconds_bucket`}, "start": {"0"}, "end": {strconv.FormatInt(time.Now().Unix()+60, 10)}}
		if err := p.get("query_exemplars", query, &text); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"trace_id":"`+traceID+`"`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got exemplars %s, want one of trace %s", text, traceID)
		}
	}
}

// quantiles: what the panels show lies in the bucket in which the truth is, as the timestamps of all jobs tell it.
func quantiles(t *testing.T, jobs []jobView, p *prometheus, at time.Time) {
	var wait, run, ends []time.Duration
	for _, j := range jobs {
		if j.StartedAt == nil {
			ends = append(ends, 0) // cancelled before its start
			continue
		}
		wait = append(wait, j.StartedAt.Sub(j.CreatedAt))
		run = append(run, j.FinishedAt.Sub(*j.StartedAt))
		ends = append(ends, j.FinishedAt.Sub(j.CreatedAt))
	}
	edges := map[float64]bool{0: true}
	for _, b := range metrics(t)["gather_job_wait_seconds"].GetMetric()[0].GetHistogram().GetBucket() {
		edges[b.GetUpperBound()] = true
	}
	for _, c := range []struct {
		panel string
		all   []time.Duration
	}{{"Job wait", wait}, {"Job run", run}, {"End to end", ends}} {
		for legend, q := range map[string]float64{"p50": .5, "p95": .95, "p99": .99} {
			truth := quantile(q, c.all).Seconds()
			low, high := truth*0.97-0.002, truth*1.03+0.05
			if c.panel == "End to end" {
				high++ // it includes the write of the end to the disk, after FinishedAt
			}
			low, high = below(edges, low), above(edges, high)
			got := p.panel(t, c.panel, legend, whole, at)
			t.Logf("%s %s: %.4f s, in truth %.4f s", c.panel, legend, got, truth)
			if got < low || got > high {
				t.Errorf("%s: %s: %v s is not from %v to %v s, in truth it is %v s", c.panel, legend, got, low, high, truth)
			}
		}
		count := p.value(t, "sum("+map[string]string{
			"Job wait": "gather_job_wait_seconds_count", "Job run": "gather_job_run_seconds_count", "End to end": "gather_job_duration_seconds_count",
		}[c.panel]+")", at)
		if count != float64(len(c.all)) {
			t.Errorf("%s: %v were observed, the load knows of %d", c.panel, count, len(c.all))
		}
	}
}

// below is the edge at or below v, above the one at or above it.
func below(edges map[float64]bool, v float64) float64 {
	best := 0.0
	for e := range edges {
		if e <= v && e > best {
			best = e
		}
	}
	return best
}

func above(edges map[float64]bool, v float64) float64 {
	best := math.Inf(1)
	for e := range edges {
		if e >= v && e < best {
			best = e
		}
	}
	return best
}

// ruled: Prometheus has evaluated every rule without a fault, each recorded series is there, everything that alerts look at
// is there, and each runbook is where the alert says.
func ruled(t *testing.T, p *prometheus, at time.Time) {
	var loaded struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, Type string }
		}
	}
	if err := p.get("rules", url.Values{}, &loaded); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range loaded.Groups {
		for _, r := range g.Rules {
			n++
			if r.Health != "ok" || r.LastError != "" {
				t.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	all := rules(t)
	if n != len(all) {
		t.Errorf("Prometheus has %d rules of %d", n, len(all))
	}
	for _, r := range all {
		if r.Record != "" {
			for _, s := range p.query(t, r.Record, at) {
				if math.IsNaN(s.last()) {
					t.Errorf("%s: NaN", r.Record)
				}
			}
		}
		for _, s := range selectors(t, r.Expr) {
			if !onlyCluster(s.Name) && len(p.query(t, s.String(), at)) == 0 {
				t.Errorf("%s%s looks at %s, of which there is nothing", r.Alert, r.Record, s)
			}
		}
		if r.Record != "" && len(p.query(t, r.Record, at)) == 0 {
			t.Errorf("%s: nothing is recorded", r.Record)
		}
	}
	for _, name := range alerts(t) {
		if text := fetch(t, p.url+"/user/"+name+".md"); !strings.HasPrefix(text, "# "+name) {
			t.Errorf("%s: the runbook is %.80q", name, text)
		}
	}
	// The variables of the dashboards offer what there is.
	for variable, expr := range map[string]string{"job": "gather_build_info", "instance": `gather_build_info{job=~".+"}`} {
		var values json.RawMessage
		if err := p.get("label/"+variable+"/values", url.Values{"match[]": {expr}}, &values); err != nil || len(values) < 5 {
			t.Errorf("%s: %s, %v", variable, values, err)
		}
	}
}
