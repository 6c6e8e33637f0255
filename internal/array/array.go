// Package array keeps the arrays that clients upload: .npy files in a directory, by tenant and name. What any other place
// for them has in common with it is here as well: how an upload is received and checked, and what a job holds of an array.
//
// Guarantees.
//   - An array appears when all of it is on disk and its header and checksum were verified, or not at all; a crash leaves
//     the old array or the new one.
//   - An upload takes constant memory, whatever its size, and is stopped as soon as it exceeds a bound.
//   - An array that a job uses does not change and is not deleted; a handle keeps it open.
//   - Names and tenants cannot reach outside of the directory.
//
// A Store starts no goroutine and is safe for concurrent use; one process has the directory, under the lock of the journal
// beside it. Errors of the disk are returned, wrapped in job.ErrStorage where a write failed.
package array

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gather/internal/job"
	"gather/internal/npy"
)

// Config is how a Store is set up.
type Config struct {
	// Dir is made if it does not exist.
	Dir string
	// MaxBytes bounds one array, TenantBytes all arrays of a tenant, with their headers; 0 is no bound.
	MaxBytes, TenantBytes int64
	// Ready returns nil, or why nothing may be written now; nil is always ready.
	Ready func() error
}

// Store is a directory of arrays:
//
//	<dir>/<tenant>/<name>.json   what is known of an array; written last, by rename: it makes the array exist
//	<dir>/<tenant>/<id>.npy      its bytes, as they were uploaded
//
// A tenant's directory is its name behind "t-", so that no name is special.
type Store struct {
	cfg    Config
	limits Limits
	sync   func(dir string) error // syncDir, but in tests

	mu      sync.Mutex
	tenants map[string]*tenantArrays
}

// tenantArrays is the arrays of a tenant.
type tenantArrays struct {
	arrays map[string]*entry
	used   int64 // bytes, uploads under way included
	made   bool  // the directory is there, and on disk
}

// tenant finds or makes what is known of a tenant; s.mu is held.
func (s *Store) tenant(name string) *tenantArrays {
	t := s.tenants[name]
	if t == nil {
		t = &tenantArrays{arrays: make(map[string]*entry)}
		s.tenants[name] = t
	}
	return t
}

// find returns an array, or nil; s.mu is held.
func (s *Store) find(tenant, name string) *entry {
	if t := s.tenants[tenant]; t != nil {
		return t.arrays[name]
	}
	return nil
}

// entry is an array that exists.
type entry struct {
	record
	header npy.Header
	file   *os.File // while refs > 0
	refs   int      // handles that are open
	// damaged says what is wrong with the file; such an array can be described, replaced and deleted.
	damaged error
}

