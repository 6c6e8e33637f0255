package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// restoreDir is the directory within a replica's directory in which Restore writes tables.
const restoreDir = "restore"

// restoredTableBytes is the approximate size of the tables that Restore writes.
const restoredTableBytes = 32 << 20

// Restore replaces the content of a replica by the parts of a snapshot, atomically: after an error or a crash the replica
// is unchanged. Readers see the earlier content until then, and watchers are signalled. The caller applies nothing meanwhile.
// It returns job.ErrCorrupt for parts that are damaged or not in order, job.ErrVersion for a snapshot of a later version,
// or the first error of parts or of the disk.
func (j *Journal) Restore(ctx context.Context, parts iter.Seq2[[]byte, error]) (err error) {
	dir := j.c.FS.PathJoin(j.c.Dir, restoreDir)
	if err := j.c.FS.RemoveAll(dir); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := j.c.FS.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, j.c.FS.RemoveAll(dir)) }()
	t := &tables{disk: j.c.FS, dir: dir, options: j.tableOptions()}
	err = t.addAll(ctx, parts)
	if err = errors.Join(err, t.finish()); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	var failed error // the writer's
	result := make(chan error, 1)
	req := &request{done: func(err error) { result <- errors.Join(err, failed) }}
	// After the write of the request is durable, nothing else is being written.
	req.op = func(*pebble.Batch) func() { return func() { failed = j.replace(ctx, t) } }
	if err := j.enqueue(req, 0); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	// Wait even if ctx ends, because the writer reads dir.
	if err := <-result; err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	j.watchers.signalAll()
	return nil
}

// replace replaces all content by tables, and loads it. The writer calls it.
func (j *Journal) replace(ctx context.Context, t *tables) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := t.addOwn(j.mark.last.commit); err != nil {
		return err
	}
	j.generation.Add(1)
	defer j.generation.Add(1)
	// The span has every space, from 'a' to 'x'.
	_, err := j.db.IngestAndExcise(ctx, t.paths, nil, nil, pebble.KeyRange{Start: []byte{'a'}, End: []byte{'z' + 1}})
	if err == nil {
		err = j.keepDocuments()
	}
	if err == nil {
		err = j.migrate()
	}
	if err != nil {
		return err
	}
	j.jobs.remove(j.jobs.ids())
	j.results.reset()
	j.counts.reset()
	j.groups.reset()
	j.meter.Reset()
	return j.loadJobs(ctx)
}

func (j *Journal) tableOptions() sstable.WriterOptions {
	o := j.engineOptions(nil)
	o.EnsureDefaults()
	return o.MakeWriterOptions(len(o.Levels)-1, engineFormat.MaxTableFormat())
}

// tables writes sorted keys to tables in a directory.
type tables struct {
	disk    vfs.FS
	dir     string
	options sstable.WriterOptions
	paths   []string
	open    *sstable.Writer
	last    []byte // key
	format  []byte // value of formatKey
}

// addAll adds the keys of parts.
func (t *tables) addAll(ctx context.Context, parts iter.Seq2[[]byte, error]) error {
	for part, err := range parts {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = readPart(part, t.add)
		}
		if err != nil {
			return err
		}
	}
	if t.format == nil {
		return corrupt("a snapshot without its version")
	}
	return nil
}

func (t *tables) add(key, value []byte) error {
	switch document := key[0] == spaceDocument; {
	case bytes.Compare(key, t.last) <= 0, isOwnKey(key) && !document, key[0] < 'a', key[0] > 'z':
		return corrupt("keys of a snapshot")
	case document: // of a snapshot of the first version, which did not leave them out
		t.last = append(t.last[:0], key...)
		return nil
	case bytes.Equal(key, formatKey): // goes to the table of the own keys, which are beside it
		t.format, t.last = bytes.Clone(value), append(t.last[:0], key...)
		return t.finish()
	case t.open == nil:
		if err := t.create(); err != nil {
			return err
		}
	}
	t.last = append(t.last[:0], key...)
	if err := t.open.Set(key, value); err != nil {
		return err
	}
	if t.open.Raw().EstimatedSize() < restoredTableBytes {
		return nil
	}
	return t.finish()
}

// addOwn adds the table of the keys that belong to the replica.
func (t *tables) addOwn(commit uint64) error {
	if err := t.create(); err != nil {
		return err
	}
	err := t.open.Set(commitKey, binary.BigEndian.AppendUint64(nil, commit))
	if err == nil {
		err = t.open.Set(formatKey, t.format)
	}
	return errors.Join(err, t.finish())
}

func (t *tables) create() error {
	path := t.disk.PathJoin(t.dir, fmt.Sprintf("%06d.sst", len(t.paths)))
	f, err := t.disk.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	t.paths = append(t.paths, path)
	t.open = sstable.NewWriter(objstorageprovider.NewFileWritable(f), t.options)
	return nil
}

// finish syncs and closes the open table.
func (t *tables) finish() error {
	if t.open == nil {
		return nil
	}
	err := t.open.Close()
	t.open = nil
	return err
}
