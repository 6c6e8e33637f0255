package array

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/npy"
)

// maxName is the maximum length of a name, in bytes.
const maxName = 128

// CheckName returns an error unless a name is 1 to maxName letters, digits, '.', '_' and '-', and does not begin with
// '.'.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName && name[0] != '.'
	for i := range len(name) {
		c := name[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fields.Invalidf("/name", "must be 1 to %d letters, digits, '.', '_' or '-', and not begin with '.'", maxName)
	}
	return nil
}

// Limits bound uploads in any store.
type Limits struct {
	// MaxBytes bounds one array, TenantBytes all arrays of a tenant, including headers; 0 is no bound.
	MaxBytes, TenantBytes int64
	// Ready returns why writes are rejected now, or nil; nil is always ready.
	Ready func() error
}

// Content describes a received upload.
type Content struct {
	Header npy.Header
	// Bytes is the size of the file, SHA256 its checksum in hexadecimal.
	Bytes  int64
	SHA256 string
}

// Describe returns an array with this content.
func (c *Content) Describe(name string, created time.Time, inUse bool) job.Array {
	return job.Array{
		Name: name, DType: dtypeName(c.Header.Type), Shape: c.Header.Shape, Fortran: c.Header.Fortran,
		BigEndian: c.Header.BigEndian, Bytes: c.Bytes, SHA256: c.SHA256, CreatedAt: created, InUse: inUse,
	}
}

// dtypeName returns NumPy's name of a type.
func dtypeName(t npy.Type) string {
	switch t.Kind {
	case 'b':
		return "bool"
	case 'i':
		return fmt.Sprint("int", 8*t.Size)
	case 'u':
		return fmt.Sprint("uint", 8*t.Size)
	default:
		return fmt.Sprint("float", 8*t.Size)
	}
}

// Admit returns why an upload is rejected before any of it is read. Errors: *fields.Errors for its name,
// job.ErrTooLarge, job.ErrStorage.
func (l *Limits) Admit(name string, o job.ArrayUpload) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if l.MaxBytes > 0 && o.Bytes > l.MaxBytes {
		return l.tooLarge()
	}
	return l.ready()
}

// Receive reads an .npy file from r in constant memory, validates it, and writes all of it to w. It stops as soon as
// the file cannot be valid. Errors: *fields.Errors for an invalid header, size or checksum; job.ErrTooLarge;
// job.ErrStorage of Ready; the errors of r and w; the cause of ctx.
func (l *Limits) Receive(ctx context.Context, r io.Reader, o job.ArrayUpload, w io.Writer) (Content, error) {
	m := &meter{limits: l, to: w, sum: sha256.New()}
	in := buffers.Get().(*bufio.Reader)
	in.Reset(readerContext{ctx, r})
	defer func() { in.Reset(nil); buffers.Put(in) }()
	// Check the header before reading the rest.
	header, err := npy.ParseHeader(io.TeeReader(in, m))
	if err != nil {
		return Content{}, formatError(err)
	}
	if _, err := in.WriteTo(m); err != nil { // with the reader's own buffer
		return Content{}, err
	}
	if err := header.CheckSize(m.bytes); err != nil {
		return Content{}, formatError(err)
	}
	c := Content{Header: header, Bytes: m.bytes, SHA256: hex.EncodeToString(m.sum.Sum(nil))}
	if o.SHA256 != "" && o.SHA256 != c.SHA256 {
		return Content{}, fields.Invalidf("", "the SHA-256 of the received bytes is %s, not %s: send it again", c.SHA256, o.SHA256)
	}
	return c, nil
}

// CheckQuota returns a *job.Rejection of job.ErrQuota if a tenant's arrays must not have that many bytes.
func (l *Limits) CheckQuota(bytes int64) error {
	if l.TenantBytes <= 0 || bytes <= l.TenantBytes {
		return nil
	}
	return &job.Rejection{
		Err: job.ErrQuota, Reason: "arrays",
		Detail: fmt.Sprintf("your arrays may have %d bytes together; delete one", l.TenantBytes),
	}
}

// ready returns a job.ErrStorage while writes are rejected, or nil.
func (l *Limits) ready() error {
	if l.Ready == nil {
		return nil
	}
	err := l.Ready()
	if err != nil && !errors.Is(err, job.ErrStorage) {
		err = fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	return err
}

func (l *Limits) tooLarge() error {
	return &job.Rejection{
		Err: job.ErrTooLarge, Reason: "arrays", Detail: fmt.Sprintf("an array may have %d bytes, with its header", l.MaxBytes),
	}
}

// meter counts and checksums the bytes written through it, up to the limits.
type meter struct {
	limits  *Limits
	to      io.Writer
	sum     hash.Hash
	bytes   int64
	checked int64 // bytes at the last call of Ready
}

// readyEvery is the number of bytes after which an upload calls Ready again.
const readyEvery = 8 << 20

// Write implements io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	n := m.bytes + int64(len(p))
	if n >= m.checked+readyEvery {
		if err := m.limits.ready(); err != nil {
			return 0, err
		}
		m.checked = n
	}
	if m.limits.MaxBytes > 0 && n > m.limits.MaxBytes {
		return 0, m.limits.tooLarge()
	}
	if n, err := m.to.Write(p); err != nil {
		return n, err
	}
	m.sum.Write(p)
	m.bytes = n
	return len(p), nil
}

// copyBuffer is the size of reads and writes, and of an upload's buffer.
const copyBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, copyBuffer) }}

// formatError converts an error of the format to a field error, and returns other errors unchanged.
func formatError(err error) error {
	if errors.Is(err, npy.ErrFormat) {
		return fields.Invalidf("", "%v", err)
	}
	return err
}

// readerContext ends a read when its context is done.
type readerContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerContext) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
