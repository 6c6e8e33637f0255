package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"gather/internal/job"
	"gather/internal/schedule"
)

const (
	// parallelImports is the number of small records imported concurrently, which share the forced writes.
	parallelImports = 64
	// largeJob is the size in bytes from which a job is imported alone.
	largeJob = 512 << 10
	// reportInterval is the time between two lines of progress.
	reportInterval = 5 * time.Second
)

// importRunner copies a source to a destination. It implements journal.Visitor; its goroutines end with run.
type importRunner struct {
	from   *source
	to     *destination
	out    io.Writer
	ctx    context.Context //nolint:containedctx // of one import
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	slots  chan struct{}
	keys   bool // Key has been called

	mu sync.Mutex
	// added counts the imported records, existing the records that the destination already had.
	added, existing totals
	reported        time.Time
}

func newImportRunner(ctx context.Context, from *source, to *destination, out io.Writer) *importRunner {
	r := &importRunner{from: from, to: to, out: out, slots: make(chan struct{}, parallelImports), reported: time.Now()}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	return r
}

// run imports everything, and stops at the first error.
func (r *importRunner) run() error {
	// Pauses before the jobs that they hold, and schedules after the keys of their ticks, so that a running cluster starts and submits nothing
	// that the source would not have.
	err := r.documents(func(name string) bool { return strings.HasPrefix(name, job.PauseDocuments) })
	if err == nil {
		err = r.arrays()
	}
	if err == nil {
		err = r.from.journal.Export(r.ctx, r)
	}
	r.wg.Wait()
	if err == nil && context.Cause(r.ctx) == nil {
		err = r.documents(func(name string) bool { return !strings.HasPrefix(name, job.PauseDocuments) })
	}
	// An error of a goroutine cancels Export, so it takes precedence.
	if cause := context.Cause(r.ctx); cause != nil {
		err = cause
	}
	r.cancel(nil)
	return err
}

// documents imports the selected documents: pauses, or schedules.
func (r *importRunner) documents(selected func(name string) bool) error {
	docs, err := r.from.journal.Documents(r.ctx, "")
	if err != nil {
		return err
	}
	for i := range docs {
		doc := &docs[i]
		if !selected(doc.Name) {
			continue
		}
		var one totals
		one.addDocument(doc.Name)
		err := r.attempt(func() error {
			_, err := r.to.PutDocument(r.ctx, doc.Name, doc.Value, 0)
			if errors.Is(err, job.ErrChanged) {
				err = r.existingDocument(doc)
			}
			return err
		})
		if err := r.record(one, err); err != nil {
			return fmt.Errorf("%s: %w", doc.Name, err)
		}
	}
	return nil
}

// existingDocument returns job.ErrExists for a document that the destination has. It reports a schedule of the same name that is another
// one: it was not imported, and continues here.
func (r *importRunner) existingDocument(doc *job.Document) error {
	there, err := r.to.Document(r.ctx, doc.Name)
	if err != nil {
		return err
	}
	own, err := schedule.Decode(doc.Value)
	other, otherErr := schedule.Decode(there.Value)
	if err == nil && otherErr == nil && !own.CreatedAt.Equal(other.CreatedAt) {
		_, _ = fmt.Fprintf(r.out, "schedule %s of tenant %s is skipped: the destination has another one with this name\n", own.Name, own.Tenant)
	}
	return job.ErrExists
}

func (r *importRunner) arrays() error {
	for i := range r.from.arrays {
		a := &r.from.arrays[i]
		var one totals
		one.addArray(a.Bytes)
		if err := r.record(one, r.attempt(func() error { return r.array(a) })); err != nil {
			return fmt.Errorf("array %s of tenant %s: %w", a.Name, a.tenant, err)
		}
	}
	return nil
}

func (r *importRunner) array(a *sourceArray) error {
	h, err := r.from.store.Acquire(r.ctx, a.tenant, a.Name)
	if err != nil {
		return err
	}
	return errors.Join(r.to.importArray(r.ctx, a, io.NewSectionReader(h, 0, a.Bytes)), h.Close())
}

