package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// clients are connections to one server. Under load, each sends its next request when it has the response to the previous
// one.
type clients struct{ wires []*wire }

func connect(addr string, n int) (*clients, error) {
	c := &clients{}
	for range n {
		w, err := dial(addr)
		if err != nil {
			c.close()
			return nil, err
		}
		c.wires = append(c.wires, w)
	}
	return c, nil
}

func (c *clients) close() {
	for _, w := range c.wires {
		_ = w.Close()
	}
}

// sample is the result of a load.
type sample struct {
	took      time.Duration
	latencies []time.Duration
}

func (s *sample) rate() float64 { return float64(len(s.latencies)) / s.took.Seconds() }

// add joins two samples of the same load.
func (s *sample) add(o sample) {
	s.took += o.took
	s.latencies = append(s.latencies, o.latencies...)
}

// quantile returns the q-th of the sorted latencies.
func (s *sample) quantile(q float64) time.Duration {
	if len(s.latencies) == 0 {
		return 0
	}
	slices.Sort(s.latencies)
	return s.latencies[int(q*float64(len(s.latencies)-1)+0.5)]
}

// load keeps all connections busy with one request for a while. Any other status than the expected one is an error.
func (c *clients) load(ctx context.Context, req []byte, want int, d time.Duration) (sample, error) {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		result sample
		errs   error
	)
	began := time.Now()
	end := began.Add(d)
	for _, w := range c.wires {
		wg.Go(func() {
			latencies, err := w.repeat(ctx, req, want, end)
			mu.Lock()
			defer mu.Unlock()
			result.latencies = append(result.latencies, latencies...)
			errs = errors.Join(errs, err)
		})
	}
	wg.Wait()
	result.took = time.Since(began)
	return result, errs
}

func (w *wire) repeat(ctx context.Context, req []byte, want int, end time.Time) ([]time.Duration, error) {
	var latencies []time.Duration
	for at := time.Now(); at.Before(end) && ctx.Err() == nil; {
		status, err := w.roundTrip(req, nil)
		if err != nil {
			return latencies, err
		}
		if status != want {
			return latencies, fmt.Errorf("got status %d, want %d", status, want)
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(at))
		at = now
	}
	return latencies, nil
}
