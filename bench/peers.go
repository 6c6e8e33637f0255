package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gather/bench/machine"
	"gather/bench/render"
)

// peers compares job queues behind small HTTP services.
func peers(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"five-number squares"},
		Note: "In parentheses: divided by gather's. Accepted, by 64 clients: answered 202. Finished: until the last " +
			"result was stored. POST to result: one request that waits. CPU and bytes: of all processes of a system, without the load " +
			"generator. Each round has new servers, in alternating order; medians.",
	}
	if err := s.buildPeers(ctx); err != nil {
		return t, err
	}
	var all []*contender
	for _, c := range contenders(s) {
		if reason := c.missing(); reason != "" {
			t.Note += fmt.Sprintf(" Skipped: %s, because %s.", c.name, reason)
			continue
		}
		all = append(all, c)
	}
	order := slices.Clone(all)
	for range s.times(3, 1) {
		for _, c := range order {
			if err := c.round(ctx, s); err != nil {
				return t, fmt.Errorf("%s: %w", c.name, err)
			}
		}
		slices.Reverse(order) // so that no system always follows the same one
	}
	s.sideBySide(&t, all)
	return t, nil
}

// buildPeers builds the services of the module bench/peers.
func (s *suite) buildPeers(ctx context.Context) error {
	if err := s.findRoot(ctx); err != nil {
		return err
	}
	s.peers = filepath.Join(filepath.Dir(s.server), "peers")
	if err := os.MkdirAll(s.peers, 0o700); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", s.peers, "./asynq", "./river")
	cmd.Dir = filepath.Join(s.root, "bench/peers")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the peers: %w\n%s", err, out)
	}
	return nil
}

// round starts a system, loads it and stops it.
func (c *contender) round(ctx context.Context, s *suite) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	x, err := c.start(ctx, s)
	if err != nil {
		return err
	}
	defer x.stop()
	if err := x.verify(); err != nil {
		return err
	}
	if x.clients, err = connect(x.api, 64); err != nil {
		return err
	}
	defer x.close()
	warm, err := x.load(ctx, waitSmall, 200, s.round()/2)
	if err == nil {
		err = x.drained(ctx, len(warm.latencies)+1)
	}
	if err != nil {
		return err
	}
	busy, total, err1 := machine.Processors()
	ours, err2 := machine.UsageOf(os.Getpid())
	if err := errors.Join(err1, err2, c.measure(ctx, s, x)); err != nil {
		return err
	}
	busyAfter, totalAfter, err1 := machine.Processors()
	oursAfter, err2 := machine.UsageOf(os.Getpid())
	c.total += totalAfter - total
	c.others += max(0, busyAfter-busy-oursAfter.Sub(ours).CPU)
	return errors.Join(err1, err2)
}

// verify runs one job and reads its result.
func (x *system) verify() error {
	w, err := dial(x.api)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	var body bytes.Buffer
	status, err := w.roundTrip(waitSmall, &body)
	if err == nil && (status != 200 || !strings.Contains(body.String(), "[1,4,9,16,25]")) {
		err = fmt.Errorf("got status %d and no squares: %.300s", status, body.String())
	}
	return err
}

// measure loads a system in three ways.
func (c *contender) measure(ctx context.Context, s *suite, x *system) error {
	before, err := machine.UsageOf(x.pids...)
	if err != nil {
		return err
	}
	began := time.Now()
	got, err := x.load(ctx, postSmall, 202, s.round())
	if err == nil {
		err = x.drained(ctx, len(got.latencies))
	}
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := machine.UsageOf(x.pids...)
	if err != nil {
		return err
	}
	used := after.Sub(before)
	c.jobs += len(got.latencies)
	c.cpu += used.CPU
	c.written += used.Written
	c.accepted = append(c.accepted, got.rate())
	c.ended = append(c.ended, float64(len(got.latencies))/took.Seconds())
	one := &clients{x.wires[:1]}
	single, err1 := one.load(ctx, waitSmall, 200, s.round())
	many, err2 := x.load(ctx, waitSmall, 200, s.round())
	c.one.add(single)
	c.many.add(many)
	return errors.Join(err1, err2)
}

// sideBySide adds a row for each figure, and the bars of the plot.
func (s *suite) sideBySide(t *render.Table, all []*contender) {
	bars := render.Bars{Title: "Job queues side by side"}
	row := func(name string, value func(c *contender) float64, format func(float64) string, drawn bool) {
		cells := []any{name}
		for _, c := range all {
			v := value(c)
			cell := format(v)
			if drawn {
				bars.Add(name, c.name, v, cell)
			}
			if c != all[0] {
				cell += " (" + render.Ratio(v, value(all[0])) + ")"
			}
			cells = append(cells, cell)
		}
		t.Row(cells...)
	}
	text := func(name string, value func(c *contender) string) {
		cells := []any{name}
		for _, c := range all {
			cells = append(cells, value(c))
		}
		t.Row(cells...)
	}
	latency := func(of func(c *contender) *sample, q float64) func(c *contender) float64 {
		return func(c *contender) float64 { return of(c).quantile(q).Seconds() }
	}
	one := func(c *contender) *sample { return &c.one }
	many := func(c *contender) *sample { return &c.many }
	for _, c := range all {
		t.Header = append(t.Header, c.name)
	}
	row("accepted/s", func(c *contender) float64 { return median(c.accepted) }, render.Number, true)
	row("finished/s", func(c *contender) float64 { return median(c.ended) }, render.Number, true)
	row("POST to result, one client, p50", latency(one, 0.5), render.Seconds, true)
	row("POST to result, one client, p99", latency(one, 0.99), render.Seconds, false)
	row("POST to result, 64 clients, p50", latency(many, 0.5), render.Seconds, true)
	row("POST to result, 64 clients, p99", latency(many, 0.99), render.Seconds, false)
	row("CPU a job", func(c *contender) float64 { return c.cpu.Seconds() / float64(c.jobs) }, render.Seconds, true)
	row("bytes written to disk a job", func(c *contender) float64 { return float64(c.written) / float64(c.jobs) }, render.Number, false)
	text("on disk at the 202", func(c *contender) string { return c.durable })
	text("CPUs used by other programs", func(c *contender) string {
		return fmt.Sprintf("%.0f %%", 100*float64(c.others)/float64(c.total))
	})
	s.plots["peers.svg"] = bars.SVG()
}
