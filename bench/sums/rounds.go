package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// contender is one way to sum. Slow ones have few turns.
type contender struct {
	name string
	slow bool
	run  func() (answer, error)
}

// figure is the result of a contender: the median of its turns, in seconds, and the last value.
type figure struct {
	seconds float64
	hex     string
}

// rounds lets all contenders take turns, after one round to warm up.
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
			l.calm()
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

// service is the contender that submits to the server, times jobs a turn, one after the other.
func (l *lab) service(ctx context.Context, fields string, times int) contender {
	return contender{name: "gather", run: func() (a answer, err error) {
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

// asks is the contender that asks a peer.
func asks(name string, p *peer, r request) contender {
	return contender{name: name, run: func() (answer, error) { return p.ask(r) }}
}

// dask is the contender that computes in chunks of a file, of resident memory, or of ones.
func (l *lab) dask(source string, f file, chunks any, times int) contender {
	r := request{Op: "dask", Source: source, Path: f.path, Shape: f.shape, Chunks: chunks, Times: times}
	return asks("Dask, "+source, l.numpyAndDask, r)
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings and lists of integers come here
	}
	return string(text)
}
