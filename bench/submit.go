package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"gather/bench/render"
)

// small is the job of throughput measurements: five numbers to square.
const small = `{"kind":"squares","numbers":[1,2,3,4,5]}`

var (
	postSmall = request("POST", "/v1/jobs", small)
	waitSmall = request("POST", "/v1/jobs", small, "Prefer: wait=10")
)

// side is one of the compared servers.
type side struct {
	*target
	*clients

	all             sample
	accepted, ended []float64 // per second, by round
}

// side starts a server and connects to it.
func (s *suite) side(ctx context.Context, conns int, path string, args ...string) (*side, error) {
	t, err := start(ctx, path, args...)
	if err != nil {
		return nil, err
	}
	c, err := connect(t.api, conns)
	if err != nil {
		t.stop()
		return nil, err
	}
	return &side{target: t, clients: c}, nil
}

// round loads the server for a while, and then waits for all jobs.
func (x *side) round(ctx context.Context, d time.Duration, count bool) error {
	got, err := x.load(ctx, postSmall, 202, d)
	if err != nil {
		return err
	}
	rest, err := x.drained(ctx)
	if err != nil || !count {
		return err
	}
	x.accepted = append(x.accepted, got.rate())
	x.ended = append(x.ended, float64(len(got.latencies))/(got.took+rest).Seconds())
	x.all.add(got)
	return nil
}

// submissions compares durable submissions with the same handlers without a journal.
func submissions(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"connections", "accepted/s, fsync", "accepted/s, no journal", "ratio", "finished/s, fsync", "finished of accepted", "p50, fsync", "p99, fsync", "p50, no journal"},
		Note: "Five-number squares. Accepted: answered 202. Finished: until the result of the last one was on disk. " +
			"Both servers are one program with different journals; medians of alternating rounds.",
	}
	for _, conns := range []int{1, 16, 64, 256} {
		durable, volatile, err := s.compare(ctx, conns)
		if err != nil {
			return t, err
		}
		a, b := median(durable.accepted), median(volatile.accepted)
		t.Row(conns, a, b, render.Ratio(a, b), median(durable.ended), render.Ratio(median(durable.ended), a),
			durable.all.quantile(0.5), durable.all.quantile(0.99), volatile.all.quantile(0.5))
	}
	return t, nil
}

// compare loads both servers alternately.
func (s *suite) compare(ctx context.Context, conns int) (durable, volatile *side, err error) {
	if durable, err = s.side(ctx, conns, s.self, "serve"); err != nil {
		return nil, nil, err
	}
	defer durable.end()
	if volatile, err = s.side(ctx, conns, s.self, "serve", "-volatile"); err != nil {
		return nil, nil, err
	}
	defer volatile.end()
	for i := range s.times(9, 3) {
		order := []*side{durable, volatile}
		if i%2 == 1 { // so that neither always comes first
			slices.Reverse(order)
		}
		for _, x := range order {
			if err := x.round(ctx, s.round(), i > 0); err != nil { // the first round warms up
				return nil, nil, err
			}
		}
	}
	return durable, volatile, nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func (x *side) end() {
	x.close()
	x.stop()
}

// waiting compares submitting and waiting for the result with submitting alone.
func waiting(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"connections", "jobs/s", "POST to result p50", "p99", "POST to 202 p50", "p99", "p50 ratio"},
		Note: "Five-number squares with `Prefer: wait=10`: the response has the finished job, on disk. Compared with a plain " +
			"submission, on disk as well; rounds alternate.",
	}
	for _, conns := range []int{1, 64} {
		wait, plain, err := s.waitAndPlain(ctx, conns)
		if err != nil {
			return t, err
		}
		a, b := wait.quantile(0.5), plain.quantile(0.5)
		t.Row(conns, wait.rate(), a, wait.quantile(0.99), b, plain.quantile(0.99), render.Ratio(float64(a), float64(b)))
	}
	return t, nil
}

func (s *suite) waitAndPlain(ctx context.Context, conns int) (wait, plain sample, err error) {
	x, err := s.side(ctx, conns, s.server)
	if err != nil {
		return wait, plain, err
	}
	defer x.end()
	for i := range s.times(9, 3) {
		w, err1 := x.load(ctx, waitSmall, 200, s.round())
		p, err2 := x.load(ctx, postSmall, 202, s.round())
		_, err3 := x.drained(ctx)
		if err := errors.Join(err1, err2, err3); err != nil {
			return wait, plain, err
		}
		if i > 0 {
			wait.add(w)
			plain.add(p)
		}
	}
	return wait, plain, nil
}
