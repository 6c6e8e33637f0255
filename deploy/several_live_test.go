package deploy_test

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// TestLiveServers checks the overview of two independent servers, one full and one idle, also after one is killed.
func TestLiveServers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	need(t, "prometheus")
	const bound = 50
	args := []string{"--workers=1", fmt.Sprintf("--queue-jobs=%d", bound)}
	full, idle := serve(t, args...), serve(t, args...)
	p := watch(t, "native-histograms", full, idle)
	l := newLoad(t, full)
	l.batch(bound, "sleep_batch", "", `"count":1,"duration":"1s","start_after":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"`)
	for range 3 {
		l.batch(1, "squares", "", `"numbers":[1]`) // 503
	}
	check := func(at time.Time, panels map[[2]string]float64) {
		t.Helper()
		for panel, want := range panels {
			if got := p.panel(t, panel[0], panel[1], "4s", at); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s: %s: got %v, want %v", panel[0], panel[1], got, want)
			}
		}
	}
	p.until(t, fmt.Sprintf(`sum(gather_admitted_jobs) == %d and on () max(instance:gather_capacity:ratio{bound="jobs"}) == 1`, bound))
	at := p.evaluated(t)
	check(at, map[[2]string]float64{
		{"Servers ready", "Servers ready"}:                  1,
		{"Unfinished jobs", "Unfinished jobs"}:              bound,
		{"Capacity used", "Capacity used"}:                  1,
		{"Capacity of the fullest server", "jobs"}:          1,
		{"Capacity, mean of servers", "jobs"}:               0.5,
		{"CPU", "limit of a server"}:                        p.value(t, "max(gather_cpus)", at),
		{"Memory of admitted jobs", "capacity of a server"}: p.value(t, "max(gather_admitted_capacity_bytes)", at),
		{"Queue depth and capacity", "capacity"}:            2 * bound,
		{"Workers", "workers"}:                              2,
		{"Error budget left", "Error budget left"}:          1,
	})
	p.until(t, `sum(gather_jobs_rejected_total{reason="jobs"}) == 3`)

	full.kill()
	p.until(t, `count(up == 0) == 1`)
	at = p.evaluated(t)
	check(at, map[[2]string]float64{
		{"Servers ready", "Servers ready"}:         0.5,
		{"Unfinished jobs", "Unfinished jobs"}:     0,
		{"Capacity of the fullest server", "jobs"}: 0,
		{"Workers", "workers"}:                     1,
		{"Oldest job", "Oldest job"}:               0,
	})
	p.until(t, `ALERTS{alertname="GatherDown", alertstate="pending"}`)
	up := map[string]float64{}
	for _, s := range p.query(t, substitute(tableQuery(t, "Servers", "up"), "4s"), at) {
		up[s.labels["instance"]] = s.last()
	}
	if len(up) != 2 || up[full.ops] != 0 || up[idle.ops] != 1 {
		t.Errorf("the table of servers shows up as %v, want 0 for %s and 1 for %s", up, full.ops, idle.ops)
	}

	idle.kill()
	p.until(t, `count(up == 0) == 2`)
	at = p.evaluated(t)
	check(at, map[[2]string]float64{{"Servers ready", "Servers ready"}: 0})
	for _, title := range []string{"Unfinished jobs", "Queue depth", "Oldest job"} {
		if found := p.query(t, substitute(tableQuery(t, title, title), "4s"), at); len(found) > 0 {
			t.Errorf("%s: got %v without a server, want no data", title, found)
		}
	}
}
