package main

import (
	"errors"
	"math"
	"runtime/debug"
	"testing"
)

// The parts of a memory limit leave spare memory, and are the defaults where there is enough.
func TestDivideMemory(t *testing.T) {
	for _, limit := range []int64{128 << 20, 256 << 20, 384 << 20, 512 << 20, 1 << 30, 2 << 30, 4 << 30, 16 << 30, 64 << 30} {
		m := divideMemory(limit)
		const tables, pending = 4 * 16 << 20, maxPending
		if sum := m.queue + m.requests + m.cache + tables/2 + pending; limit >= 256<<20 && sum > limit/10*9 {
			t.Errorf("limit %d MiB: the parts have %d MiB, want at most 90 %%", limit>>20, sum>>20)
		}
		if m.heap >= limit || m.heap < limit/2 || m.heap+m.cache > limit {
			t.Errorf("limit %d MiB: got a heap of %d MiB beside %d MiB of cache, want less than the limit", limit>>20, m.heap>>20, m.cache>>20)
		}
		if m.cache < minCacheMemory {
			t.Errorf("limit %d MiB: got a cache of %d MiB, want at least %d", limit>>20, m.cache>>20, minCacheMemory>>20)
		}
		if full := m.queue == maxQueueMemory && m.requests == maxRequestMemory && m.cache == maxCacheMemory; full != (limit >= 4<<30) {
			t.Errorf("limit %d MiB: got %+v, want the largest parts from 4 GiB", limit>>20, m)
		}
	}
	if m := divideMemory(0); m.heap != math.MaxInt64 || m.queue != maxQueueMemory || m.requests != maxRequestMemory {
		t.Errorf("no limit: got %+v, want the largest parts", m)
	}
}

// Settings take precedence over the parts.
func TestApplyMemory(t *testing.T) {
	c := serveCmd{QueueBytes: size{n: 5 << 20}}
	c.applyMemory(divideMemory(400 << 20))
	if c.QueueBytes.n != 5<<20 || c.RequestBytes.n != 100<<20 {
		t.Errorf("got --queue-bytes %d and --request-bytes %d, want 5 MiB and 100 MiB", c.QueueBytes.n, c.RequestBytes.n)
	}
}

// The lowest limit applies and becomes the limit of Go's heap, unless GOMEMLIMIT is set.
func TestReadMemory(t *testing.T) {
	limit := func(n uint64) func() (uint64, error) { return func() (uint64, error) { return n, nil } }
	none := func() (uint64, error) { return 0, errors.New("no limit") }
	for _, c := range []struct {
		name, env string
		heap      int64 // initial limit of the Go runtime
		limits    []func() (uint64, error)
		want      memory
		wantHeap  int64
	}{
		{"cgroup below the machine", "", math.MaxInt64, []func() (uint64, error){limit(384 << 20), limit(8 << 30)}, divideMemory(384 << 20), divideMemory(384 << 20).heap},
		{"machine below the cgroup", "", math.MaxInt64, []func() (uint64, error){limit(math.MaxUint64), limit(1 << 30)}, divideMemory(1 << 30), divideMemory(1 << 30).heap},
		{"no cgroup", "", math.MaxInt64, []func() (uint64, error){none, limit(1 << 30)}, divideMemory(1 << 30), divideMemory(1 << 30).heap},
		{"0 is no limit", "", math.MaxInt64, []func() (uint64, error){limit(0), limit(1 << 30)}, divideMemory(1 << 30), divideMemory(1 << 30).heap},
		{"none", "", math.MaxInt64, []func() (uint64, error){none, none}, divideMemory(0), math.MaxInt64},
		{"GOMEMLIMIT", "300MiB", 300 << 20, []func() (uint64, error){limit(1 << 30)}, memory{
			limit: 300 << 20, heap: 300 << 20, queue: 75 << 20, requests: 75 << 20, cache: 300 << 20 / 32,
		}, 300 << 20},
		{"GOMEMLIMIT off", "off", math.MaxInt64, []func() (uint64, error){limit(1 << 30)}, divideMemory(0), math.MaxInt64},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", c.env)
			before := debug.SetMemoryLimit(c.heap)
			defer debug.SetMemoryLimit(before)
			if got := readMemory(c.limits...); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got := debug.SetMemoryLimit(-1); got != c.wantHeap {
				t.Errorf("got a limit of Go's heap of %d bytes, want %d", got, c.wantHeap)
			}
		})
	}
}
