package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
)

// A node that NATS does not answer stops without an error, whether it has a running job or not.
func TestStopOnSlowServers(t *testing.T) {
	t.Parallel()
	nats := natstest.Start(t, 1)
	var stops []func()
	for _, prefix := range []string{"idle", "busy"} {
		srv, stop := launch(t, "--nats-url", nats.URL, "--nats-replicas", "1", "--nats-prefix", prefix, "--drain-timeout", "1ms", "--data-dir", t.TempDir())
		if prefix == "busy" {
			body := []byte(`{"kind":"sleep_batch","count":2000,"duration":"1h"}`)
			call(t, "POST", "http://"+srv.apiListener.Addr().String()+"/v1/jobs", "application/json", body, "Prefer", "wait=1")
		}
		stops = append(stops, stop)
	}
	nats.Pause(0)
	var stopping sync.WaitGroup
	for _, stop := range stops {
		stopping.Go(stop)
	}
	stopping.Wait()
	nats.Resume(0)
}

// An import into a cluster succeeds although the servers answer one of its requests, whichever that is, later than it waits for an answer.
func TestImportOnSlowServers(t *testing.T) {
	if testing.Short() {
		t.Skip("imports into some fifty clusters")
	}
	t.Parallel()
	_, _, data := stoppedServer(t)
	url := natstest.Start(t, 1).URL
	start := func(held int, release <-chan struct{}) (p *natstest.Proxy, run func()) {
		p = natstest.NewProxy(t, url)
		p.HoldRequest(held, release)
		copied := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(copied, os.DirFS(data)); err != nil {
			t.Fatal(err)
		}
		return p, func() {
			var out strings.Builder
			err := (&importCmd{
				From: copied, NatsURL: p.URL, NatsPrefix: fmt.Sprintf("to-%d", held), NatsReplicas: count{n: 1}, NodeTimeout: duration{d: time.Hour},
			}).Run(context.Background(), streams{err: &out})
			if err != nil || !strings.Contains(out.String(), "\nimported "+allOfIt) {
				t.Errorf("an import whose request %d was answered late: got %v %q, want none and %q", held, err, &out, allOfIt)
			}
		}
	}
	p, run := start(0, nil)
	run()
	requests := p.Requests()
	t.Logf("an import sends %d requests to JetStream", requests)
	if requests < 20 {
		t.Fatalf("an import sent %d requests to JetStream, want more", requests)
	}
	release := make(chan struct{})
	var all sync.WaitGroup
	for held := 1; held <= requests; held++ {
		p, run := start(held, release)
		ended := make(chan struct{})
		all.Go(func() {
			defer close(ended)
			run()
		})
		select {
		case <-p.Held():
		case <-ended: // this one sent fewer requests
		}
	}
	time.Sleep(5 * time.Second)
	close(release)
	all.Wait()
}
