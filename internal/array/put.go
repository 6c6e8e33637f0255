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
	"io/fs"
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
// *job.Rejection; job.ErrArrayInUse; job.ErrStorage, after which the array may be the new one; the error of r.
func (s *Store) Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error) {
	if err := checkName(name); err != nil {
		return job.Array{}, false, err
	}
	if s.cfg.MaxBytes > 0 && o.Bytes > s.cfg.MaxBytes {
		return job.Array{}, false, s.tooLarge()
	}
	if err := s.ready(); err != nil {
		return job.Array{}, false, err
	}
	dir, err := s.makeDir(tenant)
	if err != nil {
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

// ready returns nil, or a job.ErrStorage when nothing may be written now.
func (s *Store) ready() error {
	if s.cfg.Ready == nil {
		return nil
	}
	err := s.cfg.Ready()
	if err != nil && !errors.Is(err, job.ErrStorage) {
		err = fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	return err
}

// makeDir returns the directory of a tenant, which it makes if it has to.
func (s *Store) makeDir(tenant string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, t := s.dir(tenant), s.tenant(tenant)
	if t.made {
		return dir, nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := s.sync(s.cfg.Dir); err != nil {
		return "", err
	}
	t.made = true
	return dir, nil
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
	t := s.tenant(tenant)
	old := t.arrays[e.Name]
	if old != nil && old.refs > 0 {
		return job.Array{}, false, job.ErrArrayInUse
	}
	if err := replaceFile(filepath.Join(dir, e.Name+".json"), data); err != nil {
		return job.Array{}, false, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	t.arrays[e.Name] = e
	up.kept = true
	if old != nil {
		t.used -= old.Bytes
	}
	if err := s.sync(dir); err != nil {
		// A crash may bring the old record back, so its file stays until the next start.
		return job.Array{}, false, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	if old != nil {
		_ = os.Remove(filepath.Join(dir, old.File)) // nobody's now; what stays is removed at the next start
	}
	return e.describe(), old == nil, nil
}

// replaceFile writes a file so that a crash leaves the old one or the new one; which of them is certain when its directory
// was synced.
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
	asked  int64 // the bytes when the store was last asked whether it may write
	kept   bool
}

// readyEvery is after how many bytes an upload asks again whether it may write.
const readyEvery = 8 << 20

// grow counts n more bytes before they are written.
func (u *upload) grow(n int64) error {
	s := u.store
	if u.bytes+n >= u.asked+readyEvery {
		if err := s.ready(); err != nil {
			return err
		}
		u.asked = u.bytes + n
	}
	if s.cfg.MaxBytes > 0 && u.bytes+n > s.cfg.MaxBytes {
		return s.tooLarge()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenant(u.tenant)
	if s.cfg.TenantBytes > 0 && t.used+n > s.cfg.TenantBytes {
		return &job.Rejection{
			Err: job.ErrQuota, Reason: "arrays",
			Detail: fmt.Sprintf("your arrays may have %d bytes together; delete one", s.cfg.TenantBytes),
		}
	}
	t.used += n
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
	u.store.tenant(u.tenant).used -= u.bytes
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
