// Package blocks caches blocks of remote files in memory, for many concurrent readers.
//
// Guarantees. A Cache holds a bounded number of bytes, including blocks being fetched. A block that several readers
// request is fetched once, by the first of them; if its context ends, another takes over. A failed fetch is not cached.
//
// A Cache starts no goroutine: a fetch runs in the goroutine of its reader. It is safe for concurrent use.
package blocks

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Cache holds blocks up to a bound of bytes, and drops the least recently used first. A key identifies the content of a
// block: changed content needs another key.
type Cache[K comparable] struct {
	limit   int64
	fetches *semaphore.Weighted // bytes of concurrent fetches, which never exceed the bound

	mu     sync.Mutex
	blocks map[K]*block[K]
	order  list.List // fetched blocks (*block), the most recently used first
	held   int64     // bytes of blocks that are fetched or being fetched
}

// block is one range of a file. All fields except ready are written before ready is closed.
type block[K comparable] struct {
	key     K
	ready   chan struct{}
	data    []byte
	err     error
	gaveUp  bool          // the fetching reader gave up, so that another one retries
	element *list.Element // in Cache.order, guarded by Cache.mu
}

// New returns a cache of limit bytes for blocks of at most size bytes.
func New[K comparable](limit, size int64) *Cache[K] {
	return &Cache[K]{limit: limit, fetches: semaphore.NewWeighted(max(limit, size)), blocks: make(map[K]*block[K])}
}

// Get returns a block of size bytes, calling fetch unless it is cached; ctx is the context of fetch. The bytes must not
// be kept or modified.
func (c *Cache[K]) Get(ctx context.Context, k K, size int64, fetch func(p []byte) error) ([]byte, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b, mine := c.find(k)
		if mine {
			c.fill(ctx, b, size, fetch)
			return b.data, b.err
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !b.gaveUp {
			return b.data, b.err
		}
	}
}

// Has reports whether a block is cached or being fetched.
func (c *Cache[K]) Has(k K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[k] != nil
}

// Held returns the bytes of blocks that the cache holds.
func (c *Cache[K]) Held() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// find returns block k, and whether the caller must fill it.
func (c *Cache[K]) find(k K) (b *block[K], mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b = c.blocks[k]
	if b == nil {
		b = &block[K]{key: k, ready: make(chan struct{}), err: errPanic, gaveUp: true}
		c.blocks[k] = b
		return b, true
	}
	if b.element != nil {
		c.order.MoveToFront(b.element)
	}
	return b, false
}

// errPanic is the error of a block whose fetch panicked.
var errPanic = errors.New("the read did not return")

// fill fetches a block. A failed block is removed, so that the next reader retries.
func (c *Cache[K]) fill(ctx context.Context, b *block[K], size int64, fetch func(p []byte) error) {
	counted := int64(0)
	defer func() { // also after a panic, so that no reader waits forever
		c.mu.Lock()
		defer c.mu.Unlock()
		if b.err == nil {
			b.element = c.order.PushFront(b)
		} else {
			delete(c.blocks, b.key)
			c.held -= counted
		}
		close(b.ready)
	}()
	if c.fetches.Acquire(ctx, size) != nil {
		b.err = context.Cause(ctx)
		return
	}
	defer c.fetches.Release(size)
	counted = size
	c.reserve(size)
	data := make([]byte, size)
	if err := fetch(data); err != nil {
		b.err, b.gaveUp = err, ctx.Err() != nil
		return
	}
	b.data, b.err, b.gaveUp = data, nil, false
}

// reserve counts a block before it is fetched, evicting others if needed.
func (c *Cache[K]) reserve(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held += size
	for c.held > c.limit && c.order.Len() > 0 {
		old := c.order.Remove(c.order.Back()).(*block[K])
		delete(c.blocks, old.key)
		c.held -= int64(len(old.data))
	}
}
