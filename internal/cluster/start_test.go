package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// startHeld starts a node for each request that a start sends to JetStream, and holds that request of that node until do has
// returned. Each start must succeed and find a job, without an error in the log. The nodes begin with a copy of a directory unless it is "".
func (f *testCluster) startHeld(directory string, id job.ID, do func(nodes []*natstest.Proxy), change ...func(*cluster.Config)) {
	f.Helper()
	start := func(held int, release <-chan struct{}) (p *natstest.Proxy, run func() error) {
		p = natstest.NewProxy(f, f.s.URL)
		p.HoldRequest(held, release)
		logged := new(lines)
		cfg := f.cfg
		cfg.URL, cfg.Dir, cfg.NodeTimeout = p.URL, filepath.Join(f.TempDir(), "data"), time.Hour
		for _, c := range append(change, logged.to, cluster.WithStallAfter(waitTimeout)) {
			c(&cfg)
		}
		return p, func() error {
			if directory != "" {
				if err := os.CopyFS(cfg.Dir, os.DirFS(directory)); err != nil {
					return err
				}
			}
			n, err := cluster.Open(f.Context(), cfg)
			if err != nil {
				return err
			}
			_, err = n.Get(f.Context(), "t", id)
			if logged.have("level=ERROR") {
				err = errors.Join(err, fmt.Errorf("logged an error: %s", logged))
			}
			return errors.Join(err, n.Close())
		}
	}
	p, run := start(0, nil)
	f.ok(run())
	requests := p.Requests()
	if requests < 20 {
		f.Fatalf("a start sent %d requests to JetStream, want more", requests)
	}
	release := make(chan struct{})
	var all sync.WaitGroup
	var nodes []*natstest.Proxy
	for held := 1; held <= requests; held++ {
		p, run := start(held, release)
		nodes = append(nodes, p)
		ended := make(chan struct{})
		all.Go(func() {
			defer close(ended)
			if err := run(); err != nil {
				f.Errorf("a start whose request %d of %d was answered late, or not: got the error %v, want none", held, requests, err)
			}
		})
		select { // one after the other, so that none waits for a connection
		case <-p.Held():
		case <-ended: // this one sent fewer requests
		}
	}
	do(nodes)
	close(release)
	all.Wait()
}

// A node starts although the servers answer one of its requests, whichever that is, later than it waits for an answer.
func TestStartOnSlowServers(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	used := f.open("used")
	id := used.submit(1)
	used.close()
	for _, directory := range []string{"", used.dir} {
		f.startHeld(directory, id, func([]*natstest.Proxy) { time.Sleep(5 * time.Second) })
	}
}

// A node starts, from a snapshot too, although it loses the connection when it has sent one of its requests.
func TestStartReconnects(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a := f.open("a", compacting)
	id := a.submit(1)
	for range 3 {
		a.churn(10)
		a.compact()
	}
	f.startHeld("", id, func(nodes []*natstest.Proxy) {
		for _, p := range nodes {
			p.Cut()
		}
	}, compacting)
}

// A node starts from a snapshot although others are written, and the log is trimmed, between any two of its requests.
func TestStartBesideCompaction(t *testing.T) {
	t.Parallel()
	for _, compactions := range []int{1, 2} {
		f := newTestCluster(t, 1)
		a := f.open("a", compacting)
		id := a.submit(1)
		compact := func() {
			a.churn(10)
			a.compact()
		}
		for range 3 {
			compact()
		}
		f.startHeld("", id, func([]*natstest.Proxy) {
			for range compactions {
				compact()
			}
		}, compacting)
	}
}
