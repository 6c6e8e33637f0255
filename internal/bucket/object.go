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
			o.ahead.start(o, k)
		}
		data, err := o.block(ctx, i)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%size:])
	}
	return n, short
}

// block returns a block of the object.
func (o *Object) block(ctx context.Context, i int64) ([]byte, error) {
	size := o.blockSize()
	return o.cache.Get(ctx, o.blockKey(i), min(size, o.version.Size-i*size), func(p []byte) error {
		return o.read(ctx, o.key, o.version, p, i*size)
	})
}

func (o *Object) blockKey(i int64) blockKey { return blockKey{o.url, o.version, i} }

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
		o.ahead.start(o, off/size)
	}
}
