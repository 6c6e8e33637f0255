package npz

import (
	"context"
	"hash/crc32"
	"io"
	"sync"

	"gather/internal/blocks"
)

const (
	minSegment = 1 << 20
	// maxSegments bounds the places that a Reader keeps, with windowBytes each.
	maxSegments = 1024
	// maxSegment is the length of a segment of the largest member.
	maxSegment = MaxDeflated / maxSegments
	// cacheBytes bounds the segments of a Cache.
	cacheBytes = 8 * maxSegment
)

// Cache has decoded segments of any members, and the memory of decoders.
type Cache struct {
	segments  *blocks.Cache[segmentKey]
	inflaters sync.Pool
}

type segmentKey struct {
	*Reader
	i int64
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{segments: blocks.New[segmentKey](cacheBytes, maxSegment), inflaters: sync.Pool{New: func() any { return new(inflater) }}}
}

// Reader reads a deflated member.
type Reader struct {
	member  Member
	read    ReadAt // of the archive
	cache   *Cache
	segment int64 // length of each but the last

	mu     sync.Mutex
	points []begin // of the segments that can be decoded
}

// begin is where a segment begins.
type begin struct {
	point
	crc uint32 // of what is before
}

// NewReader returns a reader of a deflated member.
func NewReader(m Member, read ReadAt, cache *Cache) *Reader {
	segment := max((m.Size+maxSegments-1)/maxSegments, minSegment)
	return newReader(m, read, cache, segment)
}

func newReader(m Member, read ReadAt, cache *Cache, segment int64) *Reader {
	return &Reader{member: m, read: read, cache: cache, segment: segment, points: make([]begin, 1)}
}

// Memory returns about how much memory the reader takes, in bytes.
func (r *Reader) Memory() int64 { return (r.member.Size/r.segment + 1) * windowBytes }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	return r.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt, interrupted when ctx is done. Errors: ErrCorrupt, io.EOF, those of the archive.
func (r *Reader) ReadAtContext(ctx context.Context, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		if at >= r.member.Size {
			return n, io.EOF
		}
		data, err := r.decoded(ctx, at/r.segment)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%r.segment:])
	}
	return n, nil
}

// Head returns the first n bytes of a deflated member, or all if it has fewer. Errors: ErrCorrupt, those of read.
func Head(ctx context.Context, m Member, read ReadAt, n int64) ([]byte, error) {
	head := make([]byte, min(n, m.Size))
	d := new(inflater)
	err := d.reset(ctx, point{}, m.Deflated, func(ctx context.Context, p []byte, off int64) error {
		return read(ctx, p, m.Offset+off)
	})
	if err == nil {
		err = d.decode(ctx, head, false)
	}
	return head, err
}

// decoded returns a segment, after it has decoded those before it for the first time.
func (r *Reader) decoded(ctx context.Context, i int64) ([]byte, error) {
	for {
		r.mu.Lock()
		known := int64(len(r.points))
		r.mu.Unlock()
		next := min(i, known-1)
		data, err := r.cache.segments.Get(ctx, segmentKey{r, next}, min(r.segment, r.member.Size-next*r.segment), func(p []byte) error {
			return r.decode(ctx, next, p)
		})
		if err != nil || next == i {
			return data, err
		}
	}
}

// decode decodes segment i, whose beginning is known, and keeps where the next one begins.
func (r *Reader) decode(ctx context.Context, i int64, dst []byte) error {
	r.mu.Lock()
	b := r.points[i]
	r.mu.Unlock()
	d := r.cache.inflaters.Get().(*inflater)
	err := d.reset(ctx, b.point, r.member.Deflated, func(ctx context.Context, p []byte, off int64) error {
		return r.read(ctx, p, r.member.Offset+off)
	})
	last := (i+1)*r.segment >= r.member.Size
	if err == nil {
		err = d.decode(ctx, dst, last)
	}
	if err != nil {
		return err // the decoder is not reused: an abandoned read may still write to it
	}
	next := begin{d.point, crc32.Update(b.crc, crc32.IEEETable, dst)}
	d.point, d.read = point{}, nil
	r.cache.inflaters.Put(d)
	if last && next.crc != r.member.CRC {
		return corruptf("the checksum of member %.100q does not match", r.member.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !last && int64(len(r.points)) == i+1 {
		r.points = append(r.points, next)
	}
	return nil
}
