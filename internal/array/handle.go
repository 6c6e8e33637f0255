package array

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"gather/internal/job"
	"gather/internal/npy"
)

// A Handle is an array in use, in any store. It must be closed once.
type Handle struct {
	Header npy.Header
	SHA256 string
	// Use is the reference ID of jobs that use this content under this name: their pinned specs contain it.
	Use string
	// Remote is whether reads have the latency of other servers.
	Remote bool
	Reader
}

// A Reader reads an array, also concurrently, until it is closed.
type Reader interface {
	// ReadAtContext is ReadAt of io.ReaderAt, interrupted when ctx is done.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	// Close releases the array.
	Close() error
}

// A Viewer is a Reader whose bytes can be used in place.
type Viewer interface {
	// View calls use with bytes lo to hi of the file, which it must not modify or keep. Errors: errors.ErrUnsupported if
	// the file must be read instead; job.ErrCorrupt; errors of the disk; the error of use; the cause of ctx.
	View(ctx context.Context, lo, hi int64, use func(p []byte) error) error
}

// View implements Viewer; errors.ErrUnsupported is returned for a Reader that does not.
func (h *Handle) View(ctx context.Context, lo, hi int64, use func(p []byte) error) error {
	if v, ok := h.Reader.(Viewer); ok {
		return v.View(ctx, lo, hi, use)
	}
	return errors.ErrUnsupported
}

// readTimeout bounds a read without a context.
const readTimeout = 30 * time.Second

// ReadAt implements io.ReaderAt. It fails with job.ErrStorage after readTimeout.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), readTimeout, job.ErrStorage)
	defer cancel()
	return h.ReadAtContext(ctx, p, off)
}

// Use returns the reference ID of jobs that use an array with this content under this name: 32 characters, the same on
// every node. The same file uploaded again has the same ID.
func Use(tenant, name, sha string) string {
	sum := sha256.Sum256([]byte(tenant + "\x00" + name + "\x00" + sha))
	return hex.EncodeToString(sum[:16])
}
