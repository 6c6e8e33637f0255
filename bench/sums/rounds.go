package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// contender is one way to sum. Slow ones run once.
type contender struct {
	name string
	slow bool
	run  func() (response, error)
}

// figure is the result of a contender: the median time in seconds, and the last value.
type figure struct {
	seconds float64
	hex     string
}

// rounds runs all contenders n times, alternately, after one round to warm up.
func (l *lab) rounds(n int, contenders ...contender) ([]figure, error) {
	if l.short {
		n = min(n, 3)
	}
	took := make([][]float64, len(contenders))
	figures := make([]figure, len(contenders))
	order := make([]int, len(contenders))
	for i := range order {
		order[i] = i
	}
	for round := range n + 1 {
		for _, i := range order {
			c := contenders[i]
			if c.slow && round != 1 {
				continue
			}
			l.awaitIdle()
			a, err := c.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				took[i] = append(took[i], a.Seconds)
			}
			figures[i].hex = a.Hex
		}
		slices.Reverse(order) // so that no contender always follows the same one
	}
	for i := range figures {
		figures[i].seconds = median(took[i])
	}
	return figures, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// service is the contender that submits jobs to the server, times jobs in each round, one after the other.
func (l *lab) service(ctx context.Context, fields string, times int) contender {
	return contender{name: "gather", run: func() (a response, err error) {
		for range times {
			f, took, err := l.gather.sum(ctx, fields)
			if err != nil {
				return a, err
			}
			a.Seconds += took.Seconds() / float64(times)
			a.Hex = f.Details.Hex
		}
		return a, nil
	}}
}

// peerContender is the contender that sends a request to a peer.
func peerContender(name string, p *peer, r request) contender {
	return contender{name: name, run: func() (response, error) { return p.call(r) }}
}

// dask is the contender that computes in chunks of a file, of resident memory, or of ones.
func (l *lab) dask(source string, f file, chunks any, times int) contender {
	r := request{Op: "dask", Source: source, Path: f.path, Shape: f.shape, Chunks: chunks, Times: times}
	return peerContender("Dask, "+source, l.numpyAndDask, r)
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings and lists of integers come here
	}
	return string(text)
}
