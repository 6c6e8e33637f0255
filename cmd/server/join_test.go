package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gather/internal/journal"
)

// Temporary errors are retried until open succeeds, each with a log record.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		tries, began := 0, time.Now()
		got, err := join(t.Context(), slog.New(slog.NewTextHandler(&logs, nil)), prometheus.NewRegistry(), func(prometheus.Registerer) (string, error) {
			if tries++; tries < 4 {
				return "", errors.New("no servers")
			}
			return "joined", nil
		})
		if got != "joined" || err != nil || tries != 4 || time.Since(began) != 3*joinInterval {
			t.Errorf("%q %v after %d tries and %s", got, err, tries, time.Since(began))
		}
		if n := strings.Count(logs.String(), "no servers"); n != 3 {
			t.Errorf("%d lines: %s", n, logs.String())
		}
	})
}

// A permanent error is returned immediately.
func TestJoinGivesUp(t *testing.T) {
	_, noFile := os.Open(t.TempDir() + "/none")
	for _, want := range []error{noFile, journal.ErrLocked, journal.ErrFormat} {
		tries := 0
		_, err := join(t.Context(), slog.New(slog.DiscardHandler), prometheus.NewRegistry(), func(prometheus.Registerer) (int, error) {
			tries++
			return 0, fmt.Errorf("open: %w", want)
		})
		if !errors.Is(err, want) || tries != 1 {
			t.Errorf("%v after %d tries of %v", err, tries, want)
		}
	}
}

// A stop ends the retries and returns its cause.
func TestJoinStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("got terminated")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(joinInterval/2, func() { cancel(stop) })
		_, err := join(ctx, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), func(prometheus.Registerer) (int, error) { return 0, errors.New("no servers") })
		if !errors.Is(err, stop) {
			t.Error(err)
		}
		// The same during an attempt.
		if _, err = join(ctx, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), func(prometheus.Registerer) (int, error) { return 0, ctx.Err() }); !errors.Is(err, stop) {
			t.Error(err)
		}
	})
}

// Metrics registered by one attempt can be registered by the next, and stay only if it succeeds.
func TestJoinMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, tries := prometheus.NewRegistry(), 0
		_, err := join(t.Context(), slog.New(slog.DiscardHandler), reg, func(metrics prometheus.Registerer) (int, error) {
			metrics.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "one_total", Help: "One."}))
			if err := metrics.Register(prometheus.NewCounter(prometheus.CounterOpts{Name: "one_total", Help: "One."})); err == nil {
				t.Error("got no error for a metric that is registered twice, want one")
			}
			if err := metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "two", Help: "Two."}, func() float64 { return 2 })); err != nil {
				t.Error(err)
			}
			if n, err := testutil.GatherAndCount(reg); n != 0 || err != nil {
				t.Errorf("got %d metrics of a failed attempt and %v, want 0", n, err)
			}
			if tries++; tries < 3 {
				return 0, errors.New("no servers")
			}
			return 0, nil
		})
		if n, counting := testutil.GatherAndCount(reg, "one_total", "two"); n != 2 || err != nil || counting != nil {
			t.Errorf("got %d metrics, %v, %v, want 2", n, err, counting)
		}
	})
}

func TestDurability(t *testing.T) {
	for replicas, want := range map[int64]string{1: "none", 2: "none", 3: "quorum", 5: "quorum"} {
		if got := durability(replicas); got != want {
			t.Errorf("%d replicas: %s", replicas, got)
		}
	}
}
