package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"gather/bench/render"
)

// nodes compares one machine's own journal with one node and three nodes on a cluster of NATS servers.
func nodes(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"five-number squares", "accepted/s", "finished/s", "POST to 202 p50", "p99", "POST to result p50, 1 client", "p50, 64 clients"},
		Note: "64 connections, spread over the nodes. Embedded is on disk (fsync), a cluster in the memory and files of two of three NATS " +
			"servers (R3). All processes share this machine: three nodes and three servers on two cores show what the cluster costs, not " +
			"what it gains.",
	}
	for _, n := range []int{0, 1, 3} {
		name := "embedded"
		if n > 0 {
			name = fmt.Sprintf("%d node(s), 3 NATS servers", n)
		}
		row, err := s.measureNodes(ctx, n)
		if err != nil {
			return t, fmt.Errorf("%s: %w", name, err)
		}
		t.Row(append([]any{name}, row...)...)
	}
	return t, nil
}

// measureNodes starts n nodes, or one server without a cluster, and loads them.
func (s *suite) measureNodes(ctx context.Context, n int) ([]any, error) {
	if n == 0 {
		x, err := start(ctx, s.server)
		if err != nil {
			return nil, err
		}
		defer x.stop()
		return s.loadNodes(ctx, []*target{x}, x.drained)
	}
	c, err := s.cluster(ctx, n)
	if err != nil {
		return nil, err
	}
	defer c.end()
	return s.loadNodes(ctx, c.nodes, c.drained)
}

// loadNodes loads all nodes concurrently.
func (s *suite) loadNodes(ctx context.Context, targets []*target, drained func(context.Context) (time.Duration, error)) ([]any, error) {
	one, err := connect(targets[0].api, 1)
	if err != nil {
		return nil, err
	}
	defer one.close()
	all := &clients{}
	defer all.close()
	for i := range 64 {
		w, err := dial(targets[i%len(targets)].api)
		if err != nil {
			return nil, err
		}
		all.wires = append(all.wires, w)
	}
	var accepted, ended []float64
	var post, single, many sample
	for i := range s.times(6, 2) {
		got, err := all.load(ctx, postSmall, 202, s.round())
		if err != nil {
			return nil, err
		}
		rest, err := drained(ctx)
		if err != nil {
			return nil, err
		}
		a, err1 := one.load(ctx, waitSmall, 200, s.round())
		b, err2 := all.load(ctx, waitSmall, 200, s.round())
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if i == 0 {
			continue // the first round warms up
		}
		accepted = append(accepted, got.rate())
		ended = append(ended, float64(len(got.latencies))/(got.took+rest).Seconds())
		post.add(got)
		single.add(a)
		many.add(b)
	}
	return []any{
		median(accepted), median(ended), post.quantile(0.5), post.quantile(0.99), single.quantile(0.5), many.quantile(0.5),
	}, nil
}

// A slowBucket is a store whose reads all take the same time, also concurrent ones.
type slowBucket struct {
	*httptest.Server
	size int64
}

// newSlowBucket serves one object, bucket/waves.npy: zeros of float64.
func newSlowBucket(rows, columns int64, delay time.Duration) *slowBucket {
	header := fmt.Sprintf("{'descr': '<f8', 'fortran_order': False, 'shape': (%d, %d), }", rows, columns)
	header += strings.Repeat(" ", 63-(10+len(header))%64) + "\n"
	head := "\x93NUMPY\x01\x00" + string([]byte{byte(len(header)), byte(len(header) >> 8)}) + header
	b := &slowBucket{size: int64(len(head)) + rows*columns*8}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.Method == http.MethodGet {
			time.Sleep(delay)
		}
		http.ServeContent(w, r, "", time.Time{}, &zeros{head: head, size: b.size})
	}))
	return b
}

