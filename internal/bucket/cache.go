package bucket

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// cacheBytes bounds the blocks that a Set holds, those being fetched included: enough for a block for each of some readers.
const cacheBytes = 16 * s3Block

// cache holds blocks of objects, up to a bound of bytes; those not used for longest are dropped first.
type cache struct {
	limit int64
	// fetches has room for as many blocks as the bound has, so that those being fetched never exceed it.
	fetches chan struct{}

	mu     sync.Mutex
	blocks map[blockKey]*block
	order  list.List // of *block that are fetched, the last used first
	held   int64     // bytes of blocks that are fetched or being fetched
}

type blockKey struct {
	url string
	Version
	index int64
}

// block is one range of an object. Everything but ready is written before ready is closed.
type block struct {
	key     blockKey
	ready   chan struct{}
	data    []byte
	err     error
	gaveUp  bool          // err is of who fetched it, not of the store
	element *list.Element // in cache.order, guarded by cache.mu
}

func newCache(limit, size int64) *cache {
	return &cache{limit: limit, fetches: make(chan struct{}, limit/size), blocks: make(map[blockKey]*block)}
}

// get returns a block, of size bytes, which fetch reads if nobody has it; ctx is that of fetch. The bytes must not be kept
// nor changed.
func (c *cache) get(ctx context.Context, k blockKey, size int64, fetch func(p []byte) error) ([]byte, error) {
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

// find returns block k, and whether the caller has to fill it.
func (c *cache) find(k blockKey) (b *block, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b = c.blocks[k]
	if b == nil {
		b = &block{key: k, ready: make(chan struct{}), err: errPanic, gaveUp: true}
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
func (c *cache) fill(ctx context.Context, b *block, size int64, fetch func(p []byte) error) {
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
func (c *cache) reserve(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held += size
	for c.held > c.limit && c.order.Len() > 0 {
		old := c.order.Remove(c.order.Back()).(*block)
		delete(c.blocks, old.key)
		c.held -= int64(len(old.data))
	}
}
