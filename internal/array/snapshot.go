package array

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"gather/internal/job"
	"gather/internal/reads"
)

// A Snapshot is the arrays of all tenants at one instant. Their files stay on disk until it is closed, even if arrays
// are replaced or deleted.
type Snapshot struct {
	store  *Store
	arrays []SavedArray
}

// A SavedArray is one array of a snapshot.
type SavedArray struct {
	Tenant, Name string
	// Err is why the array is unreadable, because of a damaged file or record; nil otherwise.
	Err error

	store  *Store
	entry  *entry
	record record
}

// A SavedFile is one of the two files of an array; a store with both has the array.
type SavedFile struct {
	// Path is relative to the directory of the store, with slashes.
	Path  string
	Bytes int64
	// SHA256 is the hexadecimal checksum of the content; "" for a record.
	SHA256 string
	// Open opens the file.
	Open func() (io.ReadCloser, error)
}

// Snapshot returns the current arrays. It must be closed.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &Snapshot{store: s}
	for tenant, t := range s.tenants {
		for _, e := range t.arrays {
			a := SavedArray{Tenant: tenant, Name: e.Name, Err: e.damaged, store: s, entry: e, record: e.record}
			n.arrays = append(n.arrays, a)
		}
	}
	s.snapshots++
	return n
}

// Arrays returns the arrays in any order.
func (n *Snapshot) Arrays() []SavedArray { return n.arrays }

// Close removes the files of arrays deleted meanwhile.
func (n *Snapshot) Close() {
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshots--; s.snapshots > 0 {
		return
	}
	for _, name := range s.dropped {
		_ = os.Remove(name) // otherwise at the next start
	}
	s.dropped = nil
}

// Dir returns the directory of the array's tenant, relative to the directory of the store.
func (a *SavedArray) Dir() string { return tenantDir(a.Tenant) }

// Files returns the files of an array without an Err in the order in which they should be written: the record, which
// makes the array exist, is last.
func (a *SavedArray) Files() ([2]SavedFile, error) {
	data, err := json.Marshal(a.record)
	if err != nil {
		return [2]SavedFile{}, fmt.Errorf("record of array %s: %w", a.Name, err)
	}
	dir := a.Dir()
	return [2]SavedFile{
		{Path: path.Join(dir, a.record.File), Bytes: a.record.Bytes, SHA256: a.record.SHA256, Open: func() (io.ReadCloser, error) {
			return reads.Open(filepath.Join(a.store.dir(a.Tenant), a.record.File))
		}},
		{Path: path.Join(dir, a.Name+".json"), Bytes: int64(len(data)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}},
	}, nil
}

// Damaged marks the array as damaged, because its file differs from the stored one.
func (a *SavedArray) Damaged(reason string) {
	a.store.damage(a.entry, fmt.Errorf("%w: %s", job.ErrCorrupt, reason))
}
