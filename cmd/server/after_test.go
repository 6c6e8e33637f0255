package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A chain is three jobs of a batch, each after the ones before it; the first takes some time and, in a failing chain, does not succeed.
const (
	chains    = 16
	chainJobs = 3
)

func failingChain(i int) bool { return i%3 == 2 }

// chainBatch is the submission of all chains, whose ends are spread over a second.
func chainBatch() string {
	var jobs []string
	for i := range chains {
		first := fmt.Sprintf(`{"kind":"sleep_batch","durations":["%dms"]}`, i*60)
		if failingChain(i) {
			first = fmt.Sprintf(`{"kind":"sleep_batch","durations":["1h"],"timeout":"%dms"}`, 1+i*60)
		}
		n := i * chainJobs
		jobs = append(
			jobs, first,
			fmt.Sprintf(`{"kind":"squares","numbers":[2],"after":[%d]}`, n),
			fmt.Sprintf(`{"kind":"squares","numbers":[3],"after":[%d,%d]}`, n, n+1),
		)
	}
	return `{"jobs":[` + strings.Join(jobs, ",") + `]}`
}

type doRequest func(ctx context.Context, method, path, body string, header ...string) (*response, error)

// submitChains submits the chains, and returns the ids of their jobs.
func submitChains(ctx context.Context, t *testing.T, key string, do doRequest) (ids []string) {
	t.Helper()
	a, err := do(ctx, http.MethodPost, "/v1/jobs:batch", chainBatch(), "Idempotency-Key", key)
	var b struct {
		Jobs []view `json:"jobs"`
	}
	if err == nil {
		err = json.Unmarshal(a.body, &b)
	}
	if err != nil || a.status != http.StatusAccepted || len(b.Jobs) != chains*chainJobs {
		t.Fatalf("got %+v, %v; want 202 and %d jobs", a, err, chains*chainJobs)
	}
	for _, v := range b.Jobs {
		ids = append(ids, v.ID)
	}
	return ids
}

// verifyChains waits for the ends of the chains, and checks states, reasons and order.
func verifyChains(ctx context.Context, t *testing.T, ids []string, wait func(ctx context.Context, id string) (view, error)) {
	t.Helper()
	jobs := make([]view, len(ids))
	for i, id := range ids {
		var err error
		if jobs[i], err = wait(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	for i := range jobs {
		j, first := &jobs[i], i-i%chainJobs
		switch failing := failingChain(i / chainJobs % chains); {
		case i == first && failing:
			if j.State != "failed" {
				t.Errorf("job %d is %s, want failed", i, j.State)
			}
		case failing:
			if j.State != "cancelled" || !strings.Contains(string(j.Error), "dependency-failed") || j.StartedAt != nil {
				t.Errorf("job %d is %s, started at %v, %s; want cancelled by dependency-failed, not started", i, j.State, j.StartedAt, j.Error)
			}
		case j.State != "succeeded":
			t.Errorf("job %d is %s, want succeeded", i, j.State)
		default:
			for k := first; k < i; k++ {
				if end := jobs[k].FinishedAt; end == nil || j.StartedAt.Before(*end) {
					t.Errorf("job %d started at %v, want after the end of job %d at %v", i, j.StartedAt, k, end)
				}
			}
		}
	}
}

// Held jobs run, or are cancelled, after the server was killed at any time.
func TestAfterKills(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := newClient(p)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var ids []string
	for i := range 4 {
		ids = append(ids, submitChains(ctx, t, fmt.Sprint(i), c.do)...)
		time.Sleep(time.Duration(i) * 250 * time.Millisecond)
		p.kill()
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	verifyChains(ctx, t, ids, c.wait)
	before := make([]string, len(ids))
	for i, id := range ids {
		v, err := c.get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		before[i] = v.outcome()
	}
	p.kill()
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if v, err := c.get(ctx, id); err != nil || v.outcome() != before[i] {
			t.Errorf("after another kill job %d is %s, %v; want %s", i, v.outcome(), err, before[i])
		}
	}
}

// after kills the node that accepted jobs which wait for others, and reads the same ends from all nodes.
func (s *suite) after(t *testing.T) {
	f := s.cluster(t, 3)
	ctx := f.context()
	var ids []string
	for i := range f.nodes {
		ids = append(ids, submitChains(ctx, t, fmt.Sprint(i), f.clients[i].do)...)
		f.nodes[i].kill()
		f.start(f.nodes[i])
		f.ready(ctx, i, http.StatusOK)
	}
	for i := range f.nodes {
		verifyChains(ctx, t, ids, f.clients[i].wait)
	}
	outcomes := make([]string, len(ids))
	for i := range f.nodes {
		for k, id := range ids {
			v, err := f.clients[i].get(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				outcomes[k] = v.outcome()
			} else if v.outcome() != outcomes[k] {
				t.Errorf("node %d shows job %d as %s, node 0 as %s", i, k, v.outcome(), outcomes[k])
			}
		}
	}
}