// scaling measures the time of a job whose tasks wait for a slow store, by the number of nodes.
func scaling(ctx context.Context, s *suite) (render.Table, error) {
	const delay = 150 * time.Millisecond
	t := render.Table{
		Header: []string{"nodes", "sum from a slow bucket", "against one node", "1e5 sleeps, 1000 at once on each node", "against one node"},
		Note: fmt.Sprintf("The bucket answers every read after %s; each node has two workers, which read blocks of 8 MiB. "+
			"The sleeps of 20 ms are as many jobs as there are nodes, each with `concurrency` 1000 and its share of the sleeps.", delay),
	}
	rows := int64(s.times(1600, 60))
	bucket := newSlowBucket(rows, 65536, delay)
	defer bucket.Close()
	var first [2]time.Duration
	for n := 1; n <= 3; n++ {
		took, err := s.scale(ctx, n, bucket)
		if err != nil {
			return t, err
		}
		if n == 1 {
			first = took
		}
		t.Row(n, took[0], render.Ratio(float64(first[0]), float64(took[0])), took[1], render.Ratio(float64(first[1]), float64(took[1])))
	}
	return t, nil
}

// sumSlowly sums the array of a slowBucket.
var sumSlowly = request("POST", "/v1/jobs",
	`{"kind":"array_sum","array":{"source":"npy","url":"s3://bucket/waves.npy","chunks":[1,65536]}}`)

func (b *slowBucket) flag() string {
	return "--array-bucket=s3://bucket?endpoint=" + b.URL + "&region=none"
}

// scale measures the sum and the sleeps on n nodes.
func (s *suite) scale(ctx context.Context, n int, bucket *slowBucket) (took [2]time.Duration, err error) {
	c, err := s.cluster(ctx, n, "--workers=2", bucket.flag())
	if err != nil {
		return took, err
	}
	defer c.end()
	if took[0], err = c.timed(ctx, sumSlowly); err != nil {
		return took, err
	}
	sleeps := s.times(100_000, 10_000) / n
	took[1], err = c.timed(ctx, repeat(n, request("POST", "/v1/jobs",
		fmt.Sprintf(`{"kind":"sleep_batch","count":%d,"duration":"20ms","concurrency":1000}`, sleeps)))...)
	return took, err
}

// timed submits jobs to the first node and waits for their ends on the last one.
func (c *cluster) timed(ctx context.Context, posts ...[]byte) (time.Duration, error) {
	began := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, len(posts))
	for i, post := range posts {
		wg.Go(func() { errs[i] = c.nodes[len(c.nodes)-1].runUntil(ctx, post) })
	}
	wg.Wait()
	return time.Since(began), errors.Join(errs...)
}

// recovery measures how much longer jobs take when a node is killed.
func recovery(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"three nodes, one of them killed (SIGKILL)", "undisturbed", "with the kill", "more"},
		Note: "The acknowledgement wait is 2 s here and 10 s by default; the tasks of a node that died are handed to another after it. " +
			"The node is killed a second after the submission, of 3000 sleeps of 3 s each in 24 jobs, and of a sum from the slow bucket.",
	}
	const delay = 50 * time.Millisecond
	bucket := newSlowBucket(int64(s.times(1000, 120)), 65536, delay)
	defer bucket.Close()
	for _, job := range []struct {
		name  string
		posts [][]byte
	}{
		{"sleeps", repeat(24, request("POST", "/v1/jobs", `{"kind":"sleep_batch","count":125,"duration":"3s"}`))},
		{"sum", repeat(1, sumSlowly)},
	} {
		calm, err := s.survive(ctx, bucket, false, job.posts)
		if err != nil {
			return t, err
		}
		killed, err := s.survive(ctx, bucket, true, job.posts)
		if err != nil {
			return t, err
		}
		t.Row(job.name, calm, killed, killed-calm)
	}
	return t, nil
}

// survive runs jobs on three nodes, of which one may be killed during the jobs.
func (s *suite) survive(ctx context.Context, bucket *slowBucket, kill bool, posts [][]byte) (time.Duration, error) {
	c, err := s.cluster(ctx, 3, "--workers=2", "--node-timeout=2s", bucket.flag())
	if err != nil {
		return 0, err
	}
	defer c.end()
	if kill {
		defer time.AfterFunc(time.Second, func() { _ = c.nodes[0].cmd.Process.Kill() }).Stop()
	}
	return c.timed(ctx, posts...)
}

func repeat(n int, req []byte) (list [][]byte) {
	for range n {
		list = append(list, req)
	}
	return list
}
