// Package array keeps the arrays that clients upload: .npy files in a directory, by tenant and name.
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
}

// Store is a directory of arrays:
//
//	<dir>/<tenant>/<name>.json   what is known of an array; written last, by rename: it makes the array exist
//	<dir>/<tenant>/<id>.npy      its bytes, as they were uploaded
//
// A tenant's directory is its name behind "t-", so that no name is special.
type Store struct {
	cfg Config

	mu     sync.Mutex
	arrays map[key]*entry
	used   map[string]int64 // bytes by tenant, uploads under way included
}

type key struct{ tenant, name string }

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
	s := &Store{cfg: cfg, arrays: make(map[key]*entry), used: make(map[string]int64)}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
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
		s.arrays[key{tenant, e.Name}] = e
		s.used[tenant] += e.Bytes
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
	e, ok := s.arrays[key{tenant, name}]
	if !ok {
		return job.Array{}, job.ErrArrayNotFound
	}
	return e.describe(), nil
}

func (e *entry) describe() job.Array {
	return job.Array{
		Name: e.Name, DType: dtypeName(e.header.Type), Shape: e.header.Shape, Fortran: e.header.Fortran,
		BigEndian: e.header.BigEndian, Bytes: e.Bytes, SHA256: e.SHA256, CreatedAt: e.Created, InUse: e.refs > 0,
	}
}

// dtypeName is what NumPy calls a type.
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

// List describes at most limit arrays of a tenant by name, those behind after.
func (s *Store) List(_ context.Context, tenant, after string, limit int) ([]job.Array, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []job.Array
	for k, e := range s.arrays {
		if k.tenant == tenant && k.name > after {
			list = append(list, e.describe())
		}
	}
	slices.SortFunc(list, func(a, b job.Array) int { return strings.Compare(a.Name, b.Name) })
	return list[:min(limit, len(list))], nil
}

// Delete removes an array; job.ErrArrayNotFound, job.ErrArrayInUse.
func (s *Store) Delete(_ context.Context, tenant, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{tenant, name}
	e, ok := s.arrays[k]
	switch {
	case !ok:
		return job.ErrArrayNotFound
	case e.refs > 0:
		return job.ErrArrayInUse
	}
	dir := s.dir(tenant)
	if err := errors.Join(os.Remove(filepath.Join(dir, name+".json")), syncDir(dir)); err != nil {
		return fmt.Errorf("%w: delete array: %w", job.ErrStorage, err)
	}
	delete(s.arrays, k)
	s.used[tenant] -= e.Bytes
	// Without its record the file is nobody's; what cannot be removed now is at the next start.
	_ = os.Remove(filepath.Join(dir, e.File))
	return nil
}

// A Handle is an array in use. It must be closed, once.
type Handle struct {
	Header npy.Header
	SHA256 string
	store  *Store
	entry  *entry
}

// Acquire opens an array for a job; job.ErrArrayNotFound, or an error of the disk.
func (s *Store) Acquire(tenant, name string) (*Handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.arrays[key{tenant, name}]
	if !ok {
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
	return &Handle{Header: e.header, SHA256: e.SHA256, store: s, entry: e}, nil
}

// ReadAt implements io.ReaderAt.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) { return h.entry.file.ReadAt(p, off) }

// Close gives the array back.
func (h *Handle) Close() error {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	e := h.entry
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
