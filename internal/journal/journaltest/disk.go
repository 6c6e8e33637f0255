package journaltest

import (
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A SmallDisk is a file system in memory of a fixed size, in bytes. It counts the blocks that files have, written or
// preallocated, as long as they have a name or are open; a write for which no block is free fails with ENOSPC. It is safe
// for concurrent use.
type SmallDisk struct {
	vfs.FS
	mu          sync.Mutex
	size, taken int64 // taken includes others
	others      int64
	files       map[string]*extent
}

// sector is the size of a block, in bytes.
const sector = 4096

// An extent is the blocks of one file.
type extent struct {
	bytes int64
	refs  int // names and open handles
}

// NewSmallDisk returns an empty disk of a size.
func NewSmallDisk(size int64) *SmallDisk {
	return &SmallDisk{FS: vfs.NewMem(), size: size, files: make(map[string]*extent)}
}

// Free returns the number of free bytes.
func (d *SmallDisk) Free() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size - d.taken
}

// Fill takes all free space except left bytes, as other programs would.
func (d *SmallDisk) Fill(left int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := max(0, d.size-d.taken-left)
	d.others, d.taken = d.others+n, d.taken+n
}

// Clean releases the space that Fill took.
func (d *SmallDisk) Clean() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.others, d.taken = 0, d.taken-d.others
}

// GetDiskUsage implements vfs.FS.
func (d *SmallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return vfs.DiskUsage{AvailBytes: uint64(d.size - d.taken), TotalBytes: uint64(d.size), UsedBytes: uint64(d.taken)}, nil
}

// grow allocates blocks of a file up to an offset.
func (d *SmallDisk) grow(e *extent, end int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	more := (end+sector-1)/sector*sector - e.bytes
	if more <= 0 {
		return nil
	}
	if d.taken+more > d.size {
		return syscall.ENOSPC
	}
	d.taken, e.bytes = d.taken+more, e.bytes+more
	return nil
}

func (d *SmallDisk) dropLocked(e *extent) {
	if e == nil {
		return
	}
	if e.refs--; e.refs == 0 {
		d.taken -= e.bytes
	}
}

// open returns the extent of a name, with a reference for a handle. A fresh file replaces one of the same name.
func (d *SmallDisk) open(name string, fresh bool) *extent {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.files[name]
	if e == nil || fresh {
		d.dropLocked(e)
		e = &extent{refs: 1}
		d.files[name] = e
	}
	e.refs++
	return e
}

// Create implements vfs.FS.
func (d *SmallDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return &smallFile{File: f, d: d, e: d.open(name, true)}, nil
}

// Open implements vfs.FS.
func (d *SmallDisk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &smallFile{File: f, d: d, e: d.open(name, false)}, nil
}

// OpenReadWrite implements vfs.FS.
func (d *SmallDisk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, category, opts...)
	if err != nil {
		return nil, err
	}
	return &smallFile{File: f, d: d, e: d.open(name, false)}, nil
}

// ReuseForWrite implements vfs.FS.
func (d *SmallDisk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(oldname, newname, category)
	if err != nil {
		return nil, err
	}
	d.renamed(oldname, newname)
	return &smallFile{File: f, d: d, e: d.open(newname, false)}, nil
}

func (d *SmallDisk) renamed(oldname, newname string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropLocked(d.files[newname])
	d.files[newname] = d.files[oldname]
	delete(d.files, oldname)
}

// Rename implements vfs.FS.
func (d *SmallDisk) Rename(oldname, newname string) error {
	err := d.FS.Rename(oldname, newname)
	if err == nil {
		d.renamed(oldname, newname)
	}
	return err
}

// Link implements vfs.FS.
func (d *SmallDisk) Link(oldname, newname string) error {
	err := d.FS.Link(oldname, newname)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.files[oldname]
	e.refs++
	d.files[newname] = e
	return nil
}

// Remove implements vfs.FS.
func (d *SmallDisk) Remove(name string) error {
	err := d.FS.Remove(name)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.dropLocked(d.files[name])
		delete(d.files, name)
	}
	return err
}

// RemoveAll implements vfs.FS.
func (d *SmallDisk) RemoveAll(name string) error {
	err := d.FS.RemoveAll(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, e := range d.files {
		if n == name || strings.HasPrefix(n, name+"/") {
			d.dropLocked(e)
			delete(d.files, n)
		}
	}
	return err
}

// Unwrap implements vfs.FS.
func (d *SmallDisk) Unwrap() vfs.FS { return d.FS }

// A smallFile is an open file of a SmallDisk.
type smallFile struct {
	vfs.File
	d   *SmallDisk
	e   *extent
	pos int64
}

func (f *smallFile) Write(b []byte) (int, error) {
	if err := f.d.grow(f.e, f.pos+int64(len(b))); err != nil {
		return 0, &fs.PathError{Op: "write", Path: "file", Err: err}
	}
	n, err := f.File.Write(b)
	f.pos += int64(n)
	return n, err
}

func (f *smallFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.d.grow(f.e, off+int64(len(b))); err != nil {
		return 0, &fs.PathError{Op: "write", Path: "file", Err: err}
	}
	return f.File.WriteAt(b, off)
}

func (f *smallFile) Preallocate(off, length int64) error { return f.d.grow(f.e, off+length) }

func (f *smallFile) Close() error {
	err := f.File.Close()
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.dropLocked(f.e)
	return err
}
