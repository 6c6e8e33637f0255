// Package array stores uploaded arrays: .npy files in a directory, by tenant and name. It also has the parts that a
// cluster's store shares: receiving and validating an upload, and the handle of a job.
//
// Guarantees.
//   - An array appears when all of it is on disk and its header and checksum were verified, or not at all; a crash
//     leaves the old array or the new one.
//   - An upload takes constant memory, and stops as soon as it exceeds a bound.
//   - An array that a job uses does not change and is not deleted; a handle keeps it open.
//   - Reads and views have the uploaded bytes: blocks are checked against checksums on their first use, and arrays of
//     versions without checksums against their SHA-256, by Scrub. A damaged array fails only its own readers.
//   - Concurrent uploads leave disk space free.
//   - Names and tenants cannot reach outside of the directory.
//
// A Store starts no goroutine and is safe for concurrent use; one process owns the directory, under the lock of the
// journal beside it. Disk errors are returned, failed writes wrapped in job.ErrStorage.
package array

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gather/internal/job"
	"gather/internal/mapping"
	"gather/internal/npy"
)

// Config configures a Store.
type Config struct {
	// Dir is created if it does not exist.
	Dir string
	// MaxBytes bounds one array, TenantBytes all arrays of a tenant, including headers; 0 is no bound.
	MaxBytes, TenantBytes int64
	// Ready returns why writes are rejected now, or nil; nil is always ready.
	Ready func() error
	// Spare returns the number of bytes that may be written to the disk now; nil is unlimited.
	Spare func() int64
	// Maps keeps files mapped, so that they are read in place; nil reads copies.
	Maps *mapping.Pool
	// Logger logs damaged arrays; nil discards.
	Logger *slog.Logger
}

// Store is a directory of arrays:
//
//	<dir>/<tenant>/<name>.json   the record of an array; written last, by rename: it makes the array exist
//	<dir>/<tenant>/<id>.npy      its bytes, as they were uploaded
//
// A tenant's directory is its name with the prefix "t-", so that no name is special.
type Store struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	sync   func(dir string) error // syncDir, except in tests

	mu      sync.Mutex
	tenants map[string]*tenantArrays
	writing int64 // bytes of all uploads in progress
	// snapshots is the number of open snapshots; dropped has the deleted files that are kept for them.
	snapshots int
	dropped   []string
}

// tenantArrays are the arrays of a tenant.
type tenantArrays struct {
	arrays map[string]*entry
	used   int64 // bytes, including uploads in progress
	made   bool  // the directory exists on disk
	broken error // error of reading the directory
}

// tenant returns the arrays of a tenant, creating the entry if needed; s.mu is held.
func (s *Store) tenant(name string) *tenantArrays {
	t := s.tenants[name]
	if t == nil {
		t = &tenantArrays{arrays: make(map[string]*entry)}
		s.tenants[name] = t
	}
	return t
}

// find returns an array. Errors: job.ErrArrayNotFound, job.ErrStorage. s.mu is held.
func (s *Store) find(tenant, name string) (*entry, error) {
	t := s.tenants[tenant]
	switch {
	case t == nil:
		return nil, job.ErrArrayNotFound
	case t.broken != nil:
		return nil, fmt.Errorf("%w: %w", job.ErrStorage, t.broken)
	case t.arrays[name] == nil:
		return nil, job.ErrArrayNotFound
	}
	return t.arrays[name], nil
}

// entry is an existing array.
type entry struct {
	record
	header npy.Header
	sums   atomic.Pointer[checksums] // nil without checksums
	file   *os.File                  // while refs > 0
	refs   int                       // open handles
	// damaged is the error of the file or the record, or nil; a damaged array can be replaced and deleted.
	damaged error
}

// unreadable reports whether the array cannot be described.
func (e *entry) unreadable() bool { return e.damaged != nil && e.header.Type.Kind == 0 }

