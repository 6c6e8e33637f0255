package journal

import (
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// patientFS is the file system that Pebble sees. Methods that are not here pass through: they only read, or are used
// only while opening. So do all for files outside of the journal's directory, which are those of a checkpoint: its errors
// are for the caller.
type patientFS struct {
	vfs.FS
	*patience
	// dir is the directory of the journal, as PathJoin writes it.
	dir string
	// log and manifest are the files of their kind that were last forced.
	log, manifest forced
}

// forced is the number of a file, and how many of its bytes are forced to disk.
type forced struct {
	mu           sync.Mutex
	number, size uint64
}

func (f *forced) set(number, size uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number, f.size = number, size
}

func (f *forced) get() (number, size uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.number, f.size
}

// outside reports whether a file is none of the journal's own.
func (p *patientFS) outside(name string) bool { return p.PathDir(name) != p.dir }

// isTable reports whether a file is one that Pebble can do without, and write again.
func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// Create implements vfs.FS.
func (p *patientFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if p.outside(name) {
		return p.FS.Create(name, category)
	}
	if p.off.Load() {
		return voidFile{name: name}, nil
	}
	if isTable(name) {
		f, err := p.FS.Create(name, category)
		if err == nil {
			return &tableFile{File: f, p: p.patience}, nil
		}
		if err = p.impatient(err); err == nil {
			return voidFile{name: name}, nil
		}
		return nil, err
	}
	var f vfs.File
	on := p.do(func() (err error) {
		f, err = p.FS.Create(name, category)
		return err
	})
	return p.file(f, name, category, on), nil
}

func (p *patientFS) file(f vfs.File, name string, category vfs.DiskWriteCategory, on bool) vfs.File {
	if !on {
		return voidFile{name: name}
	}
	pf := &patientFile{File: f, p: p, name: name, category: category}
	base := p.PathBase(name)
	if number, ok := strings.CutSuffix(base, ".log"); ok {
		pf.forced = &p.log
		pf.number, _ = strconv.ParseUint(number, 10, 64)
	} else if number, ok := strings.CutPrefix(base, "MANIFEST-"); ok {
		pf.forced = &p.manifest
		pf.number, _ = strconv.ParseUint(number, 10, 64)
	}
	return pf
}

// ReuseForWrite implements vfs.FS. The old file of a failed try may already bear the new name.
func (p *patientFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	var f vfs.File
	on := p.do(func() (err error) {
		f, err = p.FS.ReuseForWrite(oldname, newname, category)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = p.FS.OpenReadWrite(newname, category)
		}
		return err
	})
	return p.file(f, newname, category, on), nil
}

// OpenDir implements vfs.FS.
func (p *patientFS) OpenDir(name string) (vfs.File, error) {
	f, err := p.FS.OpenDir(name)
	if err != nil || p.PathJoin(name) != p.dir {
		return f, err
	}
	return &patientDir{File: f, p: p.patience}, nil
}

// Rename implements vfs.FS.
func (p *patientFS) Rename(oldname, newname string) error {
	if p.outside(newname) {
		return p.FS.Rename(oldname, newname)
	}
	p.do(func() error { return p.FS.Rename(oldname, newname) })
	return nil
}

// Remove implements vfs.FS. Pebble lives with files that it cannot remove.
func (p *patientFS) Remove(name string) error {
	if p.off.Load() {
		return nil
	}
	return p.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (p *patientFS) RemoveAll(name string) error {
	if p.off.Load() {
		return nil
	}
	return p.FS.RemoveAll(name)
}

// Link implements vfs.FS.
func (p *patientFS) Link(oldname, newname string) error {
	if p.off.Load() {
		return nil
	}
	return p.FS.Link(oldname, newname)
}

// OpenReadWrite implements vfs.FS.
func (p *patientFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if p.off.Load() {
		return voidFile{name: name}, nil
	}
	return p.FS.OpenReadWrite(name, category, opts...)
}

// Unwrap implements vfs.FS.
func (p *patientFS) Unwrap() vfs.FS { return p.FS }

// A patientDir is a directory whose Sync is tried again.
type patientDir struct {
	vfs.File
	p *patience
}

func (d *patientDir) Sync() error {
	d.p.do(d.File.Sync)
	return nil
}

func (d *patientDir) SyncData() error { return d.Sync() }

// A tableFile is written by a flush or a compaction, which Pebble begins anew after an error.
type tableFile struct {
	vfs.File
	p *patience
}

func (f *tableFile) Write(b []byte) (int, error) {
	if f.p.off.Load() {
		return len(b), nil
	}
	n, err := f.File.Write(b)
	if err == nil {
		return n, nil
	}
	return len(b), f.p.impatient(err)
}

func (f *tableFile) Sync() error {
	if f.p.off.Load() {
		return nil
	}
	return f.p.impatient(f.File.Sync())
}

func (f *tableFile) SyncData() error {
	if f.p.off.Load() {
		return nil
	}
	return f.p.impatient(f.File.SyncData())
}

// A voidFile stands for a file that was made after the power had gone off.
type voidFile struct{ name string }

func (voidFile) Close() error                           { return nil }
func (voidFile) Read([]byte) (int, error)               { return 0, io.EOF }
func (voidFile) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (voidFile) Write(b []byte) (int, error)            { return len(b), nil }
func (voidFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (voidFile) Preallocate(int64, int64) error         { return nil }
func (voidFile) Sync() error                            { return nil }
func (voidFile) SyncTo(int64) (bool, error)             { return false, nil }
func (voidFile) SyncData() error                        { return nil }
func (voidFile) Prefetch(int64, int64) error            { return nil }
func (voidFile) Fd() uintptr                            { return vfs.InvalidFd }
func (f voidFile) Stat() (vfs.FileInfo, error)          { return voidInfo(f), nil }

// voidInfo describes a voidFile.
type voidInfo struct{ name string }

func (i voidInfo) Name() string         { return i.name }
func (voidInfo) Size() int64            { return 0 }
func (voidInfo) Mode() fs.FileMode      { return 0 }
func (voidInfo) ModTime() time.Time     { return time.Time{} }
func (voidInfo) IsDir() bool            { return false }
func (voidInfo) Sys() any               { return nil }
func (voidInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
