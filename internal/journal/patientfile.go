package journal

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A patientFile is a log, a manifest or another small file that Pebble cannot do without. It is written from front to
// back, by one goroutine at a time.
type patientFile struct {
	vfs.File
	p        *patientFS
	name     string
	category vfs.DiskWriteCategory
	// forced takes what was forced of a log or a manifest, and number names it; nil for other files.
	forced *forced
	number uint64
	// size is how much was written, synced how much of it the disk has confirmed; tail is what lies between.
	size, synced int64
	tail         []byte
	// reopened tells that File is a new handle, which writes at given offsets only.
	reopened bool
}

// maxTail is the largest buffer for the tail that is kept after a sync.
const maxTail = 1 << 20

// errLost: the file no longer has what the disk had confirmed.
var errLost = errors.New("the file has lost data")

// Write implements io.Writer.
func (f *patientFile) Write(b []byte) (int, error) {
	if f.p.off.Load() {
		return len(b), nil
	}
	f.tail = append(f.tail, b...)
	var err error
	if f.reopened {
		_, err = f.WriteAt(b, f.size)
	} else {
		_, err = f.File.Write(b)
	}
	f.size += int64(len(b))
	if err != nil {
		f.p.wait(err, f.repair)
	}
	return len(b), nil
}

// repair opens the file anew and writes again what is not confirmed.
func (f *patientFile) repair() error {
	nf, err := f.p.FS.OpenReadWrite(f.name, f.category)
	if err != nil {
		return err
	}
	info, err := nf.Stat()
	if err == nil && info.Size() < f.synced {
		err = fmt.Errorf("%w: %s: %d bytes of %d", errLost, f.name, info.Size(), f.synced)
	}
	if err == nil && len(f.tail) > 0 {
		_, err = nf.WriteAt(f.tail, f.synced)
	}
	if err != nil {
		return errors.Join(err, nf.Close())
	}
	// The old handle has nothing that the new one does not know.
	_ = f.File.Close()
	f.File, f.reopened = nf, true
	return nil
}

// SyncData implements vfs.File.
func (f *patientFile) SyncData() error {
	if f.p.off.Load() {
		return nil
	}
	if err := f.File.SyncData(); err != nil {
		if !f.p.wait(err, f.repairAndSync) {
			return nil
		}
	}
	f.confirmed()
	return nil
}

func (f *patientFile) repairAndSync() error {
	if err := f.repair(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *patientFile) confirmed() {
	f.synced = f.size
	if f.forced != nil {
		f.forced.set(f.number, uint64(f.synced))
	}
	f.tail = f.tail[:0]
	if cap(f.tail) > maxTail {
		f.tail = nil
	}
}

// Sync implements vfs.File. Pebble asks for no more than the data, and the size, of these files.
func (f *patientFile) Sync() error { return f.SyncData() }

// SyncTo implements vfs.File. It is a hint.
func (f *patientFile) SyncTo(length int64) (bool, error) {
	if f.p.off.Load() {
		return false, nil
	}
	if _, err := f.File.SyncTo(length); err != nil {
		// A failed hint may have used up the one report of a lost write: the next sync must not trust the kernel.
		f.p.do(f.repair)
	}
	return false, nil
}

// Preallocate implements vfs.File. It is a hint.
func (f *patientFile) Preallocate(offset, length int64) error {
	if !f.p.off.Load() {
		_ = f.File.Preallocate(offset, length)
	}
	return nil
}

// Stat implements vfs.File.
func (f *patientFile) Stat() (vfs.FileInfo, error) {
	var info vfs.FileInfo
	on := f.p.do(func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	if !on {
		return voidInfo{name: f.name}, nil
	}
	return info, nil
}

// Close implements io.Closer. What matters was synced before.
func (f *patientFile) Close() error {
	_ = f.File.Close()
	return nil
}
