package bucket

import (
	"context"
	"io"
	"sync"
)

// keptBlocks is how many blocks of an object are kept: one for each reader of a small pool, and some that were just left.
const keptBlocks = 12

// Object reads one version of an object. It is safe for concurrent use. Where the store is remote, reads are served from
// blocks of its block size, each of which is fetched once by whoever needs it first; a few are kept.
type Object struct {
	store
	key     string
	version Version

	mu     sync.Mutex
	blocks map[int64]*block
	uses   int64
}

// block is one range of the object. Its mutex is held while it is fetched.
type block struct {
	mu   sync.Mutex
	data []byte // nil until fetched
	used int64  // guarded by Object.mu
}

// ReadAt implements io.ReaderAt.
func (o *Object) ReadAt(p []byte, off int64) (int, error) {
	return o.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that gives up when ctx is done.
func (o *Object) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	short := false
	if rest := o.version.Size - off; int64(len(p)) > rest {
		p, short = p[:max(0, rest)], true
	}
	size := o.blockSize()
	n := 0
	for n < len(p) {
		if size == 0 {
			if err := o.read(ctx, o.key, o.version, p, off); err != nil {
				return 0, err
			}
			n = len(p)
			break
		}
		at := off + int64(n)
		data, err := o.fetch(ctx, at/size, size)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%size:])
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// fetch returns block i.
func (o *Object) fetch(ctx context.Context, i, size int64) ([]byte, error) {
	b := o.block(i)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data != nil {
		return b.data, nil
	}
	data := make([]byte, min(size, o.version.Size-i*size))
	if err := o.read(ctx, o.key, o.version, data, i*size); err != nil {
		return nil, err // the next reader tries again
	}
	b.data = data
	return data, nil
}

// block finds or makes block i, and forgets the one that was not used for longest if there are too many.
func (o *Object) block(i int64) *block {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.uses++
	b := o.blocks[i]
	if b == nil {
		if o.blocks == nil {
			o.blocks = make(map[int64]*block)
		}
		if len(o.blocks) >= keptBlocks {
			oldest := int64(-1)
			for k, other := range o.blocks {
				if oldest < 0 || other.used < o.blocks[oldest].used {
					oldest = k
				}
			}
			delete(o.blocks, oldest)
		}
		b = new(block)
		o.blocks[i] = b
	}
	b.used = o.uses
	return b
}
