package main

import (
	"math"
	"testing"
)

// The parts of a memory limit leave room within it, and are the defaults where there is enough.
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
		if full := m.queue == maxQueueMemory && m.requests == maxRequestMemory && m.cache == maxCacheMemory; full != (limit >= 4<<30) {
			t.Errorf("limit %d MiB: got %+v, want the largest parts from 4 GiB", limit>>20, m)
		}
	}
	if m := divideMemory(0); m.heap != math.MaxInt64 || m.queue != maxQueueMemory || m.requests != maxRequestMemory {
		t.Errorf("no limit: got %+v, want the largest parts", m)
	}
}

// Settings win over the parts.
func TestApplyMemory(t *testing.T) {
	c := serveCmd{QueueBytes: size{n: 5 << 20}}
	c.applyMemory(divideMemory(400 << 20))
	if c.QueueBytes.n != 5<<20 || c.RequestBytes.n != 100<<20 {
		t.Errorf("got --queue-bytes %d and --request-bytes %d, want 5 MiB and 100 MiB", c.QueueBytes.n, c.RequestBytes.n)
	}
}
