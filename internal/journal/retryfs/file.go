package retryfs

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A retryFile is a log, a manifest or another small file without which Pebble cannot continue. It is written
// sequentially, by one goroutine at a time.
type retryFile struct {
	vfs.File
	p        *FS
	name     string
	category vfs.DiskWriteCategory
	// record receives the number and the synced size of a log or a manifest; nil for other files.
	record *synced
	number uint64
	// size is the number of bytes written, synced the number of bytes that the disk has confirmed.
	size, synced int64
	// tail holds the bytes that are not confirmed.
	tail []byte
	// reopened is true when File is a new handle, which writes at given offsets only.
	reopened bool
}

// maxTail is the largest buffer for the tail that is kept after a sync.
const maxTail = 1 << 20

// errLost means that bytes are missing that the disk had confirmed.
var errLost = errors.New("the file has lost data")

// Write implements io.Writer.
func (f *retryFile) Write(b []byte) (int, error) {
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
		f.p.retry(err, f.repair)
	}
	return len(b), nil
}

// repair opens a new handle and writes the unconfirmed tail again.
func (f *retryFile) repair() error {
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
	// All unconfirmed bytes are written through the new handle.
	_ = f.File.Close()
	f.File, f.reopened = nf, true
	return nil
}

// SyncData implements vfs.File.
func (f *retryFile) SyncData() error {
	if f.p.off.Load() {
		return nil
	}
	if err := f.File.SyncData(); err != nil {
		if !f.p.retry(err, f.repairAndSync) {
			return nil
		}
	}
	f.confirmed()
	return nil
}

func (f *retryFile) repairAndSync() error {
	if err := f.repair(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *retryFile) confirmed() {
	f.synced = f.size
	if f.record != nil {
		f.record.set(f.number, uint64(f.synced))
	}
	f.tail = f.tail[:0]
	if cap(f.tail) > maxTail {
		f.tail = nil
	}
}

// Sync implements vfs.File. Pebble needs only the data and the size of these files.
func (f *retryFile) Sync() error { return f.SyncData() }

// SyncTo implements vfs.File. It is a hint.
func (f *retryFile) SyncTo(length int64) (bool, error) {
	if f.p.off.Load() {
		return false, nil
	}
	if _, err := f.File.SyncTo(length); err != nil {
		// The kernel reports a lost write once, and this call may have consumed the report.
		f.p.do(f.repair)
	}
	return false, nil
}

// Preallocate implements vfs.File. It is a hint.
func (f *retryFile) Preallocate(offset, length int64) error {
	if !f.p.off.Load() {
		_ = f.File.Preallocate(offset, length)
	}
	return nil
}

// Stat implements vfs.File.
func (f *retryFile) Stat() (vfs.FileInfo, error) {
	var info vfs.FileInfo
	on := f.p.do(func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	if !on {
		return discardInfo{name: f.name}, nil
	}
	return info, nil
}

// Close implements io.Closer. Pebble syncs before it closes.
func (f *retryFile) Close() error {
	_ = f.File.Close()
	return nil
}
