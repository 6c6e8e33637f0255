package main

import (
	"math"
	"os"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// memory is the division of the process's memory, in bytes. The parts leave about a tenth of a limit of 128 MiB or more
// for tables being written, stacks and kernel buffers.
type memory struct {
	// limit is the memory limit of the process; 0 if unknown.
	limit int64
	// heap is the soft limit of Go's heap (GOMEMLIMIT).
	heap int64
	// queue bounds the plans of admitted jobs, requests the bodies, uploads and responses, cache the journal's block
	// cache.
	queue, requests, cache int64
}

const (
	maxQueueMemory   = 1 << 30
	maxRequestMemory = 512 << 20
	minCacheMemory   = 8 << 20
	maxCacheMemory   = 64 << 20
	// uploadBuffer is the memory of the API for one upload, in addition to the store's.
	uploadBuffer = 64 << 10
	// tableMemory is the memory of the journal's tables outside the Go heap.
	tableMemory = 32 << 20
)

// divideMemory returns the parts of a limit; 0 is an unknown limit.
func divideMemory(limit int64) memory {
	m := memory{limit: limit, heap: math.MaxInt64, queue: maxQueueMemory, requests: maxRequestMemory, cache: maxCacheMemory}
	if limit > 0 {
		m.queue, m.requests = min(m.queue, limit/4), min(m.requests, limit/4)
		m.cache = min(max(limit/32, minCacheMemory), maxCacheMemory)
		m.heap = max(limit/10*8-m.cache-tableMemory, limit/2)
	}
	return m
}

// readMemory returns the division of the process's limit: GOMEMLIMIT if it is set, otherwise the lowest of limits. It
// sets the limit of Go's heap unless GOMEMLIMIT is set.
func readMemory(limits ...func() (uint64, error)) memory {
	if os.Getenv("GOMEMLIMIT") != "" {
		set := debug.SetMemoryLimit(-1)
		if set == math.MaxInt64 { // GOMEMLIMIT=off
			return divideMemory(0)
		}
		m := divideMemory(set)
		m.heap = set
		return m
	}
	limit := uint64(math.MaxInt64)
	for _, read := range limits {
		if n, err := read(); err == nil && n > 0 { // on an error the limit does not exist or cannot be read
			limit = min(limit, n)
		}
	}
	if limit == math.MaxInt64 {
		return divideMemory(0)
	}
	m := divideMemory(int64(limit))
	debug.SetMemoryLimit(m.heap)
	return m
}

// applyMemory replaces settings of 0 by their defaults.
func (c *serveCmd) applyMemory(m memory) {
	c.memory = m
	if c.QueueBytes.n == 0 {
		c.QueueBytes.n = m.queue
	}
	if c.RequestBytes.n == 0 {
		c.RequestBytes.n = m.requests
	}
}

// registerMemory registers the metric of the memory limit.
func registerMemory(reg prometheus.Registerer, m memory) {
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{
		Name: "gather_memory_limit_bytes", Help: "Memory that the process may use: GOMEMLIMIT, the limit of its cgroup or the machine's memory; 0 if it is unknown.",
	}).Set(float64(m.limit))
}
