package journal

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"gather/internal/job"
	"gather/internal/journal/retryfs"
)

// formatVersion is the version of the format that keys.go describes.
const formatVersion = 2

// engineFormat is pinned, because a newer Pebble would otherwise make the data directory unreadable for the version of gather
// that wrote it.
const engineFormat = pebble.FormatTableFormatV6

// migrations holds the function that upgrades a journal from each format version to the next one. Open runs them in order,
// each in one batch with the new version.
var migrations = map[uint64]func(*pebble.DB, *pebble.Batch) error{
	1: countEnded, // the values of the space j stay as they are
}

const memTableBytes = 16 << 20

// openEngine locks the directory and opens Pebble in it.
func (j *Journal) openEngine(ctx context.Context) error {
	dir, disk := j.c.Dir, j.c.FS
	if dir == "" {
		return errors.New("no data directory given")
	}
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := pebble.LockDirectory(dir, disk)
	if err != nil {
		if isLocked(err) {
			err = fmt.Errorf("%w: %w", ErrLocked, err)
		}
		return err
	}
	if err := j.openLocked(ctx, lock); err != nil {
		return errors.Join(err, lock.Close())
	}
	return nil
}

func (j *Journal) openLocked(ctx context.Context, lock *pebble.Lock) error {
	dir, disk := j.c.Dir, j.c.FS
	found, err := pebble.Peek(dir, disk)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	j.fs = retryfs.New(disk, dir, j.c.RetryInterval, func() { j.health.check.Notify() })
	if err := j.verify(lock, found); err != nil {
		return err
	}
	if !found.Exists || found.FormatMajorVersion < engineFormat {
		// Pebble raises the format of a directory after it has begun a log. That log lacks the offsets that distinguish
		// corruption in its middle from its end, so open once more to begin another before the first write.
		db, err := pebble.Open(dir, j.engineOptions(lock))
		if err == nil {
			err = db.Close()
		}
		if err = j.diskError(err); err != nil {
			return err
		}
	}
	db, err := pebble.Open(dir, j.engineOptions(lock))
	if err != nil {
		return j.diskError(err)
	}
	j.db = db
	j.close = func() error { return errors.Join(db.Close(), j.mark.close(), lock.Close()) }
	err = j.diskError(j.migrate())
	if err == nil {
		err = j.openMark()
	}
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return errors.Join(err, db.Close(), j.mark.close())
	}
	return nil
}

// openMark opens the sync mark with the number of the last write. The mark of a replica has no file.
func (j *Journal) openMark() error {
	last, err := storedCommit(j.db)
	if err != nil {
		return err
	}
	if j.c.Replica {
		j.mark.last.commit = last
		return nil
	}
	return j.mark.open(j.c.FS, j.c.Dir, position{commit: last})
}

// engineOptions returns new options of Pebble, because pebble.Open modifies them.
func (j *Journal) engineOptions(lock *pebble.Lock) *pebble.Options {
	opts := &pebble.Options{
		CacheSize:                   j.c.CacheBytes,
		FS:                          j.fs,
		Lock:                        lock,
		FormatMajorVersion:          engineFormat,
		MemTableSize:                j.h.memTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                512,
		Logger:                      engineLogger{j: j},
		EventListener:               j.listener(),
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		BlockPropertyCollectors:     []func() pebble.BlockPropertyCollector{newUnionCollector},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return opts
}

// isLocked reports whether an error of locking means that the lock is held elsewhere.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && !errors.Is(err, fs.ErrPermission) ||
		strings.Contains(err.Error(), "lock held by current process")
}

// diskError returns the error of the disk if that made opening fail, otherwise err.
func (j *Journal) diskError(err error) error {
	if j.fs.Off() {
		return j.fs.LastErr()
	}
	return err
}

// explainFull adds ErrDiskFull to the error of a full disk.
func explainFull(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// explainDamaged adds ErrDamaged to an error of content that cannot be read, or of a file that is missing.
func explainDamaged(err error) error {
	if (pebble.IsCorruptionError(err) || errors.Is(err, job.ErrCorrupt) || errors.Is(err, fs.ErrNotExist)) && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// migrate upgrades the journal to formatVersion.
func (j *Journal) migrate() error {
	version, err := j.storedVersion()
	if err != nil {
		return err
	}
	for version != formatVersion {
		b := j.db.NewBatch()
		next := uint64(formatVersion)
		if version != 0 {
			step, ok := migrations[version]
			if !ok {
				return errors.Join(fmt.Errorf("%w: version %d, and this server reads %d", ErrFormat, version, formatVersion), b.Close())
			}
			if err := step(j.db, b); err != nil {
				return errors.Join(fmt.Errorf("migrate from format version %d: %w", version, err), b.Close())
			}
			next = version + 1
		}
		if err := b.Set(formatKey, binary.AppendUvarint(nil, next), nil); err != nil {
			return err
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return err
		}
		version = next
	}
	return nil
}

// storedVersion returns the format version of the journal; 0 for an empty journal.
func (j *Journal) storedVersion() (version uint64, err error) {
	found, err := get(j.db, formatKey, func(v []byte) error {
		var n int
		if version, n = binary.Uvarint(v); n != len(v) || version == 0 {
			return fmt.Errorf("%w: unreadable version", ErrFormat)
		}
		return nil
	})
	if found || err != nil {
		return version, err
	}
	return 0, scan(context.Background(), j.db, nil, nil, func(_, _ []byte) error {
		return fmt.Errorf("%w: it holds data but no version", ErrFormat)
	})
}

// load reads the unfinished jobs and applies the events that their stored views lack.
func (j *Journal) load(ctx context.Context) error {
	return scanSpace(ctx, j.db, spaceActive, func(key, value []byte) error {
		_, id, err := parseJobKey(key)
		if err != nil {
			return err
		}
		view, _, place, err := parseJob(value)
		if err == nil {
			err = j.loadJob(ctx, id, view, place)
		}
		if err != nil {
			return fmt.Errorf("job %s: %w", id, err)
		}
		return nil
	})
}

func (j *Journal) loadJob(ctx context.Context, id job.ID, view job.Job, place specPlace) error {
	a := &active{id: id, stored: true, place: place}
	err := scanLog(ctx, j.db, id, 0, func(_ uint64, records []job.LogRecord) (bool, error) {
		a.logged = true
		for _, r := range records {
			a.results.Add(job.ResultBytes(r.Event))
			if r.Seq <= view.Seq {
				continue
			}
			var err error
			if view, err = job.Apply(view, r.Event); err != nil {
				return false, err
			}
			if view.Seq != r.Seq {
				return false, corrupt("seq")
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	a.head, a.written = view, view.Seq
	a.durable.Store(&view)
	j.counts.moveUnfinished(nil, &view)
	j.groups.moveUnfinished(j, nil, &view)
	j.meter.Restore(&view)
	if a.counted = j.countsResults(view.Tenant); a.counted {
		j.results.add(view.Tenant, a.results.Load())
	}
	j.jobs.add(a)
	return nil
}
