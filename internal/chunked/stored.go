package chunked

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"

	"gather/internal/exactsum"
	"gather/internal/npy"
)

// Ref refers to a stored array by the name of its upload or by a URL, of an .npy file, of a Zarr array, or of an object that
// has no header and the data that Raw describes. URLs are several .npy files, which are joined along an axis; a * in the last
// part of one stands for any characters. NPZ is a member of an .npz file, the only one if it is empty.
type Ref struct {
	Name, URL string
	Zarr      bool
	NPZ       *string
	Raw       *npy.Header
	URLs      []string
	Axis      int64
}

// String returns the name or the URLs, of which there may be many, for the log.
func (r Ref) String() string {
	return r.Name + r.URL + strings.Join(r.URLs[:min(len(r.URLs), 3)], ", ")
}

// Stored is a stored array: its header, and its file from the start. Several workers use the reader concurrently.
//
// If the reader also has a method
//
//	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
//
// that is called instead, so that a slow read ends with the job; an interrupted read may still write to its buffer. With
//
//	View(ctx context.Context, lo, hi int64, use func(p []byte) error) error
//
// it lets use have the bytes lo to hi of the file in place, which is faster than copying them, or returns
// errors.ErrUnsupported. If View cannot have any bytes at once,
//
//	Contiguous(off int64) int64
//
// returns how many it can from an offset on.
//
// An array in tiles has Tiles instead of a Reader, and the shape of a tile in the order of the axes of the array; the
// type and the shape are in the Header.
type Stored struct {
	Header npy.Header
	Reader io.ReaderAt
	Tile   []int64
	Tiles  Tiles
	// Remote is whether reads take milliseconds, and far more for each than for a byte. Then tasks follow the order of the
	// file, so that each byte is read once, at the cost of larger partials. It belongs to the plan: an array is remote
	// wherever its job runs.
	Remote bool
}

// contextReaderAt is an io.ReaderAt whose reads can be interrupted.
type contextReaderAt interface {
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
}

// viewer is an io.ReaderAt whose bytes can be used in place.
type viewer interface {
	View(ctx context.Context, lo, hi int64, use func(p []byte) error) error
}

// contiguous is a viewer that cannot view any bytes at once.
type contiguous interface {
	Contiguous(off int64) int64
}

// file is the source of a stored array.
type file struct {
	Stored
	dtype DType
	swap  bool // the file has the other byte order
	// viewer is nil if the elements must be copied, because the reader cannot do else, or because of their byte order
	// or alignment.
	viewer viewer
	// inPlace is whether the viewer works, once that is known.
	inPlace atomic.Pointer[bool]
}

func newFile(s Stored, t DType) *file {
	f := &file{Stored: s, dtype: t, swap: t.Size() > 1 && s.Header.BigEndian != npy.BigMachine}
	if !f.swap && s.Header.Offset%int64(t.Size()) == 0 {
		f.viewer, _ = s.Reader.(viewer)
	}
	return f
}

// canView reports whether the elements can be used in place. Errors: those of the viewer.
func (f *file) canView(ctx context.Context) (bool, error) {
	if f.viewer == nil {
		return false, nil
	}
	if p := f.inPlace.Load(); p != nil {
		return *p, nil
	}
	err := f.viewer.View(ctx, f.Header.Offset, f.Header.Offset, func([]byte) error { return nil })
	ok := err == nil
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	if err == nil {
		f.inPlace.Store(&ok)
	}
	return ok, err
}

// together returns how many elements from element lo on can be used at once.
func (f *file) together(lo int64) int64 {
	c, ok := f.viewer.(contiguous)
	if !ok {
		return math.MaxInt64
	}
	size := int64(f.dtype.Size())
	return c.Contiguous(f.Header.Offset+lo*size) / size
}

// view calls use with n elements from element lo, in place.
func (f *file) view(ctx context.Context, lo, n int64, use func(mem []byte) error) error {
	size := int64(f.dtype.Size())
	off := f.Header.Offset + lo*size
	return f.viewer.View(ctx, off, off+n*size, use)
}

func (f *file) DType() DType   { return f.dtype }
func (f *file) Constant() bool { return false }

func (f *file) Fill(ctx context.Context, dst []byte, lo int64) error {
	off := f.Header.Offset + lo*int64(f.dtype.Size())
	var n int
	var err error
	if r, ok := f.Reader.(contextReaderAt); ok {
		n, err = r.ReadAtContext(ctx, dst, off)
	} else {
		n, err = f.Reader.ReadAt(dst, off)
	}
	switch {
	case n == len(dst):
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the data ends at byte %d, but its header declares %d bytes", npy.ErrFormat, off+int64(n), f.Header.FileSize())
	default:
		return fmt.Errorf("read bytes %d to %d of the array: %w", off, off+int64(len(dst)), err)
	}
	if f.swap {
		switch f.dtype.Size() {
		case 2:
			exactsum.Swap16(view[uint16](dst))
		case 4:
			exactsum.Swap32(view[uint32](dst))
		case 8:
			exactsum.Swap64(view[uint64](dst))
		}
	}
	return nil
}
