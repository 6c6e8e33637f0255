package retryfs

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An FS retries failed writes. Methods that it does not override pass through, because they only read or are used only while
// opening.
type FS struct {
	vfs.FS
	*policy
	// dir is the directory of the journal, normalized by PathJoin.
	dir string
	// log and manifest record the last synced file of their kind.
	log, manifest synced
}

// New returns a file system over disk for the journal in dir, without retries until EnableRetries. A failed operation is
// retried each interval; report is called when an operation starts or stops failing, and must not block.
func New(disk vfs.FS, dir string, interval time.Duration, report func()) *FS {
	return &FS{FS: disk, dir: disk.PathJoin(dir), policy: newPolicy(interval, report)}
}

// SyncedLog returns the number of the last synced log, and its synced size in bytes.
func (p *FS) SyncedLog() (number, size uint64) { return p.log.get() }

// SyncedManifest returns the number of the last synced manifest, and its synced size in bytes.
func (p *FS) SyncedManifest() (number, size uint64) { return p.manifest.get() }

// synced is the number of a file and its synced size in bytes.
type synced struct {
	mu           sync.Mutex
	number, size uint64
}

func (f *synced) set(number, size uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number, f.size = number, size
}

func (f *synced) get() (number, size uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.number, f.size
}

// outside reports whether a file is outside of the journal's directory.
func (p *FS) outside(name string) bool { return p.PathDir(name) != p.dir }

// isTable reports whether a file is a table, which Pebble can write again.
func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// Create implements vfs.FS.
func (p *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if p.outside(name) {
		return p.FS.Create(name, category)
	}
	if p.off.Load() {
		return discardFile{name: name}, nil
	}
	if isTable(name) {
		f, err := p.FS.Create(name, category)
		if err == nil {
			return &tableFile{File: f, p: p.policy}, nil
		}
		if err = p.delayedError(err); err == nil {
			return discardFile{name: name}, nil
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

func (p *FS) file(f vfs.File, name string, category vfs.DiskWriteCategory, on bool) vfs.File {
	if !on {
		return discardFile{name: name}
	}
	pf := &retryFile{File: f, p: p, name: name, category: category}
	base := p.PathBase(name)
	if number, ok := strings.CutSuffix(base, ".log"); ok {
		pf.record = &p.log
		pf.number, _ = strconv.ParseUint(number, 10, 64)
	} else if number, ok := strings.CutPrefix(base, "MANIFEST-"); ok {
		pf.record = &p.manifest
		pf.number, _ = strconv.ParseUint(number, 10, 64)
	}
	return pf
}

// ReuseForWrite implements vfs.FS. A failed attempt may have renamed the file already.
func (p *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
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
func (p *FS) OpenDir(name string) (vfs.File, error) {
	f, err := p.FS.OpenDir(name)
	if err != nil || p.PathJoin(name) != p.dir {
		return f, err
	}
	return &retryDir{File: f, p: p.policy}, nil
}

// Rename implements vfs.FS.
func (p *FS) Rename(oldname, newname string) error {
	if p.outside(newname) {
		return p.FS.Rename(oldname, newname)
	}
	p.do(func() error { return p.FS.Rename(oldname, newname) })
	return nil
}

// Remove implements vfs.FS. Pebble tolerates files that it cannot remove.
func (p *FS) Remove(name string) error {
	if p.off.Load() {
		return nil
	}
	return p.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (p *FS) RemoveAll(name string) error {
	if p.off.Load() {
		return nil
	}
	return p.FS.RemoveAll(name)
}

// Link implements vfs.FS.
func (p *FS) Link(oldname, newname string) error {
	if p.off.Load() {
		return nil
	}
	return p.FS.Link(oldname, newname)
}

// OpenReadWrite implements vfs.FS.
func (p *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if p.off.Load() {
		return discardFile{name: name}, nil
	}
	return p.FS.OpenReadWrite(name, category, opts...)
}

// Unwrap implements vfs.FS.
func (p *FS) Unwrap() vfs.FS { return p.FS }

// A retryDir is a directory whose Sync is retried.
type retryDir struct {
	vfs.File
	p *policy
}

func (d *retryDir) Sync() error {
	d.p.do(d.File.Sync)
	return nil
}

func (d *retryDir) SyncData() error { return d.Sync() }

// A tableFile is written by a flush or a compaction, which Pebble repeats after an error.
type tableFile struct {
	vfs.File
	p *policy
}

func (f *tableFile) Write(b []byte) (int, error) {
	if f.p.off.Load() {
		return len(b), nil
	}
	n, err := f.File.Write(b)
	if err == nil {
		return n, nil
	}
	return len(b), f.p.delayedError(err)
}

func (f *tableFile) Sync() error {
	if f.p.off.Load() {
		return nil
	}
	return f.p.delayedError(f.File.Sync())
}

func (f *tableFile) SyncData() error {
	if f.p.off.Load() {
		return nil
	}
	return f.p.delayedError(f.File.SyncData())
}
