package main

import (
	"context"
	"net/http"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
)

// killOneNATS kills the leading NATS server under load: everything continues after an election, and the restarted
// server catches up.
func (s *suite) killOneNATS(t *testing.T) {
	f := s.cluster(t, 3)
	ctx := f.context()
	l := &load{f: f}
	const jobs = 400
	l.start(ctx, 16, jobs)
	l.reach(ctx, jobs/4)
	dead := max(0, s.nats.Leader())
	s.nats.Kill(dead)
	killed := time.Now()
	before := l.accepted.count()
	l.reach(ctx, before+50) // 50 more than could have been in flight
	t.Logf("50 more jobs were accepted %s after a NATS server was killed", time.Since(killed).Round(time.Millisecond))
	s.nats.Restart(dead)
	l.wait()
	f.verify(ctx)
}

// killAllNATS stops NATS while jobs run. The nodes stay up and report it, and everything continues when NATS is back.
func (s *suite) killAllNATS(t *testing.T) {
	f := s.cluster(t, 3)
	ctx := f.context()
	const sleeps = `{"kind":"sleep_batch","count":20000,"duration":"3s"}`
	running := order{body: sleeps, items: 20000, result: "20000"}
	orders := []order{running, rangeOrder(2, 100_000), numbersOrder(4), sumOrder(`{"source":"ones","shape":[1000000,1000],"chunks":[1000,1000]}`, "1000000000")}
	for i := range orders {
		f.accept(ctx, i%3, &orders[i], orders[i].body, "")
	}
	lost := f.accept(ctx, 0, &orders[2], orders[2].body, "before")
	s.nats.KillAll()
	for i := range f.nodes {
		f.ready(ctx, i, http.StatusServiceUnavailable)
		// status checks Retry-After.
		f.until(ctx, 2*time.Minute, "a submission without NATS is rejected", func(ctx context.Context) (bool, any) {
			got := f.status(ctx, i, http.MethodPost, "/v1/jobs", orders[2].body)
			return got == http.StatusServiceUnavailable, got
		})
		if got := f.status(ctx, i, http.MethodGet, "/livez", ""); got != http.StatusOK {
			t.Errorf("livez of node %d: %d", i, got)
		}
	}
	down := time.Now()
	s.nats.StartAll()
	for i := range f.nodes {
		f.ready(ctx, i, http.StatusOK)
	}
	t.Logf("ready %s after NATS was started", time.Since(down).Round(time.Millisecond))
	again, replayed, err := f.client(1).submit(ctx, &orders[2], orders[2].body, "before")
	if err != nil || !replayed || again.ID != lost.ID {
		t.Errorf("the earlier key returns %s (replayed: %t), want %s; %v", again.ID, replayed, lost.ID, err)
	}
	for i := range f.nodes {
		f.accept(ctx, i, &orders[1], orders[1].body, "")
	}
	f.verify(ctx)
}

// auth runs a node on NATS servers with authentication.
func (s *suite) auth(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []natstest.Option
	}{
		{"password", []natstest.Option{natstest.Password("gather", "s/e:cret@")}},
		{"creds and TLS", []natstest.Option{natstest.Creds(), natstest.TLS()}},
		{"mutual TLS", []natstest.Option{natstest.MutualTLS()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			servers := natstest.Start(t, 1, tt.opts...)
			f := newTestCluster(t, s.binary, "auth", &servers.Files, "--nats-replicas=1")
			f.grow(1)
			ctx := f.context()
			o := rangeOrder(1, 20_000)
			f.accept(ctx, 0, &o, o.body, "")
			f.verify(ctx)
		})
	}
}
