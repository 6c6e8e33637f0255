package job

import (
	"context"
	"time"
)

// Array describes an uploaded array.
type Array struct {
	Name  string
	DType string // as NumPy names it
	Shape []int64
	// Fortran: the first axis varies fastest. BigEndian: the order of the bytes of an element.
	Fortran, BigEndian bool
	// Bytes is the size of the .npy file, SHA256 its checksum in hexadecimal.
	Bytes     int64
	SHA256    string
	CreatedAt time.Time
	// InUse: a job that is not finished uses it.
	InUse bool
	// Damaged is true when the stored file differs from the uploaded one, and is not read. It can be replaced and
	// deleted.
	Damaged bool
	// Unreadable: the record of the array cannot be read, and only Name is known. It can be replaced and deleted.
	Unreadable bool
}

// An ArrayFile reads the .npy file of an array, as it was uploaded. It must be closed, once.
type ArrayFile interface {
	// ReadAtContext is ReadAt of io.ReaderAt that returns when ctx is done. ErrCorrupt for bytes that differ from the
	// upload.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	// Close ends the use.
	Close() error
}

// ArrayUpload has the metadata of an upload, before its content is read.
type ArrayUpload struct {
	// Bytes is the announced size; -1 if there is none.
	Bytes int64
	// SHA256 is the announced checksum in hexadecimal; "" if there is none.
	SHA256 string
	// Precondition must hold for the array that is replaced, whose entity tag is its SHA-256.
	Precondition Precondition
}
