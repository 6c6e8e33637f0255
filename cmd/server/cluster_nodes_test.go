package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
)

// nodeTimeout is the node timeout in tests that kill or pause nodes.
const nodeTimeout = 2 * time.Second

// longNodeTimeout is the flag for other tests, so that a busy machine causes no node timeouts.
const longNodeTimeout = "--node-timeout=10m"

// suite is shared by the tests of the cluster: three NATS servers and the server's binary.
type suite struct {
	nats     *natstest.Servers
	binary   string
	clusters atomic.Int32
}

// testCluster is a cluster of nodes and the history of its clients.
type testCluster struct {
	history

	t       *testing.T
	binary  string
	prefix  string
	dir     string
	args    []string
	nodes   []*process
	clients []*testClient // one for each node
}

// cluster starts n nodes, which share only the NATS servers with other clusters.
func (s *suite) cluster(t *testing.T, n int, args ...string) *testCluster {
	t.Helper()
	// Two digits, because DeleteStreams deletes by prefix.
	f := newTestCluster(t, s.binary, fmt.Sprintf("cluster%02d", s.clusters.Add(1)), &s.nats.Files, args...)
	t.Cleanup(func() { s.nats.DeleteStreams(t, strings.ToUpper(f.prefix)) })
	f.grow(n)
	return f
}

func newTestCluster(t *testing.T, binary, prefix string, nats *natstest.Files, args ...string) *testCluster {
	t.Helper()
	f := &testCluster{t: t, binary: binary, prefix: prefix, dir: t.TempDir()}
	f.args = append([]string{
		"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--log-format=json", "--min-free-disk=0",
		"--nats-url=" + nats.URL, "--nats-prefix=" + prefix, "--node-timeout=" + nodeTimeout.String(),
	}, args...)
	for flag, file := range map[string]string{
		"creds": nats.Creds, "ca": nats.CA, "cert": nats.ClientCert, "key": nats.ClientKey,
	} {
		if file != "" {
			f.args = append(f.args, "--nats-"+flag+"="+file)
		}
	}
	return f
}

// grow adds n nodes with new data directories and starts them.
func (f *testCluster) grow(n int) {
	f.t.Helper()
	var added []*process
	for range n {
		i := len(f.nodes)
		p := &process{t: f.t, path: f.binary}
		p.args = append([]string{"--data-dir=" + f.data(i), fmt.Sprintf("--node-name=node-%d", i)}, f.args...)
		f.nodes, f.clients, added = append(f.nodes, p), append(f.clients, newClient(p)), append(added, p)
		f.t.Cleanup(func() {
			if p.cmd != nil {
				p.kill()
			}
			if f.t.Failed() && p.log != nil {
				f.t.Logf("the end of the log of node %d:\n%s", i, p.log)
			}
		})
	}
	f.t.Cleanup(f.logState) // before the nodes are killed
	f.start(added...)
}

// logState logs how each node sees the cluster and unfinished jobs, if the test failed.
func (f *testCluster) logState() {
	if !f.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i, c := range f.clients {
		for _, path := range []string{"/v1/nodes", "/v1/jobs?state=queued&page_size=5", "/v1/jobs?state=running&page_size=5", "/readyz"} {
			if a, err := c.try(ctx, http.MethodGet, path, ""); err != nil {
				f.t.Logf("node %d: %v", i, err)
			} else {
				f.t.Logf("node %d: %s: %d %s", i, path, a.status, a.body)
			}
		}
	}
}

// data returns the data directory of node i.
func (f *testCluster) data(i int) string { return filepath.Join(f.dir, strconv.Itoa(i)) }

// start starts nodes concurrently and returns when they serve.
func (f *testCluster) start(nodes ...*process) {
	f.t.Helper()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, p := range nodes {
		wg.Go(func() { errs[i] = p.start() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		f.t.Fatal(err)
	}
}

// signal sends a signal to node i.
func (f *testCluster) signal(i int, s syscall.Signal) {
	f.t.Helper()
	if err := f.nodes[i].cmd.Process.Signal(s); err != nil {
		f.t.Fatal(err)
	}
}

// wipe removes the data directory of node i, which must be stopped.
func (f *testCluster) wipe(i int) {
	f.t.Helper()
	if err := os.RemoveAll(f.data(i)); err != nil {
		f.t.Fatal(err)
	}
}

// context returns a context with the time limit of a test.
func (f *testCluster) context() context.Context { return f.contextOf(8 * time.Minute) }

// contextOf is context with another limit.
func (f *testCluster) contextOf(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(f.t.Context(), limit)
	f.t.Cleanup(cancel)
	return ctx
}

// until is the function until for the test of the cluster.
func (f *testCluster) until(ctx context.Context, limit time.Duration, what string, holds func(context.Context) (ok bool, sees any)) {
	f.t.Helper()
	until(ctx, f.t, limit, what, holds)
}

// ready polls until node i responds to /readyz with a status.
func (f *testCluster) ready(ctx context.Context, i, status int) {
	f.t.Helper()
	f.until(ctx, 2*time.Minute, fmt.Sprintf("readyz of node %d is %d", i, status), func(ctx context.Context) (bool, any) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		a, err := f.clients[i].try(ctx, http.MethodGet, "/readyz", "")
		if err != nil {
			return false, err
		}
		return a.status == status, a.status
	})
}

// member is a node in /v1/nodes.
type member struct {
	Name     string `json:"name"`
	Self     bool   `json:"self"`
	Draining bool   `json:"draining"`
	Behind   uint64 `json:"behind"`
	Jobs     []struct {
		ID      string `json:"id"`
		Running int    `json:"running"`
		Waiting int    `json:"waiting"`
	} `json:"jobs"`
}

// runs reports whether the node has tasks of a job.
func (m *member) runs(job string) bool {
	for _, j := range m.Jobs {
		if j.ID == job && j.Running+j.Waiting > 0 {
			return true
		}
	}
	return false
}

// members returns the nodes that node i lists.
func (f *testCluster) members(ctx context.Context, i int) ([]member, error) {
	a, err := f.clients[i].do(ctx, http.MethodGet, "/v1/nodes", "")
	if err != nil {
		return nil, err
	}
	var v struct {
		Nodes []member `json:"nodes"`
	}
	err = a.unmarshal(&v)
	return v.Nodes, err
}

// self returns node i's own entry in its /v1/nodes.
func (f *testCluster) self(ctx context.Context, i int) (member, error) {
	all, err := f.members(ctx, i)
	for _, m := range all {
		if m.Self {
			return m, nil
		}
	}
	return member{}, errors.Join(fmt.Errorf("node %d is not listed in its nodes %v", i, all), err)
}

// metric returns the sum of a metric of node i over all labels.
func (f *testCluster) metric(ctx context.Context, i int, name string) (sum float64, err error) {
	c := &testClient{p: &process{}, http: f.clients[i].http}
	base := "http://" + f.nodes[i].log.metricsAddress()
	c.p.base.Store(&base)
	a, err := c.try(ctx, http.MethodGet, "/metrics", "")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(a.body)) {
		rest, ok := strings.CutPrefix(line, name)
		if fields := strings.Fields(rest); ok && len(fields) > 0 && (rest[0] == ' ' || rest[0] == '{') {
			v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, nil
}
