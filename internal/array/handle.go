package array

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"gather/internal/job"
	"gather/internal/npy"
)

// A Handle is an array in use, wherever it is kept. It must be closed, once.
type Handle struct {
	Header npy.Header
	SHA256 string
	// Use is the mark of a job that uses this content under this name: its pinned spec has it.
	Use string
	Reader
}

// A Reader reads an array, also concurrently, until it is closed.
type Reader interface {
	// ReadAtContext is ReadAt of io.ReaderAt that gives up when ctx is done.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	// Close gives the array back.
	Close() error
}

// patience bounds a read that has no context.
const patience = 30 * time.Second

// ReadAt implements io.ReaderAt. It gives up, with job.ErrStorage, when the bytes do not come for a while.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, job.ErrStorage)
	defer cancel()
	return h.ReadAtContext(ctx, p, off)
}

// Use returns the mark of the jobs that use an array of this content under this name: 32 characters, the same on every
// node. It is the content that counts: the same file uploaded again is the same array.
func Use(tenant, name, sha string) string {
	sum := sha256.Sum256([]byte(tenant + "\x00" + name + "\x00" + sha))
	return hex.EncodeToString(sum[:16])
}
