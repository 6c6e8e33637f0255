package journal

import (
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ballastName is the file in the data directory that takes up space.
const ballastName = "BALLAST"

// A ballast is a file that reserves disk space. It is removed when the disk is full, so that deletes, cancels, the sweep and
// the next start can write, and created again once the free space is above the margin.
//
// Results stay held after the removal, because the file is so much smaller than the reserve that the free space stays below
// the reserve.
type ballast struct {
	mu  sync.Mutex
	fs  vfs.FS
	dir string
	// size is the size of the file in bytes; 0 for no file.
	size int64
	// margin is the free space that must remain after the file is created.
	margin uint64
}

// minBallast is the smallest ballast that is worth a file.
const minBallast = 1 << 20

func newBallast(c *Config) *ballast {
	b := &ballast{fs: c.FS, dir: c.Dir, margin: c.MinFreeBytes}
	if size := min(c.MinFreeBytes/4, minReserve); size >= minBallast && !c.Replica {
		b.size = int64(size)
	}
	return b
}

func (b *ballast) path() string { return b.fs.PathJoin(b.dir, ballastName) }

// release removes the file, and reports whether it existed.
func (b *ballast) release() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fs.Remove(b.path()) == nil
}

// releaseIfFull removes the file when the disk is full, or when less than a quarter of the file's size is free. It reports
// whether it removed the file.
func (b *ballast) releaseIfFull(full bool) bool {
	if !full {
		usage, err := b.fs.GetDiskUsage(b.dir)
		full = err == nil && usage.AvailBytes < uint64(b.size)/4
	}
	return full && b.release()
}

// restore creates the file if it is missing or has another size, unless that would leave less than the margin free.
func (b *ballast) restore() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if info, err := b.fs.Stat(b.path()); err == nil {
		if info.Size() == b.size {
			return nil
		}
		if err := b.fs.Remove(b.path()); err != nil {
			return err
		}
	}
	usage, err := b.fs.GetDiskUsage(b.dir)
	if err != nil || b.size == 0 || usage.AvailBytes < b.margin+uint64(b.size) {
		return nil // a file system that cannot report its free space needs no ballast
	}
	if err := b.fill(); err != nil {
		return errors.Join(err, b.fs.Remove(b.path()))
	}
	return nil
}

// fill creates the file. A crash leaves a smaller file, which restore replaces.
func (b *ballast) fill() error {
	f, err := b.fs.OpenReadWrite(b.path(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if f.Preallocate(0, b.size) == nil {
		_, err = f.WriteAt([]byte{0}, b.size-1) // sets the size, which marks the file as complete
		return errors.Join(err, f.Close())
	}
	// Random bytes, because a file system may compress others.
	noise := rand.NewChaCha8([32]byte{})
	buf := make([]byte, minBallast)
	for left := b.size; left > 0 && err == nil; left -= int64(len(buf)) {
		buf = buf[:min(left, int64(len(buf)))]
		_, _ = noise.Read(buf) // never fails
		_, err = f.Write(buf)
	}
	return errors.Join(err, f.Close())
}

// isFull reports whether an error means that a disk, or a quota, has no space left.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// releaseBallast removes the ballast if the disk is full, and reports whether the disk is full.
func (j *Journal) releaseBallast() (full bool) {
	full = isFull(j.fs.Err()) || isFull(j.health.issue(issueFlush))
	if j.ballast.releaseIfFull(full) {
		j.log.Warn("the disk has no space left: the ballast is removed, for deletes, cancels and the sweep", "bytes", j.ballast.size)
	}
	return full
}

// maintainBallast removes the ballast if the disk is full, and otherwise creates it if there is room.
func (j *Journal) maintainBallast() {
	if j.releaseBallast() {
		return
	}
	if err := j.ballast.restore(); err != nil {
		j.log.Warn("creating the ballast failed", "error", err)
	}
}
