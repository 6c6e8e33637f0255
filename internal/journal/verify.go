package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// storedCommit returns the number of the last write; 0 for a journal of a version that did not number writes.
func storedCommit(db *pebble.DB) (commit uint64, err error) {
	_, err = get(db, commitKey, func(v []byte) error {
		if len(v) != 8 {
			return corrupt("number of the last write")
		}
		commit = binary.BigEndian.Uint64(v)
		return nil
	})
	return commit, err
}

// verify replays the log in memory and returns ErrDamaged if synced writes are missing. It changes nothing on disk.
func (j *Journal) verify(lock *pebble.Lock, found *pebble.DBDesc) error {
	mark := j.c.FS.PathJoin(j.c.Dir, MarkName)
	if !found.Exists {
		if _, err := j.c.FS.Stat(mark); err == nil {
			return fmt.Errorf("%w: there is %s and no manifest: a restore that did not end, or files that were removed", ErrDamaged, mark)
		}
		return nil
	}
	var forced position // none of a replica
	if !j.c.Replica {
		var err error
		if forced, err = readMark(j.c.FS, mark); err != nil {
			return err
		}
	}
	if err := checkManifest(j.c.FS, found.ManifestFilename, forced); err != nil {
		return err
	}
	replayed := new(replay)
	last, err := j.lastCommit(lock, j.fs, replayed)
	if err != nil {
		return err
	}
	flushed, err := j.lastCommit(lock, withoutLogs{j.fs}, new(replay))
	switch {
	case pebble.IsCorruptionError(err): // in a table, as reads of its other keys will report
		flushed = last
	case err != nil:
		return err
	}
	if lost := int64(last-flushed) - replayed.writes; lost > 0 {
		return fmt.Errorf("%w: at least %d writes are missing: a log before the last was removed or has lost its end", ErrDamaged, lost)
	}
	if last >= forced.commit {
		return nil
	}
	file := fmt.Sprintf("%06d.log", forced.log)
	readable := replayed.offset.Physical
	if j.c.FS.PathBase(replayed.offset.PhysicalFile) != file {
		readable = 0
	}
	j.log.Error("the write-ahead log has lost writes that were forced to disk", "writes", forced.commit-last,
		"file", file, "offset", readable, "bytes", int64(forced.logSize)-readable, "last_write", last)
	return fmt.Errorf("%w: %d writes that were forced to disk are missing: %s was forced up to offset %d and is readable up to %d",
		ErrDamaged, forced.commit-last, file, forced.logSize, readable)
}

// checkManifest returns ErrDamaged if the synced part of the manifest is unreadable, because Pebble would take an unreadable
// record for the end, and delete the tables that follow it.
func checkManifest(disk vfs.FS, path string, forced position) error {
	if number, ok := strings.CutPrefix(disk.PathBase(path), "MANIFEST-"); !ok || number != fmt.Sprintf("%06d", forced.manifest) {
		return nil // a newer manifest, which was synced before it became current
	}
	f, err := disk.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the manifest is missing: %w", ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	records := record.NewReader(f, 0)
	for uint64(records.Offset()) < forced.manifestSize {
		at := records.Offset()
		r, err := records.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			return fmt.Errorf("%w: %s was forced up to offset %d and is readable up to %d: %w",
				ErrDamaged, path, forced.manifestSize, at, err)
		}
	}
	return nil
}

// lastCommit opens the directory read-only and returns the number of the last write. Errors: ErrDamaged, or of the disk.
func (j *Journal) lastCommit(lock *pebble.Lock, disk vfs.FS, log *replay) (commit uint64, err error) {
	opts := j.engineOptions(lock)
	opts.FS, opts.ReadOnly, opts.Logger = disk, true, log
	opts.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}} // reads return it
	db, err := pebble.Open(j.c.Dir, opts)
	if err != nil {
		// Errors other than failed system calls, and missing files, mean that the content is damaged.
		if errno, ok := errors.AsType[syscall.Errno](err); !ok || errno == syscall.ENOENT {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return 0, err
	}
	commit, err = storedCommit(db)
	return commit, errors.Join(err, db.Close())
}

// withoutLogs is a file system without logs: Pebble has only what is in tables.
type withoutLogs struct{ vfs.FS }

// List implements vfs.FS.
func (d withoutLogs) List(dir string) ([]string, error) {
	names, err := d.FS.List(dir)
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".log") }), err
}

// replay is a pebble.Logger that records what was replayed of the logs: the number of writes, and where the last log ended.
type replay struct {
	writes int64
	offset wal.Offset
}

// Infof implements pebble.Logger. The arguments of a log's end are its offset, and its numbers of keys and of batches.
func (r *replay) Infof(_ string, args ...any) {
	for i, a := range args {
		if offset, ok := a.(wal.Offset); ok {
			r.offset = offset
			if n, ok := args[len(args)-1].(int64); ok && i < len(args)-1 {
				r.writes += n
			}
		}
	}
}

// Errorf implements pebble.Logger.
func (*replay) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (*replay) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
