// Package blocks keeps blocks of remote files in memory, for many readers at once.
//
// Guarantees. A Cache holds a bounded number of bytes, those being fetched included. A block that several readers want is
// fetched once, by the first of them; if that one gives up, another takes over. A fetch that failed is not remembered.
//
// A Cache starts no goroutine: a fetch runs in the goroutine of its reader. It is safe for concurrent use.
package blocks

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// Cache holds blocks, up to a bound of bytes; those not used for longest are dropped first. A key says which content a
// block is of: what changes has another key.
type Cache[K comparable] struct {
	limit int64
	// fetches has room for as many blocks as the bound has, so that those being fetched never exceed it.
	fetches chan struct{}

	mu     sync.Mutex
	blocks map[K]*block[K]
	order  list.List // of *block that are fetched, the last used first
	held   int64     // bytes of blocks that are fetched or being fetched
}

// block is one range of a file. Everything but ready is written before ready is closed.
type block[K comparable] struct {
	key     K
	ready   chan struct{}
	data    []byte
	err     error
	gaveUp  bool          // err is of who fetched it, not of the store
	element *list.Element // in Cache.order, guarded by Cache.mu
}

// New returns a cache of limit bytes, for blocks of at most size bytes.
func New[K comparable](limit, size int64) *Cache[K] {
	return &Cache[K]{limit: limit, fetches: make(chan struct{}, max(1, limit/size)), blocks: make(map[K]*block[K])}
}

// Get returns a block, of size bytes, which fetch reads if nobody has it; ctx is that of fetch. The bytes must not be kept
// nor changed.
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

// Held is how many bytes of blocks the cache holds.
func (c *Cache[K]) Held() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// find returns block k, and whether the caller has to fill it.
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

// errPanic is what stays in a block whose fetch did not return.
var errPanic = errors.New("the read did not return")

// fill fetches a block. One that failed is forgotten, so that the next reader tries again.
func (c *Cache[K]) fill(ctx context.Context, b *block[K], size int64, fetch func(p []byte) error) {
	counted := int64(0)
	defer func() { // whatever happens, nobody waits forever
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
	select {
	case c.fetches <- struct{}{}:
		defer func() { <-c.fetches }()
	case <-ctx.Done():
		b.err = context.Cause(ctx)
		return
	}
	counted = size
	c.reserve(size)
	data := make([]byte, size)
	if err := fetch(data); err != nil {
		b.err, b.gaveUp = err, ctx.Err() != nil
		return
	}
	b.data, b.err, b.gaveUp = data, nil, false
}

// reserve counts a block that is about to be fetched, and makes room for it.
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
