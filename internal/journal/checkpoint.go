package journal

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint makes a copy of the journal in dir, which must not exist and should be on the journal's file system: then
// tables are hard links, and only the end of the log is copied. The copy has everything that was durable before the
// call; Open accepts it, and detects missing files. Meanwhile is called by the writer, between two writes: it sees the
// same state as the copy. Submissions wait until the copy is made.
//
// Errors are job.ErrStorage while no submission would be accepted, the cause of ctx before the copy is begun, and those
// of the disk. A partial copy stays in dir after an error.
func (j *Journal) Checkpoint(ctx context.Context, dir string, meanwhile func()) error {
	if err := j.Ready(); err != nil {
		return err
	}
	// After a flush there is little left in the log.
	if err := j.flush(ctx); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	var failed error // the writer's
	result := make(chan error, 1)
	it := &request{done: func(err error) { result <- errors.Join(err, failed) }}
	it.control = func(*pebble.Batch) func() {
		if failed = context.Cause(ctx); failed == nil {
			meanwhile()
			failed = j.checkpoint(dir)
		}
		return nil
	}
	if err := j.enqueue(it, 0); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	// Not given up with ctx: the caller owns dir after the return.
	if err := <-result; err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// checkpoint copies the engine and the mark. It is called by the writer: everything is durable, and nothing is being written.
func (j *Journal) checkpoint(dir string) (err error) {
	defer func() {
		// Pebble panics with the error of the disk when it cannot sync the directory of the copy. It holds no lock then.
		if r := recover(); r != nil {
			failed, ok := r.(error)
			if _, bug := r.(runtime.Error); bug || !ok {
				panic(r)
			}
			err = failed
		}
	}()
	if err := j.db.Checkpoint(dir); err != nil {
		return err
	}
	var m syncMark
	return errors.Join(m.open(j.c.FS, dir, j.mark.last), m.close())
}

// flush writes the memtables to tables.
func (j *Journal) flush(ctx context.Context) error {
	var flushed <-chan struct{}
	err := j.read(ctx, func(db *pebble.DB) (err error) {
		flushed, err = db.AsyncFlush()
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