// record is the content of the .json file.
type record struct {
	Version int       `json:"version"`
	Name    string    `json:"name"`
	File    string    `json:"file"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
	// CRC32C are the checksums of the file's blocks; arrays of early versions have none.
	CRC32C []byte `json:"crc32c,omitempty"`
}

const recordVersion = 1

// Open opens or creates the directory, removes uploads that a crash interrupted, and checks the header and size of
// every array. Damaged arrays are not errors.
func Open(cfg Config) (*Store, error) {
	s := &Store{
		cfg: cfg, limits: Limits{MaxBytes: cfg.MaxBytes, TenantBytes: cfg.TenantBytes, Ready: cfg.Ready},
		log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), sync: syncDir, tenants: make(map[string]*tenantArrays),
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	// Sync the directories, because after a crash their entries may be only in memory.
	if err := errors.Join(s.sync(filepath.Dir(cfg.Dir)), s.sync(cfg.Dir)); err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	tenants, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	for _, d := range tenants {
		if tenant, ok := strings.CutPrefix(d.Name(), "t-"); ok {
			s.load(tenant)
		}
	}
	return s, nil
}

func (s *Store) dir(tenant string) string { return filepath.Join(s.cfg.Dir, tenantDir(tenant)) }

func tenantDir(tenant string) string { return "t-" + tenant }

// Get returns the description of an array. Errors: job.ErrArrayNotFound, job.ErrArrayDamaged, job.ErrStorage.
func (s *Store) Get(_ context.Context, tenant, name string) (job.Array, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(tenant, name)
	switch {
	case err != nil:
		return job.Array{}, err
	case e.unreadable():
		return job.Array{}, job.ErrArrayDamaged
	}
	return e.describe(), nil
}

func (e *entry) describe() job.Array {
	if e.unreadable() {
		return job.Array{Name: e.Name, Damaged: true, Unreadable: true}
	}
	c := Content{Header: e.header, Bytes: e.Bytes, SHA256: e.SHA256}
	a := c.Describe(e.Name, e.Created, e.refs > 0)
	a.Damaged = e.damaged != nil
	return a
}

// Totals returns the number of arrays of all tenants and their total size.
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

// Damaged returns the number of arrays known to be damaged.
func (s *Store) Damaged() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tenants {
		for _, e := range t.arrays {
			if e.damaged != nil {
				n++
			}
		}
	}
	return n
}

// List returns at most limit arrays of a tenant with names after a name, in order. Errors: job.ErrStorage.
func (s *Store) List(_ context.Context, tenant, after string, limit int) ([]job.Array, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[tenant]
	if t == nil {
		return nil, nil
	}
	if t.broken != nil {
		return nil, fmt.Errorf("%w: %w", job.ErrStorage, t.broken)
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

// Delete removes an array if the precondition holds. Errors: job.ErrArrayNotFound, job.ErrArrayInUse,
// job.ErrPrecondition, job.ErrStorage. After job.ErrStorage the array may be deleted, and exist again after a crash.
func (s *Store) Delete(_ context.Context, tenant, name string, p job.Precondition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(tenant, name)
	switch {
	case err != nil:
		return err
	case e.refs > 0:
		return job.ErrArrayInUse
	}
	if err := p.Check(e.tag()); err != nil {
		return err
	}
	dir := s.dir(tenant)
	if err := os.Remove(filepath.Join(dir, name+".json")); err != nil {
		return fmt.Errorf("%w: delete array: %w", job.ErrStorage, err)
	}
	t := s.tenants[tenant]
	delete(t.arrays, name)
	t.used -= e.Bytes
	if err := s.sync(dir); err != nil {
		// A crash may restore the record, so its file stays until the next start.
		return fmt.Errorf("%w: delete array: %w", job.ErrStorage, err)
	}
	s.drop(dir, e)
	return nil
}

// drop removes the file of a deleted array, or leaves it to the next start. s.mu is held.
func (s *Store) drop(dir string, e *entry) {
	name := filepath.Join(dir, e.File)
	s.cfg.Maps.Forget(name)
	switch {
	case e.File == "": // the record could not be read
	case s.snapshots > 0:
		s.dropped = append(s.dropped, name)
	default:
		_ = os.Remove(name)
	}
}

// noTag is the entity tag of an array with an unknown SHA-256, which no client has.
const noTag = "?"

// tag returns the entity tag of an array; "" for no array.
func (e *entry) tag() string {
	if e == nil {
		return ""
	}
	return cmp.Or(e.SHA256, noTag)
}

// syncDir forces renames and removals in a directory to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
