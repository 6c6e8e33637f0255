package array

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"gather/internal/job"
)

// Put reads an .npy file from r and stores it under a name, replacing an existing array. It reports whether the name is
// new.
//
// Options.Bytes is the declared length of the upload or -1; Options.SHA256 the declared checksum or "". Errors:
// *fields.Errors for an invalid name, header, size or checksum; job.ErrTooLarge; job.ErrQuota as a *job.Rejection;
// job.ErrArrayInUse; job.ErrPrecondition; job.ErrStorage, after which the array may be the new one, also as a
// *job.Rejection; the error of r.
func (s *Store) Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error) {
	if err := s.admit(tenant, name, o); err != nil {
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
	up := &upload{store: s, tenant: tenant, path: filepath.Join(dir, id.String()+".npy")}
	defer up.end()
	content, err := up.receive(ctx, r, o)
	if err != nil {
		return job.Array{}, false, err
	}
	rec := record{
		Version: recordVersion, Name: name, File: filepath.Base(up.path), Bytes: content.Bytes,
		SHA256: content.SHA256, Created: time.Now().UTC(), CRC32C: up.sums.close(),
	}
	e := &entry{record: rec, header: content.Header}
	e.sums.Store(newChecksums(rec.CRC32C, rec.Bytes))
	return s.commit(tenant, up, e, o.Precondition)
}

// admit returns why an upload is rejected before any of it is read.
func (s *Store) admit(tenant, name string, o job.ArrayUpload) error {
	if err := s.limits.Admit(name, o); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(tenant, name)
	if err != nil && !errors.Is(err, job.ErrArrayNotFound) {
		return err
	}
	if err := o.Precondition.Check(e.tag()); err != nil {
		return err
	}
	return s.checkSpare(max(0, o.Bytes))
}

// checkSpare returns a job.ErrStorage unless the disk has space for more bytes, counting the bytes being written. s.mu
// is held.
func (s *Store) checkSpare(bytes int64) error {
	if s.cfg.Spare == nil {
		return nil
	}
	if spare := s.cfg.Spare() - s.writing; bytes > spare {
		return &job.Rejection{
			Err: job.ErrStorage, Reason: "arrays", RetryAfter: time.Minute,
			Detail: fmt.Sprintf("the disk has room for %d more bytes of arrays", max(0, spare)),
		}
	}
	return nil
}

// makeDir returns the directory of a tenant, creating it if needed.
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

// commit replaces the array with an upload.
func (s *Store) commit(tenant string, up *upload, e *entry, p job.Precondition) (job.Array, bool, error) {
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
	if err := p.Check(old.tag()); err != nil {
		return job.Array{}, false, err
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
		// A crash may restore the old record, so its file stays until the next start.
		return job.Array{}, false, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	if old != nil {
		s.drop(dir, old)
	}
	return e.describe(), old == nil, nil
}

// replaceFile writes a file so that a crash leaves the old or the new one; syncing its directory makes the new one
// durable.
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

// upload is an upload in progress.
type upload struct {
	store  *Store
	tenant string
	path   string
	file   *os.File
	sums   summer
	bytes  int64 // counted toward the tenant
	kept   bool
}

// receive writes all of r to the file.
func (u *upload) receive(ctx context.Context, r io.Reader, o job.ArrayUpload) (Content, error) {
	f, err := os.OpenFile(u.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Content{}, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	u.file = f
	content, err := u.store.limits.Receive(ctx, r, o, u)
	if err != nil {
		return content, err
	}
	if err := f.Sync(); err != nil {
		return content, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	return content, nil
}

// Write implements io.Writer for the bytes of the client. It counts them before it writes them.
func (u *upload) Write(p []byte) (int, error) {
	if err := u.grow(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := u.file.Write(p)
	u.store.mu.Lock()
	u.store.writing -= int64(len(p))
	u.store.mu.Unlock()
	if err != nil {
		return n, fmt.Errorf("%w: %w", job.ErrStorage, err)
	}
	return u.sums.Write(p)
}

// grow counts n more bytes before they are written.
func (u *upload) grow(n int64) error {
	s := u.store
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenant(u.tenant)
	if err := s.limits.CheckQuota(t.used + n); err != nil {
		return err
	}
	if err := s.checkSpare(n); err != nil {
		return err
	}
	t.used += n
	u.bytes += n
	s.writing += n
	return nil
}

// end closes the file, and removes it unless it was committed.
func (u *upload) end() {
	if u.file != nil {
		_ = u.file.Close() // it was synced, or is removed
	}
	if u.kept {
		return
	}
	_ = os.Remove(u.path) // otherwise at the next start
	u.store.mu.Lock()
	u.store.tenant(u.tenant).used -= u.bytes
	u.store.mu.Unlock()
}
