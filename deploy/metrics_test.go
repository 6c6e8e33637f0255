package deploy_test

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
)

// unused has the metrics of gather that no panel or rule uses, with reasons.
var unused = map[string]string{}

// others are series of Prometheus itself.
var others = []string{"up", "ALERTS", "ALERTS_FOR_STATE"}

// TestMetricsAreUsed checks that dashboards and rules query only existing metrics, and that all metrics are used or listed as unused.
func TestMetricsAreUsed(t *testing.T) {
	recorded := map[string]bool{}
	asked := map[string]string{}
	note := func(who, expr string) {
		for _, s := range selectors(t, expr) {
			asked[family(s.Name)] = who
		}
	}
	for _, q := range queries(t) {
		note(q.String(), substitute(q.target.Expr, "1m"))
	}
	for _, r := range rules(t) {
		recorded[r.Record] = true
		note(r.Alert+r.Record, r.Expr)
	}
	there := exposed(t)
	for name, who := range asked {
		if !there[name] && !recorded[name] && !slices.Contains(others, name) {
			t.Errorf("%s queries %s, which the server does not expose", who, name)
		}
	}
	for name := range there {
		_, shown := asked[name]
		reason, listed := unused[name]
		if strings.HasPrefix(name, "gather_") && shown == listed {
			t.Errorf("%s: shown by a panel or a rule: %t; listed as unused: %t %q", name, shown, listed, reason)
		}
	}
}

// TestClusterLabels checks that panels which list the values of a label, to read 0 without a cluster, list all of them.
func TestClusterLabels(t *testing.T) {
	var exprs strings.Builder
	for _, q := range queries(t) {
		exprs.WriteString(q.target.Expr + "\n")
	}
	checked := 0
	for name, f := range metrics(t) {
		if !onlyCluster(name) {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if matcher := l.GetName() + `="` + l.GetValue() + `"`; !strings.Contains(exprs.String(), matcher) {
					t.Errorf("no panel shows %s{%s}", name, matcher)
				}
				checked++
			}
		}
	}
	if checked < 6 {
		t.Errorf("only %d labels were found", checked)
	}
}

var update = flag.Bool("update", false, "write the table of metrics into docs/monitoring.md")

// TestMetricsTable checks that the table in the manual matches the server's metrics.
func TestMetricsTable(t *testing.T) {
	const file, begin, end = "../docs/monitoring.md", "<!-- metrics -->\n", "<!-- /metrics -->\n"
	all := metrics(t)
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		if !strings.HasPrefix(name, "gather_") {
			continue
		}
		names := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				names["`"+l.GetName()+"`"] = true
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()),
			strings.Join(slices.Sorted(maps.Keys(names)), ", "), f.GetHelp())
	}
	text := string(read(t, file))
	head, rest, ok := strings.Cut(text, begin)
	table, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no %q and %q", file, begin, end)
	}
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+b.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if table != b.String() {
		t.Errorf("the table of %s differs from the server's metrics: go test -run TestMetricsTable -update", file)
	}
	for name := range all {
		if n := strings.Count(b.String(), "| `"+name+"` |"); strings.HasPrefix(name, "gather_") && n != 1 {
			t.Errorf("%s is %d times in the table", name, n)
		}
	}
}

// TestAlertsAreListed checks that the manual lists all alerts with their runbooks.
func TestAlertsAreListed(t *testing.T) {
	text := string(read(t, "../docs/monitoring.md"))
	for _, name := range alerts(t) {
		if link := "[" + name + "](runbooks/" + name + ".md)"; !strings.Contains(text, link) {
			t.Errorf("docs/monitoring.md does not list %s", link)
		}
	}
	for _, r := range rules(t) {
		if r.Alert != "" && !strings.Contains(text, "](runbooks/"+r.Alert+".md) | "+r.Labels["severity"]) &&
			!strings.Contains(text, "](runbooks/"+r.Alert+".md) | page, "+r.Labels["severity"]) {
			t.Errorf("docs/monitoring.md does not list %s as a %s", r.Alert, r.Labels["severity"])
		}
	}
}

// TestJobBuckets checks that adjacent buckets of the jobs' histograms differ by at most a factor of 2.5, and that there are no
// native histograms: a Prometheus that scrapes those drops the classic buckets, which the queries need.
func TestJobBuckets(t *testing.T) {
	all := metrics(t)
	for _, name := range []string{"gather_job_wait_seconds", "gather_job_run_seconds", "gather_job_duration_seconds"} {
		buckets := all[name].GetMetric()[0].GetHistogram().GetBucket()
		if len(buckets) < 20 {
			t.Errorf("%s: got %d buckets, want at least 20", name, len(buckets))
		}
		// Jobs of 600 s, a common timeout, must not read as 1 800 s.
		for _, edge := range []float64{600, 900, 1200} {
			if !slices.ContainsFunc(buckets, func(b *dto.Bucket) bool { return b.GetUpperBound() == edge }) {
				t.Errorf("%s: got no edge at %v s, want one", name, edge)
			}
		}
		for i := 1; i < len(buckets); i++ {
			low, high := buckets[i-1].GetUpperBound(), buckets[i].GetUpperBound()
			if limit := 2.5 * low * (1 + 1e-9); high > limit && !math.IsInf(high, 1) {
				t.Errorf("%s: got an edge of %v s after %v s, want at most %v s", name, high, low, limit)
			}
		}
	}
}

// TestVariables checks that panels select kind and priority by the variables.
func TestVariables(t *testing.T) {
	all := metrics(t)
	checked := 0
	for _, q := range queries(t) {
		expr := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1m").Replace(q.target.Expr)
		for _, s := range selectors(t, expr) {
			f := all[family(s.Name)]
			if len(f.GetMetric()) == 0 || !strings.HasPrefix(s.Name, "gather_") {
				continue
			}
			for _, l := range f.GetMetric()[0].GetLabel() {
				if name := l.GetName(); name == "kind" || name == "priority" {
					checked++
					if !matches(s, name, labels.MatchRegexp, "$"+name) {
						t.Errorf("%s: got %s, want it to select %s=~\"$%s\"", q, s, name, name)
					}
				}
			}
		}
	}
	if checked < 40 {
		t.Errorf("got %d selectors with a kind or a priority, want at least 40", checked)
	}
}
