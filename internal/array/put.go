package array

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"gather/internal/job"
	"gather/internal/npy"
)

// maxName is the longest name, in bytes.
const maxName = 128

// checkName returns a fault for what is not 1 to maxName letters, digits, '.', '_' and '-', the first no '.'.
func checkName(name string) error {
	ok := name != "" && len(name) <= maxName && name[0] != '.'
	for i := range len(name) {
		c := name[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return job.Faultf("/name", "must be 1 to %d letters, digits, '.', '_' or '-', and not begin with '.'", maxName)
	}
	return nil
}

// Put reads an .npy file from r and keeps it under a name, in place of what was there. It reports whether the name is new.
//
// Options.Bytes is how long the upload says it is, -1 if it does not; Options.SHA256 the checksum it says it has, if any.
// Errors: *job.ValidationError for a faulty name, header, size or checksum; job.ErrTooLarge; job.ErrQuota as a
// *job.Rejection; job.ErrArrayInUse; job.ErrStorage; the error of r.
func (s *Store) Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error) {
	if err := checkName(name); err != nil {
		return job.Array{}, false, err
	}
	if s.cfg.MaxBytes > 0 && o.Bytes > s.cfg.MaxBytes {
		return job.Array{}, false, s.tooLarge()
	}
	dir := s.dir(tenant)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return job.Array{}, false, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return job.Array{}, false, err
	}
	up := &upload{
		store: s, tenant: tenant, path: filepath.Join(dir, id.String()+".npy"), sum: sha256.New(),
	}
	defer up.end()
	header, err := up.receive(ctx, r)
	if err != nil {
		return job.Array{}, false, err
	}
	rec := record{
		Version: recordVersion, Name: name, File: filepath.Base(up.path), Bytes: up.bytes,
		SHA256: hex.EncodeToString(up.sum.Sum(nil)), Created: time.Now().UTC(),
	}
	if o.SHA256 != "" && o.SHA256 != rec.SHA256 {
		return job.Array{}, false, job.Faultf("", "the SHA-256 of what arrived is %s, not %s: send it again", rec.SHA256, o.SHA256)
	}
	return s.commit(tenant, up, &entry{record: rec, header: header})
}

// commit makes an upload the array of its name.
func (s *Store) commit(tenant string, up *upload, e *entry) (job.Array, bool, error) {
	data, err := json.Marshal(e.record)
	if err != nil {
		return job.Array{}, false, err
	}
	dir := s.dir(tenant)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{tenant, e.Name}
	old := s.arrays[k]
	if old != nil && old.refs > 0 {
		return job.Array{}, false, job.ErrArrayInUse
	}
	if err := replaceFile(filepath.Join(dir, e.Name+".json"), data); err != nil {
		return job.Array{}, false, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	s.arrays[k] = e
	up.kept = true
	if old != nil {
		s.used[tenant] -= old.Bytes
		_ = os.Remove(filepath.Join(dir, old.File)) // nobody's now; what stays is removed at the next start
	}
	return e.describe(), old == nil, nil
}

// replaceFile writes a file so that a crash leaves the old one or the new one.
func replaceFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

func (s *Store) tooLarge() error {
	return &job.Rejection{
		Err: job.ErrTooLarge, Reason: "arrays", Detail: fmt.Sprintf("an array may have %d bytes, with its header", s.cfg.MaxBytes),
	}
}

// upload is an array on its way in.
type upload struct {
	store  *Store
	tenant string
	path   string
	file   *os.File
	sum    hash.Hash
	bytes  int64
	kept   bool
}

// grow counts n more bytes before they are written.
func (u *upload) grow(n int64) error {
	s := u.store
	if s.cfg.MaxBytes > 0 && u.bytes+n > s.cfg.MaxBytes {
		return s.tooLarge()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.TenantBytes > 0 && s.used[u.tenant]+n > s.cfg.TenantBytes {
		return &job.Rejection{
			Err: job.ErrQuota, Reason: "arrays",
			Detail: fmt.Sprintf("your arrays may have %d bytes together; delete one", s.cfg.TenantBytes),
		}
	}
	s.used[u.tenant] += n
	u.bytes += n
	return nil
}

// Write implements io.Writer for what the client sends.
func (u *upload) Write(p []byte) (int, error) {
	if err := u.grow(int64(len(p))); err != nil {
		return 0, err
	}
	u.sum.Write(p)
	n, err := u.file.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	return n, err
}

// copyBuffer is how much is read and written at once.
const copyBuffer = 1 << 20

// receive writes all of r to the file and checks it.
func (u *upload) receive(ctx context.Context, r io.Reader) (npy.Header, error) {
	f, err := os.OpenFile(u.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return npy.Header{}, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	u.file = f
	in := bufio.NewReaderSize(readerContext{ctx, r}, copyBuffer)
	// The header is looked at before the rest is asked for.
	header, err := npy.ParseHeader(io.TeeReader(in, u))
	if err != nil {
		return header, formatFault(err)
	}
	if _, err := io.CopyBuffer(onlyWriter{u}, onlyReader{in}, make([]byte, copyBuffer)); err != nil {
		return header, err
	}
	if err := header.CheckSize(u.bytes); err != nil {
		return header, formatFault(err)
	}
	if err := f.Sync(); err != nil {
		return header, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	return header, nil
}

// formatFault makes a fault of what is wrong with the file, and leaves other errors alone.
func formatFault(err error) error {
	if errors.Is(err, npy.ErrFormat) {
		return job.Faultf("", "%v", err)
	}
	return err
}

// end closes the file, and removes it unless it was kept.
func (u *upload) end() {
	if u.file != nil {
		_ = u.file.Close() // it was synced, or is removed
	}
	if u.kept {
		return
	}
	_ = os.Remove(u.path) // what stays is removed at the next start
	u.store.mu.Lock()
	u.store.used[u.tenant] -= u.bytes
	u.store.mu.Unlock()
}

// onlyReader and onlyWriter keep io.CopyBuffer from finding shortcuts around the buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// readerContext ends a read when its context does.
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
