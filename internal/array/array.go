// Package array keeps the arrays that clients upload: .npy files in a directory, by tenant and name. It also has the
// parts that a cluster's store shares: receiving and checking an upload, and the handle of a job.
//
// Guarantees.
//   - An array appears when all of it is on disk and its header and checksum were verified, or not at all; a crash leaves the
//     old array or the new one.
//   - An upload takes constant memory, whatever its size, and is stopped as soon as it exceeds a bound.
//   - An array that a job uses does not change and is not deleted; a handle keeps it open.
//   - Reads return the uploaded bytes: blocks are checked against checksums when they are read for the first time, and arrays
//     of versions without checksums against their SHA-256, by Scrub. A damaged array fails its readers alone.
//   - Uploads leave disk space free, however many there are.
//   - Names and tenants cannot reach outside of the directory.
//
// A Store starts no goroutine and is safe for concurrent use; one process has the directory, under the lock of the
// journal beside it. Errors of the disk are returned, wrapped in job.ErrStorage where a write failed.
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
	// Spare returns how many bytes may be written to the disk now; nil is any number.
	Spare func() int64
	// Logger logs damaged arrays; nil discards.
	Logger *slog.Logger
}

// Store is a directory of arrays:
//
//	<dir>/<tenant>/<name>.json   the record of an array; written last, by rename: it makes the array exist
//	<dir>/<tenant>/<id>.npy      its bytes, as they were uploaded
//
// A tenant's directory is its name behind "t-", so that no name is special.
type Store struct {
	cfg    Config
	limits Limits
	log    *slog.Logger
	sync   func(dir string) error // syncDir, but in tests

	mu      sync.Mutex
	tenants map[string]*tenantArrays
	writing int64 // bytes of all uploads that are being written now
	// snapshots counts the open snapshots; dropped has the files that are kept for them.
	snapshots int
	dropped   []string
}

// tenantArrays is the arrays of a tenant.
type tenantArrays struct {
	arrays map[string]*entry
	used   int64 // bytes, uploads under way included
	made   bool  // the directory is there, and on disk
	broken error // why the directory cannot be read
}

// tenant returns the arrays of a tenant, made when missing; s.mu is held.
func (s *Store) tenant(name string) *tenantArrays {
	t := s.tenants[name]
	if t == nil {
		t = &tenantArrays{arrays: make(map[string]*entry)}
		s.tenants[name] = t
	}
	return t
}

// find returns an array; job.ErrArrayNotFound, job.ErrStorage. s.mu is held.
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

// entry is an array that exists.
type entry struct {
	record
	header npy.Header
	sums   atomic.Pointer[checksums] // nil if there are none
	file   *os.File                  // while refs > 0
	refs   int                       // handles that are open
	// damaged is the error of the file or the record, nil if there is none; a damaged array can be replaced and deleted.
	damaged error
}

// unreadable reports whether too little of an array is known to describe it.
func (e *entry) unreadable() bool { return e.damaged != nil && e.header.Type.Kind == 0 }

// record is the content of the .json file.
type record struct {
	Version int       `json:"version"`
	Name    string    `json:"name"`
	File    string    `json:"file"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
	// CRC32C are the checksums of the blocks of the file; arrays of early versions have none.
	CRC32C []byte `json:"crc32c,omitempty"`
}

const recordVersion = 1

// Open opens or makes the directory, removes uploads that a crash interrupted, and checks the header and size of every
// array. Damaged arrays are no error.
func Open(cfg Config) (*Store, error) {
	s := &Store{
		cfg: cfg, limits: Limits{MaxBytes: cfg.MaxBytes, TenantBytes: cfg.TenantBytes, Ready: cfg.Ready},
		log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), sync: syncDir, tenants: make(map[string]*tenantArrays),
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	// The directories, whose entries a crash may have left in memory alone.
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

// Get describes an array; job.ErrArrayNotFound, job.ErrArrayDamaged, job.ErrStorage.
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

// Damaged returns the number of arrays that are known to be damaged.
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

// List describes at most limit arrays of a tenant by name, those behind after; job.ErrStorage.
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

// Delete removes an array, if a precondition holds for it; job.ErrArrayNotFound, job.ErrArrayInUse, job.ErrPrecondition,
// job.ErrStorage. The array may be gone after a job.ErrStorage, and be there again after a crash.
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
		// A crash may bring the record back, so its file stays until the next start.
		return fmt.Errorf("%w: delete array: %w", job.ErrStorage, err)
	}
	s.drop(dir, e)
	return nil
}

// drop removes the file of a deleted array, or leaves it to the next start. s.mu is held.
func (s *Store) drop(dir string, e *entry) {
	switch name := filepath.Join(dir, e.File); {
	case e.File == "": // the record could not be read
	case s.snapshots > 0:
		s.dropped = append(s.dropped, name)
	default:
		_ = os.Remove(name)
	}
}

// noTag is the entity tag of an array whose SHA-256 is not known: one that no client has.
const noTag = "?"

// tag returns the entity tag of an array; "" if there is none.
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
