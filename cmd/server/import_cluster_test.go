package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
)

// The jobs of a single server continue in a cluster: on its running nodes, and on those started later.
func TestMoveToCluster(t *testing.T) {
	t.Parallel()
	h, seen, data := stoppedServer(t)
	url := natstest.Start(t, 1).URL
	flags := []string{"--nats-url", url, "--nats-replicas", "1"}
	node := func() (api string, stop func()) {
		srv, stop := launch(t, append(flags, "--data-dir", t.TempDir(), "--drain-timeout", "1s")...)
		return "http://" + srv.apiListener.Addr().String(), stop
	}
	first, stopFirst := node()
	defer stopFirst()
	for i, want := range []string{"\nimported " + allOfIt, "\nimported " + nothing + "already present: " + allOfIt} {
		code, stderr := importRun(t, data, flags...)
		if code != exitOK || !strings.Contains(stderr, want) {
			t.Fatalf("import %d: got %d %s, want %q", i, code, stderr, want)
		}
	}
	second, stopSecond := node()
	defer stopSecond()
	for _, api := range []string{first, second} {
		h.check(api, seen)
	}
	for name, state := range map[string]string{"running": "cancelled", "queued": "cancelled", "queued array": "cancelled"} {
		if status, v := call(t, "POST", first+"/v1/jobs/"+h.ids[name]+"/cancel", "", nil); status/100 != 2 {
			t.Errorf("%s: cancel: %d %v", name, status, v)
		}
		if _, v := call(t, "GET", second+"/v1/jobs/"+h.ids[name], "", nil, "Prefer", "wait=20"); v["state"] != state {
			t.Errorf("%s: %v", name, v)
		}
	}
	// No job uses the array now.
	if status, v := call(t, "DELETE", second+"/v1/arrays/x", "", nil); status != http.StatusNoContent {
		t.Errorf("delete the array: %d %v", status, v)
	}
}

// Half-done jobs finish in the cluster: nothing is lost or done twice.
func TestMoveHalfDone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector")
	}
	t.Parallel()
	data := t.TempDir()
	srv, stop := launch(t, "--data-dir", data, "--drain-timeout", "1ms", "--workers", "1")
	api := "http://" + srv.apiListener.Addr().String()
	ids := make(map[string]string)
	submit := func(name, body string) {
		status, v := call(t, "POST", api+"/v1/jobs", "application/json", []byte(body))
		if status != http.StatusAccepted {
			t.Fatalf("%s: %d %v", name, status, v)
		}
		ids[name] = fmt.Sprint(v["id"])
	}
	submit("squares", `{"kind":"squares","range":{"start":0,"stop":3000000}}`)
	submit("sum", `{"kind":"array_sum","array":{"source":"arange","start":0,"stop":3000000000,"dtype":"int64","chunks":100000}}`)
	completed := func(name string) float64 {
		_, v := call(t, "GET", api+"/v1/jobs/"+ids[name], "", nil)
		p, _ := v["progress"].(map[string]any)
		n, _ := p["completed"].(float64)
		return n
	}
	until(t.Context(), t, 5*time.Minute, "tasks of both jobs are done", func(context.Context) (bool, any) {
		squares, sum := completed("squares"), completed("sum")
		return squares > 0 && sum > 0, []float64{squares, sum}
	})
	submit("sleeps", `{"kind":"sleep_batch","count":5000,"duration":"20s"}`) // longer than a stop of a busy machine
	stop()
	flags := []string{"--nats-url", natstest.Start(t, 1).URL, "--nats-replicas", "1"}
	if code, stderr := importRun(t, data, flags...); code != exitOK || !strings.Contains(stderr, "importing 0 arrays (0 bytes), 3 jobs (3 unfinished)") {
		t.Fatalf("got %d %s, want 3 unfinished jobs", code, stderr)
	}
	srv, stop = launch(t, append(flags, "--data-dir", t.TempDir())...)
	defer stop()
	api = "http://" + srv.apiListener.Addr().String()
	for name, want := range map[string]float64{"squares": 3e6, "sleeps": 5000, "sum": 3000000000. * 2999999999 / 2} {
		_, v := call(t, "GET", api+"/v1/jobs/"+ids[name], "", nil, "Prefer", "wait=30")
		p, _ := v["progress"].(map[string]any)
		if got, ok := v["result"].(float64); v["state"] != "succeeded" || !ok || got != want || p["completed"] != p["total"] {
			t.Errorf("%s: want %v: %v", name, want, v)
		}
	}
}