// record is what the .json file says.
type record struct {
	Version int       `json:"version"`
	Name    string    `json:"name"`
	File    string    `json:"file"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
}

const recordVersion = 1

// Open opens or makes the directory, forgets uploads that a crash cut off, and looks at the header and size of every
// array.
func Open(cfg Config) (*Store, error) {
	s := &Store{
		cfg: cfg, limits: Limits{MaxBytes: cfg.MaxBytes, TenantBytes: cfg.TenantBytes, Ready: cfg.Ready},
		sync: syncDir, tenants: make(map[string]*tenantArrays),
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	// The directory, and those of tenants, which a crash may have left in memory alone.
	if err := errors.Join(s.sync(filepath.Dir(cfg.Dir)), s.sync(cfg.Dir)); err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	tenants, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	for _, d := range tenants {
		if tenant, ok := strings.CutPrefix(d.Name(), "t-"); ok && d.IsDir() {
			if err := s.load(tenant); err != nil {
				return nil, fmt.Errorf("arrays of tenant %s: %w", tenant, err)
			}
		}
	}
	return s, nil
}

func (s *Store) dir(tenant string) string { return filepath.Join(s.cfg.Dir, "t-"+tenant) }

// load reads the arrays of one tenant and removes files that belong to none.
func (s *Store) load(tenant string) error {
	dir := s.dir(tenant)
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	t := s.tenant(tenant)
	t.made = true
	owned := make(map[string]bool)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		e, err := readEntry(dir, f.Name())
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		owned[f.Name()], owned[e.File] = true, true
		t.arrays[e.Name] = e
		t.used += e.Bytes
	}
	for _, f := range files {
		if !owned[f.Name()] {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func readEntry(dir, name string) (*entry, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	e := new(entry)
	if err := json.Unmarshal(data, &e.record); err != nil {
		return nil, err
	}
	if e.Version != recordVersion {
		return nil, fmt.Errorf("has format version %d; this version reads %d", e.Version, recordVersion)
	}
	if e.Name+".json" != name || filepath.Base(e.File) != e.File {
		return nil, fmt.Errorf("is not the record of an array: %w", job.ErrCorrupt)
	}
	e.header, e.damaged = readHeader(filepath.Join(dir, e.File))
	return e, nil
}

func readHeader(path string) (npy.Header, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return npy.Header{}, fmt.Errorf("%w: it is missing", job.ErrCorrupt)
	}
	if err != nil {
		return npy.Header{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return npy.Header{}, err
	}
	h, err := npy.ParseHeader(f)
	if err == nil {
		err = h.CheckSize(info.Size())
	}
	return h, err
}

// Get describes an array; job.ErrArrayNotFound.
func (s *Store) Get(_ context.Context, tenant, name string) (job.Array, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(tenant, name)
	if e == nil {
		return job.Array{}, job.ErrArrayNotFound
	}
	return e.describe(), nil
}

func (e *entry) describe() job.Array {
	c := Content{Header: e.header, Bytes: e.Bytes, SHA256: e.SHA256}
	return c.Describe(e.Name, e.Created, e.refs > 0)
}

// Totals is how many arrays all tenants have, and how many bytes these have together.
func (s *Store) Totals() (arrays int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tenants {
		arrays += len(t.arrays)
		for _, e := range t.arrays {
			bytes += e.Bytes
		}
	}
	return arrays, bytes
}

// List describes at most limit arrays of a tenant by name, those behind after.
func (s *Store) List(_ context.Context, tenant, after string, limit int) ([]job.Array, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[tenant]
	if t == nil {
		return nil, nil
	}
	var names []string
	for name := range t.arrays {
		if name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = names[:min(limit, len(names))]
	list := make([]job.Array, len(names))
	for i, name := range names {
		list[i] = t.arrays[name].describe()
	}
	return list, nil
}

// Delete removes an array; job.ErrArrayNotFound, job.ErrArrayInUse, job.ErrStorage. The array may be gone after a
// job.ErrStorage, and be there again after a crash.
func (s *Store) Delete(_ context.Context, tenant, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(tenant, name)
	switch {
	case e == nil:
		return job.ErrArrayNotFound
	case e.refs > 0:
		return job.ErrArrayInUse
	}
	dir := s.dir(tenant)
	if err := os.Remove(filepath.Join(dir, name+".json")); err != nil {
		return fmt.Errorf("%w: delete array: %w", job.ErrStorage, err)
	}
	t := s.tenants[tenant]
	delete(t.arrays, name)
	t.used -= e.Bytes
	if err := s.sync(dir); err != nil {
		// A crash may bring the record back, so its file stays until the next start.
		return fmt.Errorf("%w: delete array: %w", job.ErrStorage, err)
	}
	// Without its record the file is nobody's; what cannot be removed now is at the next start.
	_ = os.Remove(filepath.Join(dir, e.File))
	return nil
}

// Acquire opens an array for a job; job.ErrArrayNotFound, or an error of the disk.
func (s *Store) Acquire(_ context.Context, tenant, name string) (*Handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(tenant, name)
	if e == nil {
		return nil, job.ErrArrayNotFound
	}
	if e.damaged != nil {
		return nil, fmt.Errorf("the stored file is damaged; upload it again: %w", e.damaged)
	}
	if e.refs == 0 {
		f, err := os.Open(filepath.Join(s.dir(tenant), e.File))
		if err != nil {
			return nil, fmt.Errorf("open array: %w", err)
		}
		e.file = f
	}
	e.refs++
	return &Handle{
		Header: e.header, SHA256: e.SHA256, Use: Use(tenant, name, e.SHA256), Reader: &fileReader{store: s, entry: e},
	}, nil
}

// fileReader is a Reader of the directory.
type fileReader struct {
	store *Store
	entry *entry
}

// ReadAtContext implements Reader.
func (r *fileReader) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return r.entry.file.ReadAt(p, off)
}

// Close implements Reader.
func (r *fileReader) Close() error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	e := r.entry
	e.refs--
	if e.refs > 0 {
		return nil
	}
	f := e.file
	e.file = nil
	return f.Close()
}

// syncDir forces renames and removals in a directory to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
