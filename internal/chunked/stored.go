package chunked

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gather/internal/exactsum"
	"gather/internal/npy"
)

// Ref refers to a stored array by the name of its upload or by a URL.
type Ref struct{ Name, URL string }

// Stored is a stored array: its header, and its file from the start. Several workers use the reader concurrently. If
// the reader also has a method ReadAtContext(context.Context, []byte, int64) (int, error), that is called instead, so
// that a slow read ends with the job. An interrupted read may still write to its buffer.
type Stored struct {
	Header npy.Header
	Reader io.ReaderAt
}

// contextReaderAt is an io.ReaderAt whose reads can be interrupted.
type contextReaderAt interface {
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
}

// file is the source of a stored array.
type file struct {
	Stored
	dtype DType
	swap  bool // the file has the other byte order
}

func newFile(s Stored, t DType) file {
	bigMachine := binary.NativeEndian.Uint16([]byte{0, 1}) == 1
	return file{Stored: s, dtype: t, swap: t.Size() > 1 && s.Header.BigEndian != bigMachine}
}

func (f file) DType() DType   { return f.dtype }
func (f file) Constant() bool { return false }

func (f file) Fill(ctx context.Context, dst []byte, lo int64) error {
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
