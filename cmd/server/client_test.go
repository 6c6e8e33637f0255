package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gather/client"
)

// connect returns a client of a process, also before its start and after its restarts. The key may be empty.
func (p *process) connect(transport http.RoundTripper, key string) *client.Client {
	c, err := client.New(client.Config{Server: "http://process", APIKey: key, RetryFor: time.Hour, HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Host = strings.TrimPrefix(p.url(""), "http://")
		r.Host = r.URL.Host
		return transport.RoundTrip(r)
	})}})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestClientAcrossRestarts: a client that follows a job receives every event once and in order while the server is killed
// and stopped.
func TestClientAcrossRestarts(t *testing.T) {
	t.Parallel()
	const items = 300
	p := startProcess(t)
	c := p.connect(http.DefaultTransport, "")
	durations := make([]client.Duration, items)
	for i := range durations {
		durations[i] = client.Duration(fmt.Sprintf("%dms", 10*i))
	}
	j, err := c.Submit(t.Context(), client.SleepBatchSubmission{Kind: "sleep_batch", Durations: durations})
	if err != nil {
		t.Fatal(err)
	}
	restarted := make(chan error, 1)
	restart := func(stop func()) {
		stop()
		restarted <- p.start()
	}
	var seen [items]bool
	var last int64
	n := 0
	for e, err := range c.Events(t.Context(), j.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq > 0 {
			if e.Seq != last+1 {
				t.Fatalf("event %d follows %d", e.Seq, last)
			}
			last = e.Seq
		}
		if e.Result != nil {
			if seen[e.Result.Index] {
				t.Errorf("item %d was received twice", e.Result.Index)
			}
			seen[e.Result.Index] = true
			switch n++; n {
			case 50:
				go restart(p.kill)
			case 150:
				if err := <-restarted; err != nil {
					t.Fatal(err)
				}
				go restart(func() {
					if code, err := p.stop(); code != 0 || err != nil {
						t.Errorf("exit code %d, %v, want 0", code, err)
					}
				})
			}
		}
		if e.End != nil && e.End.State != client.StateSucceeded {
			t.Errorf("the job ended %s, want succeeded", e.End.State)
		}
	}
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	if n != items {
		t.Errorf("%d items, want %d", n, items)
	}
	var indices []int64
	for it, err := range c.Results(t.Context(), j.ID, client.ByIndex()) {
		if err != nil {
			t.Fatal(err)
		}
		indices = append(indices, it.Index)
	}
	if len(indices) != items || !slices.IsSorted(indices) {
		t.Errorf("%d items by index, sorted %t; want %d, sorted", len(indices), slices.IsSorted(indices), items)
	}
}
