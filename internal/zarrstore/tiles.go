package zarrstore

import (
	"context"
	"fmt"
	"sync"

	"gather/internal/bucket"
	"gather/internal/zarr"
)

// scratch is the memory for one chunk that is read and decoded.
type scratch struct {
	zarr.Scratch
	encoded []byte
}

// keptScratch is the largest buffer that is kept for the next chunk.
const keptScratch = 16 << 20

// ReadTile fills dst, of ChunkBytes, with chunk i.
func (a *Array) ReadTile(ctx context.Context, i int64, dst []byte) error {
	list, err := a.objects(ctx)
	if err != nil {
		return err
	}
	n, within := a.Locate(i)
	v, ok := list.find(n)
	if !ok {
		a.FillChunk(dst)
		return nil
	}
	key := a.Key(n)
	o, err := a.stores.buckets.Object(a.url+"/"+key, v)
	if err != nil {
		return err
	}
	r := zarr.Range{N: v.Size}
	if a.Sharded() {
		r, err = a.chunkOfShard(ctx, o, n, v, within)
	}
	switch {
	case err != nil:
	case r.N < 0:
		a.FillChunk(dst)
	default:
		err = a.decode(ctx, o, r, dst)
	}
	if err != nil {
		return fmt.Errorf("chunk %s: %w", key, err)
	}
	return nil
}

// decode reads the encoded bytes and decodes them. After an error the memory of the read is not reused: an abandoned read
// may still write to it.
func (a *Array) decode(ctx context.Context, o *bucket.Object, r zarr.Range, dst []byte) error {
	if r.N > a.MaxEncoded() {
		return fmt.Errorf("%w: %d encoded bytes; at most %d are read", zarr.ErrCorrupt, r.N, a.MaxEncoded())
	}
	s := a.stores.scratch.Get().(*scratch)
	if int64(cap(s.encoded)) < r.N {
		s.encoded = make([]byte, r.N)
	}
	encoded := s.encoded[:r.N]
	read := o.ReadDirect
	if a.remote {
		read = o.ReadAtContext // in blocks, which may have been read ahead
	}
	if _, err := read(ctx, encoded, r.Off); err != nil {
		return err
	}
	err := a.Decode(dst, encoded, &s.Scratch)
	if cap(s.encoded) <= keptScratch {
		a.stores.scratch.Put(s)
	}
	return err
}

// CachedTile returns chunk i, which the cache may keep.
func (a *Array) CachedTile(ctx context.Context, i int64) ([]byte, error) {
	size := a.ChunkBytes()
	cache := a.stores.small
	if size > smallChunk {
		cache = a.stores.large
	}
	return cache.Get(ctx, chunkKey{a.url, a.digest, i}, size, func(p []byte) error { return a.ReadTile(ctx, i, p) })
}

// ReadAhead starts to read the object of chunk i, if reads take long.
func (a *Array) ReadAhead(i int64) {
	a.mu.Lock()
	list := a.list
	a.mu.Unlock()
	if !a.remote || list == nil {
		return
	}
	n, within := a.Locate(i)
	v, ok := list.find(n)
	if !ok {
		return
	}
	o, err := a.stores.buckets.Object(a.url+"/"+a.Key(n), v)
	if err != nil {
		return
	}
	off := int64(0)
	if a.Sharded() {
		ranges := a.shards.get(n)
		if ranges == nil || ranges[within].N < 0 {
			return
		}
		off = ranges[within].Off
	}
	o.ReadAhead(off)
}

// chunkOfShard returns the range of a chunk in an object.
func (a *Array) chunkOfShard(ctx context.Context, o *bucket.Object, n int64, v bucket.Version, within int64) (zarr.Range, error) {
	ranges := a.shards.get(n)
	if ranges == nil {
		off, length, err := a.IndexRange(v.Size)
		if err != nil {
			return zarr.Range{}, err
		}
		index := make([]byte, length)
		if _, err := o.ReadDirect(ctx, index, off); err != nil {
			return zarr.Range{}, err
		}
		if ranges, err = a.DecodeIndex(index, v.Size); err != nil {
			return zarr.Range{}, err
		}
		a.shards.put(n, ranges)
	}
	return ranges[within], nil
}

// maxRanges bounds the ranges in a cache, except those of the last shard: 16 bytes each.
const maxRanges = 1 << 18

// shardCache has the indexes of some shards.
type shardCache struct {
	mu     sync.Mutex
	shards map[int64][]zarr.Range
	ranges int
}

func (c *shardCache) get(n int64) []zarr.Range {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shards[n]
}

func (c *shardCache) put(n int64, ranges []zarr.Range) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ranges+len(ranges) > maxRanges || c.shards == nil { // read again what is needed again
		c.shards, c.ranges = make(map[int64][]zarr.Range), 0
	}
	if c.shards[n] == nil {
		c.ranges += len(ranges)
	}
	c.shards[n] = ranges
}
