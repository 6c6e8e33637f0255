package job

import (
	"context"
	"time"
)

// Array describes an uploaded array.
type Array struct {
	Name  string
	DType string // NumPy's name
	Shape []int64
	// Fortran is true if the first axis varies fastest, BigEndian if the elements are big-endian.
	Fortran, BigEndian bool
	// Bytes is the size of the .npy file, SHA256 its checksum in hexadecimal.
	Bytes     int64
	SHA256    string
	CreatedAt time.Time
	// InUse is true if an unfinished job uses the array.
	InUse bool
	// Damaged is true if the stored file differs from the uploaded one. It is not read, and can be replaced and deleted.
	Damaged bool
	// Unreadable is true if the record of the array cannot be read: only Name is known, and the array can be replaced and
	// deleted.
	Unreadable bool
}

// An ArrayFile reads the uploaded .npy file of an array. It must be closed once.
type ArrayFile interface {
	// ReadAtContext is io.ReaderAt.ReadAt, but returns when ctx is done. It returns ErrCorrupt for bytes that differ from
	// the upload.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	// Close releases the array.
	Close() error
}

// ArrayUpload is the metadata of an upload.
type ArrayUpload struct {
	// Bytes is the announced size; -1 for none.
	Bytes int64
	// SHA256 is the announced checksum in hexadecimal; "" for none.
	SHA256 string
	// Precondition must hold for the replaced array, whose entity tag is its SHA-256.
	Precondition Precondition
}
