package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"gather/internal/cluster/natstest"
)

// A node disconnected from NATS serves reads with their Age, and 503 to requests for the latest state; its event
// streams end. After reconnecting it serves as before.
func TestDisconnectedNode(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, 1)
	proxy := natstest.NewProxy(t, nats.URL)
	start := func(url string) (api string) {
		srv, stop := launch(t, "--nats-url", url, "--nats-replicas", "1", "--drain-timeout", "1ms", "--data-dir", t.TempDir())
		t.Cleanup(stop)
		return "http://" + srv.apiListener.Addr().String()
	}
	other, node := start(nats.URL), start(proxy.URL)
	t.Cleanup(proxy.Resume) // so that the node can stop
	send := func(to string, status int, method, path, body string, header ...string) *response {
		t.Helper()
		a := ask(t, method, to+path, "application/json", []byte(body), header...)
		if a.status != status {
			t.Errorf("%s %s %q: got %d, want %d: %s", method, path, header, a.status, status, a.body)
		}
		return a
	}
	// ageOf returns the Age of a response, or -1.
	ageOf := func(a *response) int {
		if n, err := strconv.Atoi(a.header.Get("Age")); err == nil {
			return n
		}
		return -1
	}
	var v view
	a := send(other, http.StatusAccepted, "POST", "/v1/jobs", `{"kind":"squares","numbers":[1],"start_after":"1h"}`)
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatal(err)
	}
	path := "/v1/jobs/" + v.ID
	reads := []string{path, "/v1/jobs", path + "/results"}
	for _, p := range reads {
		if a := send(node, http.StatusOK, "GET", p, "", "Cache-Control", "no-cache"); ageOf(a) < 0 {
			t.Errorf("%s: got Age %q, want a number", p, a.header.Get("Age"))
		}
	}
	proxy.Pause()
	send(other, http.StatusAccepted, "POST", path+"/cancel", "")
	// The stream ends at the first keep-alive at which the replica is too old.
	if a := send(node, http.StatusOK, "GET", path+"/events", ""); strings.Contains(string(a.body), "event: end") || !strings.Contains(string(a.body), "cut off") {
		t.Errorf("got the events %s, want no end, and a comment that the node is disconnected", a.body)
	}
	for _, p := range reads {
		if a := send(node, http.StatusOK, "GET", p, "", "Cache-Control", "max-age=3600"); ageOf(a) <= 10 || bytes.Contains(a.body, []byte("cancelled")) {
			t.Errorf("%s: got Age %q and %s, want more than 10 and a queued job", p, a.header.Get("Age"), a.body)
		}
	}
	for _, header := range [][]string{{"Cache-Control", "no-cache"}, {"Cache-Control", "max-age=5"}, {"Prefer", "wait=1"}} {
		a := send(node, http.StatusServiceUnavailable, "GET", path, "", header...)
		if a.header.Get("Retry-After") == "" || !bytes.Contains(a.body, []byte("/problems/storage-unavailable")) {
			t.Errorf("%q: got Retry-After %q and %s, want a storage-unavailable with Retry-After", header, a.header.Get("Retry-After"), a.body)
		}
	}
	proxy.Resume()
	// A request for the latest state waits for the log, each time for some seconds.
	for ask(t, "GET", node+path, "", nil, "Cache-Control", "no-cache").status != http.StatusOK {
		if t.Context().Err() != nil {
			t.Fatal("the node has not caught up")
		}
	}
	for _, header := range [][]string{{"Cache-Control", "no-cache"}, {"Prefer", "wait=1"}} {
		if a := send(node, http.StatusOK, "GET", path, "", header...); !bytes.Contains(a.body, []byte(`"state":"cancelled"`)) {
			t.Errorf("after the cut, %q: got %s, want a cancelled job", header, a.body)
		}
	}
	if a := send(node, http.StatusOK, "GET", path+"/events", ""); !strings.Contains(string(a.body), "event: end") {
		t.Errorf("after the cut: got the events %s, want an end", a.body)
	}
}