// Job implements journal.Visitor: it reads the job's whole log and imports it.
func (r *importRunner) Job(view job.Job, spec []byte, log job.LogSeq, deliveries job.Deliveries) error {
	var events []job.Event
	size := len(spec)
	for rec, err := range log {
		if err != nil {
			return fmt.Errorf("job %s: %w", view.ID, err)
		}
		events = append(events, rec.Event)
		size += job.EventBytes(rec.Event)
	}
	var one totals
	one.addJob(&view)
	what := "job " + view.ID.String()
	do := func() error { return r.to.ImportJob(r.ctx, view, spec, events, deliveries) }
	if size < largeJob && view.Waits == 0 {
		r.start(one, what, do)
	} else {
		r.wg.Wait() // also for the jobs that this one waits for
		r.finish(one, what, do)
	}
	return context.Cause(r.ctx)
}

// Key implements journal.Visitor.
func (r *importRunner) Key(k job.KeyRecord) error {
	if !r.keys { // all jobs before their keys
		r.wg.Wait()
		r.keys = true
	}
	if r.from.now.Before(k.Expires) {
		r.start(totals{keys: 1}, "an idempotency key", func() error { return r.to.ImportKey(r.ctx, k) })
	}
	return context.Cause(r.ctx)
}

// Tombstone implements journal.Visitor.
func (r *importRunner) Tombstone(t job.Tombstone) error {
	if r.from.now.Before(t.Expires) {
		r.start(totals{tombstones: 1}, "the tombstone of job "+t.ID.String(), func() error { return r.to.ImportTombstone(r.ctx, t) })
	}
	return context.Cause(r.ctx)
}

// start imports one record in a goroutine once a slot is free.
func (r *importRunner) start(one totals, what string, do func() error) {
	select {
	case r.slots <- struct{}{}:
	case <-r.ctx.Done():
		return
	}
	r.wg.Go(func() {
		defer func() { <-r.slots }()
		r.finish(one, what, do)
	})
}

// finish imports one record and records the outcome; an error ends the import.
func (r *importRunner) finish(one totals, what string, do func() error) {
	if err := r.record(one, r.attempt(do)); err != nil {
		r.cancel(fmt.Errorf("%s: %w", what, err))
	}
}

// attempt imports one record. It tries again while the destination is unavailable for the time being, up to its patience. A record that
// exists then may be the one of an attempt whose response was lost: it counts as imported.
func (r *importRunner) attempt(do func() error) error {
	repeated := false
	_, err := backoff.Retry(r.ctx, func() (struct{}, error) {
		err := do()
		rejected, ok := errors.AsType[*job.Rejection](err)
		final := ok && rejected.RetryAfter == 0 // such as that the log is lost
		switch {
		case r.to.patience > 0 && errors.Is(err, job.ErrStorage) && !final:
			repeated = true
		case err != nil:
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)), backoff.WithMaxElapsedTime(r.to.patience),
		backoff.WithNotify(r.unavailable))
	if repeated && errors.Is(err, job.ErrExists) {
		return nil
	}
	return err
}

// record counts an outcome and prints the progress every few seconds. It returns errors other than job.ErrExists.
func (r *importRunner) record(one totals, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.added.add(one)
	case errors.Is(err, job.ErrExists):
		r.existing.add(one)
	default:
		return err
	}
	if r.due() {
		r.print("so far: ")
	}
	return nil
}

// due reports whether it is time for a line. The caller holds mu.
func (r *importRunner) due() bool {
	now := time.Now()
	if now.Sub(r.reported) < reportInterval {
		return false
	}
	r.reported = now
	return true
}

// unavailable prints every few seconds why a record waits.
func (r *importRunner) unavailable(err error, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due() {
		_, _ = fmt.Fprintf(r.out, "trying again: %v\n", err)
	}
}

// print writes the counts. The caller holds mu, or run has returned.
func (r *importRunner) print(prefix string) {
	_, _ = fmt.Fprintf(r.out, "%simported %v\n", prefix, &r.added)
	if r.existing != (totals{}) {
		_, _ = fmt.Fprintf(r.out, "%salready present: %v\n", prefix, &r.existing)
	}
}
