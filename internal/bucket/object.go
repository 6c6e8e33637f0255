package bucket

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"gather/internal/blocks"
)

// Object reads one version of an object. It is safe for concurrent use. Reads of a remote store are served from blocks,
// each of which is fetched once, by its first reader; the Set keeps the most recently used ones.
type Object struct {
	store
	url     string
	key     string
	version Version
	cache   *blocks.Cache[blockKey]
	ahead   *readAhead
	remote  atomic.Bool // the object cannot be mapped
}

// ReadAt implements io.ReaderAt.
func (o *Object) ReadAt(p []byte, off int64) (int, error) {
	return o.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt, interrupted when ctx is done. After an error p may still be written.
func (o *Object) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	size := o.blockSize()
	if size == 0 {
		return o.ReadDirect(ctx, p, off)
	}
	p, short := o.clip(p, off)
	n := 0
	for n < len(p) {
		at := off + int64(n)
		i := at / size
		for k := i + 1; k <= i+aheadBlocks && k*size < o.version.Size; k++ {
			o.ahead.start(o, o.blockKey(k))
		}
		data, err := o.block(ctx, o.blockKey(i))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%size:])
	}
	return n, short
}

// block returns a block of the object.
func (o *Object) block(ctx context.Context, k blockKey) ([]byte, error) {
	return o.cache.Get(ctx, k, k.n, func(p []byte) error { return o.read(ctx, o.key, o.version, p, k.off) })
}

// blockKey returns the key of block i of those of one size.
func (o *Object) blockKey(i int64) blockKey {
	size := o.blockSize()
	return o.rangeKey(i*size, min(size, o.version.Size-i*size))
}

func (o *Object) rangeKey(off, n int64) blockKey { return blockKey{o.url, o.version, off, n} }

// ReadDirect is ReadAtContext for exactly this range without the cache, for a single small read.
func (o *Object) ReadDirect(ctx context.Context, p []byte, off int64) (int, error) {
	p, short := o.clip(p, off)
	if len(p) == 0 {
		return 0, short
	}
	if err := o.read(ctx, o.key, o.version, p, off); err != nil {
		return 0, err
	}
	return len(p), short
}

// View calls use with bytes lo to hi of the object, in place; use must not modify or keep them. Errors:
// errors.ErrUnsupported if the object must be read instead, ErrChanged, ErrNotFound, an error of the store or of use,
// and the cause of ctx.
func (o *Object) View(ctx context.Context, lo, hi int64, use func(p []byte) error) error {
	d, local := o.store.(*dir)
	if !local || o.remote.Load() || hi > o.version.Size {
		return errors.ErrUnsupported
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := d.view(ctx, o.key, o.version, lo, hi, use)
	if errors.Is(err, errors.ErrUnsupported) {
		o.remote.Store(true)
	}
	return err
}

// clip cuts p at the end of the object, and returns io.EOF if that shortens it.
func (o *Object) clip(p []byte, off int64) ([]byte, error) {
	if rest := max(0, o.version.Size-off); int64(len(p)) > rest {
		return p[:rest], io.EOF
	}
	return p, nil
}

// ReadAhead starts to read the block at an offset of a remote object, without waiting for it.
func (o *Object) ReadAhead(off int64) {
	if size := o.blockSize(); size > 0 && off < o.version.Size {
		o.ahead.start(o, o.blockKey(off/size))
	}
}

// Range returns n bytes of the object, at most [MaxRange], which must not be modified. The bytes of a remote object are
// kept like its blocks. Errors: those of the store, io.ErrUnexpectedEOF.
func (o *Object) Range(ctx context.Context, off, n int64) ([]byte, error) {
	if off < 0 || n > o.version.Size-off {
		return nil, io.ErrUnexpectedEOF
	}
	if o.blockSize() > 0 {
		return o.block(ctx, o.rangeKey(off, n))
	}
	p := make([]byte, n)
	return p, o.read(ctx, o.key, o.version, p, off)
}

// ReadAheadRange starts to read bytes of a remote object that Range will return, without waiting for them.
func (o *Object) ReadAheadRange(off, n int64) {
	if o.blockSize() > 0 && off >= 0 && n <= o.version.Size-off {
		o.ahead.start(o, o.rangeKey(off, n))
	}
}
