package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"gather/internal/job"
	"gather/internal/transfer"
)

const (
	// importsAtOnce is how many small things are imported at the same time: they share what they wait for.
	importsAtOnce = 64
	// largeJob is the size from which a job is imported alone.
	largeJob = 512 << 10
)

// intake reads a stream and imports what is in it. Its goroutines end with run.
type intake struct {
	to     *destination
	p      *progress
	ctx    context.Context //nolint:containedctx // of one import
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	slots  chan struct{}

	mu sync.Mutex
	// added and there count what was imported, and what was there before.
	added, there transfer.Totals
}

func newIntake(ctx context.Context, to *destination, p *progress) *intake {
	i := &intake{to: to, p: p, slots: make(chan struct{}, importsAtOnce)}
	i.ctx, i.cancel = context.WithCancelCause(ctx)
	return i
}

// run imports until the end of the stream or the first error.
func (i *intake) run(r *transfer.Reader) error {
	err := i.read(r)
	i.wg.Wait()
	// Whatever went wrong first ended the rest.
	if first := context.Cause(i.ctx); first != nil {
		err = first
	}
	i.cancel(nil)
	return err
}

func (i *intake) read(r *transfer.Reader) error {
	keys := false
	for i.ctx.Err() == nil {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		switch {
		case rec.Array != nil:
			err = i.array(rec.Array)
		case rec.Job != nil:
			err = i.job(rec.Job)
		case rec.Key != nil:
			if !keys { // none stands for a job that is not there
				i.wg.Wait()
				keys = true
			}
			i.start(transfer.Totals{Keys: 1}, "an idempotency key", func() error { return i.to.ImportKey(i.ctx, *rec.Key) })
		case rec.Tombstone != nil:
			i.start(transfer.Totals{Tombstones: 1}, "the tombstone of job "+rec.Tombstone.ID.String(), func() error {
				return i.to.ImportTombstone(i.ctx, *rec.Tombstone)
			})
		}
		if err != nil {
			return err
		}
		i.p.tell()
	}
	return context.Cause(i.ctx)
}

func (i *intake) array(a *transfer.Array) error {
	var one transfer.Totals
	one.AddArray(a.Bytes)
	err := i.to.importArray(i.ctx, a)
	if err := i.outcome(one, err); err != nil {
		return fmt.Errorf("array %s of tenant %s: %w", a.Name, a.Tenant, err)
	}
	return nil
}

// job reads a whole job, and imports it when its log has come to its end.
func (i *intake) job(j *transfer.Job) error {
	var log []job.Event
	size := len(j.Spec)
	for rec, err := range j.Log() {
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		log = append(log, rec.Event)
		size += sizeOf(rec.Event)
	}
	var one transfer.Totals
	one.AddJob(&j.View)
	what := "job " + j.View.ID.String()
	do := func() error { return i.to.ImportJob(i.ctx, j.View, j.Spec, log) }
	if size < largeJob {
		i.start(one, what, do)
		return nil
	}
	i.wg.Wait()
	i.finish(one, what, do())
	return nil
}

func sizeOf(e job.Event) int {
	switch e := e.(type) {
	case job.Advanced:
		return 64 + e.Items.Size() + len(e.Partial)
	case job.Finished:
		return 64 + e.Items.Size() + 2*(len(e.Result)+len(e.Details))
	}
	return 64
}

// start imports something beside others.
func (i *intake) start(one transfer.Totals, what string, do func() error) {
	select {
	case i.slots <- struct{}{}:
	case <-i.ctx.Done():
		return
	}
	i.wg.Go(func() {
		defer func() { <-i.slots }()
		i.finish(one, what, do())
	})
}

// finish counts an outcome, or ends the import.
func (i *intake) finish(one transfer.Totals, what string, err error) {
	if err := i.outcome(one, err); err != nil {
		i.cancel(fmt.Errorf("%s: %w", what, err))
	}
}

func (i *intake) outcome(one transfer.Totals, err error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err == nil:
		i.added.Add(one)
	case errors.Is(err, job.ErrExists):
		i.there.Add(one)
	default:
		return err
	}
	return nil
}

// report tells what became of it.
func (i *intake) report(w io.Writer) {
	_, _ = fmt.Fprintln(w, "imported", &i.added)
	if i.there != (transfer.Totals{}) {
		_, _ = fmt.Fprintln(w, "were there already:", &i.there)
	}
}
