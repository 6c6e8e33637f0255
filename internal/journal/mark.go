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
	"gather/internal/notify"
)

// # Detection of lost writes
//
// Pebble cannot distinguish a log that a crash truncated from a log that lost its end later. Therefore every write stores its
// number under commitKey, and the number of the last durable write is recorded in the sync mark, a small file. Open replays
// the logs in memory first: if the last number is below the mark, synced writes are missing, and Open returns ErrDamaged and
// changes nothing. The same holds if the logs have fewer writes than there are numbers after the last one in tables.
//
// The mark costs one write to the page cache for each commit, and one fsync each second. After the end of the process
// (kill -9) it is exact. After a power cut it may be a second old, so a loss within the last second before the cut is not
// detected unless a later record of the log reveals it, which Pebble checks from block to block of 32 KiB.

// MarkName is the name of the sync mark's file. An operator who removes it accepts the loss that it detected.
const MarkName = "SYNCED"

// The mark has two slots on different pages, written alternately: after a torn write the other slot is valid.
const (
	markSlot  = 4096
	markBytes = 5*8 + 4
)

var markCRC = crc32.MakeTable(crc32.Castagnoli)

// commitKey is the key of the number of the last write: 8 bytes, big-endian.
var commitKey = []byte("mcommit")

// A position is the durable part of the log and the manifest: the number of the last write, and the numbers and synced sizes
// of both files.
type position struct{ commit, log, logSize, manifest, manifestSize uint64 }

// A syncMark is the open file of the sync mark. The writer owns it; sync may be called concurrently.
type syncMark struct {
	file  vfs.File // nil for a replica
	path  string
	last  position
	dirty atomic.Bool // written and not synced
	buf   [markBytes]byte
}

// readMark returns the newest position in the file of the mark; the zero position if there is no file. It returns ErrDamaged if
// both slots are invalid.
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

// open opens or creates the file of the mark for a journal whose last write is p.
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

// init writes a new file with the last position, and makes it and its name durable.
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

// number adds the number of the next write to the batch of the write.
func (m *syncMark) number(b *pebble.Batch) {
	m.last.commit++
	_ = b.Set(commitKey, binary.BigEndian.AppendUint64(nil, m.last.commit), nil) // a batch's Set cannot fail
}

// recordSync records that the last write is durable, with the synced sizes of the files.
func (m *syncMark) recordSync(disk *retryfs.FS) error {
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

// parseMark is the inverse of append; ok is false if the checksum does not match.
func parseMark(b []byte) (p position, ok bool) {
	if len(b) != markBytes || binary.BigEndian.Uint32(b[markBytes-4:]) != crc32.Checksum(b[:markBytes-4], markCRC) {
		return p, false
	}
	for i, v := range [...]*uint64{&p.commit, &p.log, &p.logSize, &p.manifest, &p.manifestSize} {
		*v = binary.BigEndian.Uint64(b[8*i:])
	}
	return p, true
}

// sync syncs the mark to disk if it has changed.
func (m *syncMark) sync() error {
	if m.file == nil || !m.dirty.Swap(false) {
		return nil
	}
	return m.file.SyncData()
}

// close syncs the mark to disk and closes it.
func (m *syncMark) close() error {
	if m.file == nil {
		return nil
	}
	return errors.Join(m.sync(), m.file.Close())
}

// markInterval is the maximum age of the mark on disk.
const markInterval = time.Second

// runMark syncs the mark and maintains the ballast each second until ctx is done. It has a goroutine of its own, because a slow
// disk must not delay the monitor.
func (j *Journal) runMark(ctx context.Context) {
	j.maintainBallast()
	notify.Every(ctx, markInterval, nil, func() {
		if err := j.mark.sync(); err != nil {
			j.met.background.Add(1)
		}
		j.maintainBallast()
	})
}
