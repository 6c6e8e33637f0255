package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
)

// A node that is cut off from NATS answers reads with the age of what it shows, and 503 to those that need the latest state; its
// event streams end. When the cut has ended it answers as the others.
func TestCutOff(t *testing.T) {
	nats := natstest.Start(t, 1)
	proxy := natstest.NewProxy(t, nats.URL)
	start := func(url string) (api string) {
		srv, stop := launch(t, "--nats-url", url, "--nats-replicas", "1", "--drain-timeout", "1ms", "--data-dir", t.TempDir())
		t.Cleanup(stop)
		return "http://" + srv.apiListener.Addr().String()
	}
	other, node := start(nats.URL), start(proxy.URL)
	t.Cleanup(proxy.Resume) // so that the node can stop
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ask := func(to string, status int, method, path, body string, header ...string) *answer {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, to+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		a := &answer{path: path, status: resp.StatusCode, header: resp.Header, body: data}
		if a.status != status {
			t.Errorf("%s %s %q: got %d, want %d: %s", method, path, header, a.status, status, a.body)
		}
		return a
	}
	// ageOf returns the Age of an answer, -1 without one.
	ageOf := func(a *answer) int {
		if n, err := strconv.Atoi(a.header.Get("Age")); err == nil {
			return n
		}
		return -1
	}
	var v view
	a := ask(other, http.StatusAccepted, "POST", "/v1/jobs", `{"kind":"squares","numbers":[1],"start_after":"1h"}`)
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatal(err)
	}
	path := "/v1/jobs/" + v.ID
	reads := []string{path, "/v1/jobs", path + "/results"}
	for _, p := range reads {
		if a := ask(node, http.StatusOK, "GET", p, "", "Cache-Control", "no-cache"); ageOf(a) < 0 {
			t.Errorf("%s: got Age %q, want a number", p, a.header.Get("Age"))
		}
	}
	proxy.Pause()
	ask(other, http.StatusAccepted, "POST", path+"/cancel", "")
	for ageOf(ask(node, http.StatusOK, "GET", path, "")) <= 10 {
		time.Sleep(100 * time.Millisecond)
	}
	for _, p := range reads {
		if a := ask(node, http.StatusOK, "GET", p, "", "Cache-Control", "max-age=3600"); ageOf(a) <= 10 || bytes.Contains(a.body, []byte("cancelled")) {
			t.Errorf("%s: got Age %q and %s, want more than 10 and a queued job", p, a.header.Get("Age"), a.body)
		}
	}
	for _, header := range [][]string{{"Cache-Control", "no-cache"}, {"Cache-Control", "max-age=5"}, {"Prefer", "wait=1"}} {
		a := ask(node, http.StatusServiceUnavailable, "GET", path, "", header...)
		if a.header.Get("Retry-After") == "" || !bytes.Contains(a.body, []byte("/problems/storage-unavailable")) {
			t.Errorf("%q: got Retry-After %q and %s, want a storage-unavailable with Retry-After", header, a.header.Get("Retry-After"), a.body)
		}
	}
	if a := ask(node, http.StatusOK, "GET", path+"/events", ""); strings.Contains(string(a.body), "event: end") || !strings.Contains(string(a.body), "cut off") {
		t.Errorf("got the events %s, want no end, and a comment that the node is cut off", a.body)
	}
	proxy.Resume()
	for ageOf(ask(node, http.StatusOK, "GET", path, "")) > 5 {
		time.Sleep(100 * time.Millisecond)
	}
	for _, header := range [][]string{{"Cache-Control", "no-cache"}, {"Prefer", "wait=1"}} {
		if a := ask(node, http.StatusOK, "GET", path, "", header...); !bytes.Contains(a.body, []byte(`"state":"cancelled"`)) {
			t.Errorf("after the cut, %q: got %s, want a cancelled job", header, a.body)
		}
	}
	if a := ask(node, http.StatusOK, "GET", path+"/events", ""); !strings.Contains(string(a.body), "event: end") {
		t.Errorf("after the cut: got the events %s, want an end", a.body)
	}
}
