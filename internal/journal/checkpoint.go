package journal

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint copies the journal to dir, which must not exist. On the journal's file system tables become hard links, and
// only the end of the log is copied. The copy has everything that was durable before the call; Open accepts it, and detects
// missing files. The writer calls meanwhile between two writes, so it sees the same state as the copy. Submissions wait
// until the copy is complete.
//
// Checkpoint returns job.ErrStorage while submissions would be rejected, the cause of ctx if it ends before the copy
// starts, or an error of the disk. A partial copy stays in dir after an error.
func (j *Journal) Checkpoint(ctx context.Context, dir string, meanwhile func()) error {
	if err := j.Ready(); err != nil {
		return err
	}
	// After a flush the log is short.
	if err := j.flushMemtable(ctx); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	var failed error // the writer's
	result := make(chan error, 1)
	req := &request{done: func(err error) { result <- errors.Join(err, failed) }}
	req.op = func(*pebble.Batch) func() {
		if failed = context.Cause(ctx); failed == nil {
			meanwhile()
			failed = j.checkpoint(dir)
		}
		return nil
	}
	if err := j.enqueue(req, 0); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	// Wait even if ctx ends, because the caller owns dir after the return.
	if err := <-result; err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// checkpoint copies the engine and the mark. The writer calls it, so everything is durable and nothing is being written.
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

// flushMemtable writes the memtables to tables, and waits until they are written or ctx is done.
func (j *Journal) flushMemtable(ctx context.Context) error {
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
