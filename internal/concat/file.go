package concat

import (
	"context"
	"errors"
	"io"
	"sort"
)

// File has the elements of one part after the other, without their headers.
type File struct{ a *Array }

// File returns the elements as a file, or nil if the parts do not follow each other in the memory order of the array.
func (a *Array) File() *File {
	if a.outer > 1 {
		return nil
	}
	return &File{a}
}

// locate returns the part that has a byte, where the byte is in its file, and how many bytes the part has from there on:
// 0 at the end of the file.
func (f *File) locate(off int64) (p *Part, at, n int64) {
	a := f.a
	row := a.inner * int64(a.Header.Type.Size) // bytes for each place along the axis
	if row == 0 || off >= row*a.starts[len(a.parts)] {
		return &a.parts[0], a.parts[0].Header.Offset, 0
	}
	i := sort.Search(len(a.parts), func(i int) bool { return a.starts[i+1] > off/row })
	p = &a.parts[i]
	return p, p.Header.Offset + off - row*a.starts[i], row*a.starts[i+1] - off
}

// Contiguous returns how many bytes from an offset on View can have at once.
func (f *File) Contiguous(off int64) int64 {
	_, _, n := f.locate(off)
	return n
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt, interrupted when ctx is done. After an error p may still be written.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		part, at, rest := f.locate(off + int64(n))
		if rest == 0 {
			return n, io.EOF
		}
		piece := p[n:][:min(rest, int64(len(p)-n))]
		k, err := part.Reader.ReadAtContext(ctx, piece, at)
		n += k
		switch {
		case k == len(piece):
		case err == nil:
			return n, partError(part, io.ErrUnexpectedEOF)
		default:
			return n, partError(part, err)
		}
	}
	return n, nil
}

// View calls use with bytes lo to hi in place. It returns errors.ErrUnsupported if they belong to several parts, or if the
// elements of the part are not aligned.
func (f *File) View(ctx context.Context, lo, hi int64, use func(p []byte) error) error {
	part, at, n := f.locate(lo)
	if hi-lo > n || part.Header.Offset%int64(f.a.Header.Type.Size) != 0 {
		return errors.ErrUnsupported
	}
	return partError(part, part.Reader.View(ctx, at, at+hi-lo, use))
}
