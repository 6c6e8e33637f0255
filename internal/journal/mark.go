package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/journal/retryfs"
)

// # Forced writes that are missing
//
// Pebble cannot distinguish a log that a crash cut off from one that has lost its end later: it takes both for the end. So
// every write has a number, which it stores under commitKey, and once it is durable the number goes to the sync mark, a
// small file of its own. Before a journal is opened for writing its log is replayed in memory: if the last number in it is
// below the mark, forced writes are missing, and Open fails with ErrDamaged and changes nothing.
//
// The mark costs one write to the page cache for each commit, and no fsync: it is forced once a second. After the end of
// the process (kill -9) it is exact. After a power cut it may be a second old, so a loss within the last second before the
// cut goes unnoticed unless a later record of the log reveals it, which Pebble checks from block to block of 32 KiB.

// MarkName is the file of the sync mark. Removing it accepts the loss of the data that it proves to be missing.
const MarkName = "SYNCED"

// The mark has two slots, written alternately, on pages of their own: a torn write leaves the other one.
const (
	markSlot  = 4096
	markBytes = 5*8 + 4
)

var markCRC = crc32.MakeTable(crc32.Castagnoli)

// commitKey has the number of the last write: 8 bytes, big-endian.
var commitKey = []byte("mcommit")

// A position is the part of the log and the manifest that is known to be on disk: the number of a write, the log file
// and its size with that write, and the manifest and its size then.
type position struct{ commit, log, logSize, manifest, manifestSize uint64 }

// syncMark is the file of the mark. The writer sets it; sync may be called beside it.
type syncMark struct {
	file  vfs.File // nil for a view
	path  string
	last  position
	dirty atomic.Bool
	buf   [markBytes]byte
}

// readMark returns the newest position in the file of the mark; the zero position if there is no file. Two invalid slots
// are an error.
func readMark(disk vfs.FS, path string) (p position, err error) {
	f, err := disk.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	defer func() { _ = f.Close() }()
	valid := false
	for i := range int64(2) {
		var b [markBytes]byte
		if _, err := f.ReadAt(b[:], i*markSlot); err != nil {
			continue
		}
		if slot, ok := parseMark(b[:]); ok && (!valid || slot.commit > p.commit) {
			p, valid = slot, true
		}
	}
	if !valid {
		return p, fmt.Errorf("%w: %s has no valid record of the last sync", ErrDamaged, path)
	}
	return p, nil
}

// open opens or makes the file of the mark, for a journal whose last write is p.
func (m *syncMark) open(disk vfs.FS, dir string, p position) (err error) {
	m.path, m.last = disk.PathJoin(dir, MarkName), p
	m.file, err = disk.OpenReadWrite(m.path, vfs.WriteCategoryUnspecified)
	if errors.Is(err, fs.ErrNotExist) {
		m.file, err = disk.Create(m.path, vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		return err
	}
	if err = m.init(disk, dir); err != nil {
		err = errors.Join(err, m.file.Close())
		m.file = nil
	}
	return err
}

// init gives the file its size, and makes it and its name durable.
func (m *syncMark) init(disk vfs.FS, dir string) error {
	info, err := m.file.Stat()
	if err != nil || info.Size() >= 2*markSlot {
		return err
	}
	if _, err := m.file.WriteAt(make([]byte, 2*markSlot), 0); err != nil {
		return err
	}
	if err := m.write(m.last); err != nil {
		return err
	}
	if err := m.file.Sync(); err != nil {
		return err
	}
	d, err := disk.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// number adds the number of the next write to its batch.
func (m *syncMark) number(b *pebble.Batch) {
	m.last.commit++
	_ = b.Set(commitKey, binary.BigEndian.AppendUint64(nil, m.last.commit), nil) // a batch's Set cannot fail
}

// forced records that the write numbered last is durable, with the sizes of its files.
func (m *syncMark) forced(disk *retryfs.FS) error {
	m.last.log, m.last.logSize = disk.SyncedLog()
	m.last.manifest, m.last.manifestSize = disk.SyncedManifest()
	m.dirty.Store(true)
	return m.write(m.last)
}

func (m *syncMark) write(p position) error {
	_, err := m.file.WriteAt(p.append(m.buf[:0]), int64(p.commit%2)*markSlot)
	return err
}

func (p *position) append(dst []byte) []byte {
	start := len(dst)
	for _, v := range [...]uint64{p.commit, p.log, p.logSize, p.manifest, p.manifestSize} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], markCRC))
}

// parseMark is the inverse of append; it reports false for anything else.
func parseMark(b []byte) (p position, ok bool) {
	if len(b) != markBytes || binary.BigEndian.Uint32(b[markBytes-4:]) != crc32.Checksum(b[:markBytes-4], markCRC) {
		return p, false
	}
	for i, v := range [...]*uint64{&p.commit, &p.log, &p.logSize, &p.manifest, &p.manifestSize} {
		*v = binary.BigEndian.Uint64(b[8*i:])
	}
	return p, true
}

// sync forces the mark if it has changed.
func (m *syncMark) sync() error {
	if m.file == nil || !m.dirty.Swap(false) {
		return nil
	}
	return m.file.SyncData()
}

// close forces the mark and closes it.
func (m *syncMark) close() error {
	if m.file == nil {
		return nil
	}
	return errors.Join(m.sync(), m.file.Close())
}

// markInterval is how old the mark on disk may be.
const markInterval = time.Second

// runMark forces the mark now and then and tends the ballast, until ctx is done. It is apart from the monitor, which a slow
// disk must not hold up.
func (j *Journal) runMark(ctx context.Context) {
	t := time.NewTicker(markInterval)
	defer t.Stop()
	for {
		j.tendBallast()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := j.mark.sync(); err != nil {
			j.met.background.Add(1)
		}
	}
}
