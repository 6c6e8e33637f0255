package deploy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// shown returns the queries of the only panel with a title.
func shown(t *testing.T, title string) (*panel, []string) {
	t.Helper()
	var found *panel
	var exprs []string
	for _, q := range queries(t) {
		if q.panel.Title != title {
			continue
		}
		if found != nil && found != q.panel {
			t.Fatalf("got two panels %q, want one", title)
		}
		found = q.panel
		exprs = append(exprs, substitute(q.target.Expr, "1m"))
	}
	if found == nil {
		t.Fatalf("got no panel %q, want one", title)
	}
	return found, exprs
}

// TestObjectiveJobs checks that the tiles about waiting, the recorded ratios and the alerts on the objective all exclude priority
// low, so that low jobs never turn a tile red.
func TestObjectiveJobs(t *testing.T) {
	asked := map[string][]string{}
	for _, title := range []string{"Wait p99", "Oldest job"} {
		_, asked[title] = shown(t, title)
	}
	for _, r := range rules(t) {
		// GatherStalled is about idle workers, with waiting jobs of any priority.
		if r.Alert != "GatherStalled" {
			asked[r.Alert+r.Record+" "+r.Labels["window"]] = []string{r.Expr}
		}
	}
	checked := 0
	for place, exprs := range asked {
		for _, expr := range exprs {
			for _, s := range selectors(t, expr) {
				if name := family(s.Name); name != "gather_job_wait_seconds" && name != "gather_queue_oldest_age_seconds" {
					continue
				}
				checked++
				if !matches(s, "priority", labels.MatchNotEqual, "low") {
					t.Errorf(`%s: got %s, want it to select priority!="low"`, place, s)
				}
			}
		}
	}
	// Two tiles, two alerts that need ten jobs, the age of the oldest job, and a rate per window.
	if checked < 16 {
		t.Errorf("got %d selectors of jobs that wait, want at least 16", checked)
	}
}

// TestObjectiveLines checks that the panel and the tile about waiting change color at the bucket of the rules.
func TestObjectiveLines(t *testing.T) {
	for _, title := range []string{"Job wait", "Wait p99"} {
		panel, _ := shown(t, title)
		var edges []float64
		for _, step := range panel.FieldConfig.Defaults.Thresholds.Steps {
			if step.Value != nil {
				edges = append(edges, *step.Value)
			}
		}
		if !slices.Contains(edges, 2.5) {
			t.Errorf("%s: got thresholds at %v s, want one at 2.5 s", title, edges)
		}
	}
}

// TestRejections checks that the panels of rejections include requests that were rejected before planning.
func TestRejections(t *testing.T) {
	for _, title := range []string{"Rejections", "Rejections by reason"} {
		_, exprs := shown(t, title)
		for _, name := range []string{"gather_jobs_rejected_total", "gather_http_requests_rejected_total"} {
			if !strings.Contains(strings.Join(exprs, "\n"), name) {
				t.Errorf("%s: got %q, want %s in it", title, exprs, name)
			}
		}
	}
}

// TestCountedAtStart checks that counters which change only before the first scrape are shown without a rate, which would be 0.
func TestCountedAtStart(t *testing.T) {
	_, exprs := shown(t, "Resumed jobs")
	for _, expr := range exprs {
		if strings.Contains(expr, "rate(") || strings.Contains(expr, "increase(") || !strings.Contains(expr, "gather_jobs_resumed_total") {
			t.Errorf("got %s, want the counter itself", expr)
		}
	}
}

// TestLongRequests checks that waits, streams and uploads have their own latency panel, and that every request is in one of the two.
func TestLongRequests(t *testing.T) {
	for title, kind := range map[string]labels.MatchType{
		"Latency p99 by route": labels.MatchEqual, "Waits, streams and uploads p99": labels.MatchNotEqual,
	} {
		_, exprs := shown(t, title)
		for _, expr := range exprs {
			for _, s := range selectors(t, expr) {
				if family(s.Name) != "gather_http_request_duration_seconds" || !matches(s, "mode", kind, "plain") {
					t.Errorf("%s: got %s, want it to select mode%splain", title, s, kind)
				}
			}
		}
	}
}
