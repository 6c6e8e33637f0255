package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"gather/internal/cluster/natstest"
)

// A node whose log is lost keeps its replica: it serves the jobs in it, is not ready, and accepts nothing. Importing
// the replica moves the jobs to another cluster, where they continue.
func TestLogLost(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, 1)
	flags := []string{"--nats-url", nats.URL, "--nats-replicas", "1", "--drain-timeout", "1ms"}
	data := t.TempDir()
	start := func(args ...string) (api string, stop func()) {
		srv, stop := launch(t, append(flags, args...)...)
		return "http://" + srv.apiListener.Addr().String(), stop
	}
	api, stop := start("--data-dir", data)
	ids := make(map[string]string)
	for name, body := range map[string]string{
		"done": `{"kind":"squares","numbers":[3,4]}`, "waits": `{"kind":"squares","numbers":[5],"start_after":"1h"}`,
		"runs": `{"kind":"sleep_batch","count":2000,"duration":"1s"}`,
	} {
		status, v := call(t, "POST", api+"/v1/jobs", "application/json", []byte(body), "Prefer", "wait=1", "Idempotency-Key", name)
		if status != http.StatusAccepted && status != http.StatusOK {
			t.Fatalf("%s: %d %v", name, status, v)
		}
		ids[name] = fmt.Sprint(v["id"])
	}
	if _, v := call(t, "GET", api+"/v1/jobs/"+ids["done"], "", nil, "Prefer", "wait=20"); v["state"] != "succeeded" {
		t.Fatalf("a job is %v, want succeeded", v)
	}
	schedule := []byte(`{"cron":"@yearly","submission":{"kind":"squares","numbers":[1]}}`)
	if status, v := call(t, "PUT", api+"/v1/schedules/yearly", "application/json", schedule); status/100 != 2 {
		t.Fatalf("%d %v", status, v)
	}
	stop()
	nats.DeleteStreams(t, "GATHER")

	api, stop = start("--data-dir", data)
	if status, v := call(t, "GET", api+"/readyz", "", nil); status != http.StatusServiceUnavailable || !strings.Contains(fmt.Sprint(v), "has lost messages") {
		t.Errorf("readyz is %d %v, want 503 that the log has lost messages", status, v)
	}
	for name, id := range ids {
		if status, v := call(t, "GET", api+"/v1/jobs/"+id, "", nil); status != http.StatusOK {
			t.Errorf("%s: %d %v, want 200 from the replica", name, status, v)
		}
	}
	if status, v := call(t, "POST", api+"/v1/jobs", "application/json", []byte(`{"kind":"squares","numbers":[1]}`)); status != http.StatusServiceUnavailable {
		t.Errorf("a submission has status %d %v, want 503", status, v)
	}
	stop()

	to := []string{"--nats-url", nats.URL, "--nats-replicas", "1", "--nats-prefix", "saved"}
	if code, stderr := importRun(t, filepath.Join(data, "view"), to...); code != exitOK || !strings.Contains(stderr, "importing 0 arrays (0 bytes), 3 jobs") || !strings.Contains(stderr, "1 schedules") {
		t.Fatalf("import of the replica: got %d %s, want 3 jobs and a schedule", code, stderr)
	}
	flags = append(to, "--drain-timeout", "1ms")
	api, stop = start("--data-dir", t.TempDir())
	defer stop()
	for name, want := range map[string]string{"done": "succeeded", "waits": "queued", "runs": "succeeded"} {
		var wait []string
		if want == "succeeded" {
			wait = []string{"Prefer", "wait=20"}
		}
		if _, v := call(t, "GET", api+"/v1/jobs/"+ids[name], "", nil, wait...); v["state"] != want {
			t.Errorf("%s is %v, want %s", name, v, want)
		}
	}
	if status, v := call(t, "GET", api+"/v1/schedules/yearly", "", nil); status != http.StatusOK || v["cron"] != "@yearly" {
		t.Errorf("the schedule: %d %v, want it", status, v)
	}
}
