package deploy_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// npy is an array of three bytes, 1, 2 and 3, as NumPy writes it.
func npy() string {
	head := "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"
	head += strings.Repeat(" ", 128-10-1-len(head)) + "\n"
	return "\x93NUMPY\x01\x00" + string([]byte{byte(len(head)), 0}) + head + "\x01\x02\x03"
}

// TestLiveCluster runs three nodes on a NATS server that is configured as deployed, uses all their features, and
// queries Prometheus: NATS reports no permission violations, every panel has data, and metrics of the whole cluster are counted
// once.
func TestLiveCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	need(t, "prometheus")
	args := append(cluster(t), "--workers=2", fmt.Sprintf("--queue-jobs=%d", capacity))
	nodes := []*server{serve(t, args...), serve(t, args...), serve(t, args...)}
	p := watch(t, "exemplar-storage", nodes...)

	l := newLoad(t, nodes[0])
	others := []*load{newLoad(t, nodes[1]), newLoad(t, nodes[2])}
	if status := l.do(http.MethodPut, "/v1/arrays/%s", "three", npy(), nil); status != http.StatusCreated {
		t.Fatalf("an upload: %d", status)
	}
	j := others[0].submit("array_sum", "succeeded", `"array":{"source":"npy","name":"three"}`)
	l.do(http.MethodGet, "/v1/jobs/%s/events", j.ID, "", nil) // until its end
	if status := others[1].do(http.MethodDelete, "/v1/arrays/%s", "three", "", nil); status != http.StatusNoContent {
		t.Errorf("a delete: %d", status)
	}
	for i, load := range append(others, l) {
		load.mixed(2, 20)
		load.do(http.MethodGet, "/v1/nodes", "", "", nil)
		t.Logf("node %d has had its load", i)
	}
	later := `"count":1,"duration":"1s","start_after":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"`
	held := l.batch(100, "sleep_batch", "cancelled", later)

	submitted := 0
	for _, load := range append(others, l) {
		submitted += total(load.submitted)
	}
	p.until(t, fmt.Sprintf("sum(gather_admitted_jobs) == %d and on () sum(gather_jobs_finished_total) == %d",
		len(held), submitted-len(held)))
	p.evaluated(t)
	at := answered(t, p)
	for _, want := range []struct {
		panel, curve string
		value        float64
	}{
		{"Servers ready", "Servers ready", 1},
		{"Unfinished jobs", "Unfinished jobs", 100},
		{"Capacity used", "Capacity used", 100. / capacity},
		{"Capacity, mean of servers", "jobs", 100. / capacity},
		{"Nodes", "nodes", 3},
		{"Nodes", "connected", 3},
		{"Workers", "workers", 6},
		{"Queue depth and capacity", "admitted", 100},
		{"Queue depth and capacity", "capacity", capacity},
		{"Queue depth and capacity", "start later", 100},
		{"Queue depth and capacity", "queued", 0},
		{"Queue depth and capacity", "running", 0},
		{"Capacity of the fullest server", "jobs", 100. / capacity},
	} {
		if got := p.panel(t, want.panel, want.curve, "4s", at); got != want.value {
			t.Errorf("%s: %s: got %v, want %v", want.panel, want.curve, got, want.value)
		}
	}
	for expr, want := range map[string]float64{
		`sum(gather_jobs_submitted_total)`:                    float64(submitted),
		`sum(gather_cluster_leader)`:                          1,
		`max(instance:gather_capacity:ratio{bound="jobs"})`:   100. / capacity,
		`count(instance:gather_capacity:ratio{bound="jobs"})`: 1,
	} {
		if got := p.value(t, expr, at); got != want {
			t.Errorf("%s: got %v, want %v", expr, got, want)
		}
	}
	l.cancelAll(held)
}

// TestLiveSnapshots has a node write snapshots with the permissions that are deployed, and another one start from them.
func TestLiveSnapshots(t *testing.T) {
	args := append(cluster(t), "--node-timeout=3s", "--tombstone-retention=4s", "--idempotency-retention=4s")
	first := serve(t, args...)
	l := newLoad(t, first)
	trimmed := regexp.MustCompile(`(?m)^gather_cluster_snapshots_total\{outcome="written"\} [3-9]`)
	for end := time.Now().Add(2 * time.Minute); !trimmed.MatchString(fetch(t, "http://"+first.ops+"/metrics")); {
		if time.Now().After(end) {
			t.Fatal("no three snapshots within two minutes")
		}
		l.submit("squares", "succeeded", `"numbers":[3]`)
		time.Sleep(100 * time.Millisecond)
	}
	j := l.submit("squares", "succeeded", `"numbers":[3]`)
	second := serve(t, args...)
	if got := fetch(t, "http://"+second.ops+"/metrics"); !strings.Contains(got, `gather_cluster_snapshot_restores_total{outcome="restored"} 1`) {
		t.Error("the second node did not start from a snapshot")
	}
	fetch(t, second.api+"/v1/jobs/"+j.ID)
}
