package chunked

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"gather/internal/exactsum"
	"gather/internal/npy"
)

// Ref refers to a stored array by the name of its upload or by a URL, of an .npy file, of a Zarr array, or of an object that
// has no header and the data that Raw describes.
type Ref struct {
	Name, URL string
	Zarr      bool
	Raw       *npy.Header
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
// errors.ErrUnsupported.
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
	bigMachine := binary.NativeEndian.Uint16([]byte{0, 1}) == 1
	f := &file{Stored: s, dtype: t, swap: t.Size() > 1 && s.Header.BigEndian != bigMachine}
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
