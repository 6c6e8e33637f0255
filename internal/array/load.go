package array

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gather/internal/job"
	"gather/internal/npy"
	"gather/internal/reads"
)

// load reads the arrays of one tenant and removes files without a record. An unreadable array is logged and damaged,
// and does not prevent the start.
func (s *Store) load(tenant string) {
	dir, t := s.dir(tenant), s.tenant(tenant)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.broken = err
		s.log.Error("the arrays of a tenant cannot be read", "tenant", tenant, "error", err)
		return
	}
	t.made = true
	owned := make(map[string]bool)
	whole := true // every record is readable
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok || CheckName(name) != nil {
			continue
		}
		e := new(entry)
		if err := e.read(dir, name); err != nil {
			whole = false
			e = &entry{record: record{Name: name}, damaged: err}
			s.log.Error("the record of a stored array cannot be read", "tenant", tenant, "array", name, "error", err)
		} else if e.damaged != nil {
			s.log.Error("a stored array is damaged", "tenant", tenant, "array", name, "file", e.File, "error", e.damaged)
		}
		owned[f.Name()], owned[e.File] = true, true
		t.arrays[name] = e
		t.used += e.Bytes
	}
	for _, f := range files {
		// The file of an unreadable record is unknown: then remove none.
		if owned[f.Name()] || !whole && strings.HasSuffix(f.Name(), ".npy") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			s.log.Warn("a file that belongs to no array cannot be removed", "tenant", tenant, "error", err)
		}
	}
}

// maxRecord bounds the size of a record, for an array of 16 TiB.
const maxRecord = 2 << 30

// read reads the record of an array and checks its file.
func (e *entry) read(dir, name string) error {
	f, err := reads.Open(filepath.Join(dir, name+".json"))
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &e.record); err != nil {
		return fmt.Errorf("%w: %w", job.ErrCorrupt, err)
	}
	if e.Version != recordVersion {
		return fmt.Errorf("%w: the record has version %d; this release reads %d", job.ErrVersion, e.Version, recordVersion)
	}
	if e.Name != name || filepath.Base(e.File) != e.File || !strings.HasSuffix(e.File, ".npy") {
		return fmt.Errorf("%w: the record belongs to another array", job.ErrCorrupt)
	}
	e.header, e.damaged = readHeader(filepath.Join(dir, e.File), e.Bytes)
	e.sums.Store(newChecksums(e.CRC32C, e.Bytes))
	return nil
}

// readHeader reads the header of a file with an expected size. It also returns the header of a file of another size,
// and the zero header if it is unreadable.
func readHeader(path string, bytes int64) (npy.Header, error) {
	f, err := reads.Open(path)
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
	if err == nil && info.Size() != bytes {
		err = fmt.Errorf("%w: it has %d bytes, not %d", job.ErrCorrupt, info.Size(), bytes)
	}
	return h, err
}
