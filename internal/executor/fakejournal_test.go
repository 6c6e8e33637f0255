package executor_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gather/internal/job"
)

// fakeJournal is a minimal journal in memory. A batch is durable when Append returns, unless slow delays it or fail rejects
// it.
type fakeJournal struct {
	t    testing.TB
	mu   sync.Mutex
	jobs map[job.ID]*page
	// fail, if not nil, is the error that submissions get.
	fail error
	// failing, if not nil, is the error that prompt batches get.
	failing error
	// slow is the time until a batch is durable.
	slow time.Duration
	// blocked appends wait until their context is done.
	blocked bool
	// delays has the type of the last event of each batch of a job, and how long the batch may wait.
	delays []string
	// released has the released idempotency keys.
	released []string
}

type page struct {
	view job.Job
	spec []byte
	log  []job.LogRecord
}

func newFakeJournal(t testing.TB) *fakeJournal {
	return &fakeJournal{t: t, jobs: make(map[job.ID]*page)}
}

// Elapsed implements executor.Journal.
func (l *fakeJournal) Elapsed(since time.Time) time.Duration { return time.Since(since) }

func (l *fakeJournal) Append(ctx context.Context, b job.Batch) error {
	l.mu.Lock()
	if l.blocked {
		l.mu.Unlock()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	defer l.mu.Unlock()
	if b.Done == nil {
		b.Done = func(error) {}
	}
	for _, e := range b.Entries {
		if n := len(e.Events); n > 0 {
			l.delays = append(l.delays, fmt.Sprintf("%T %v", e.Events[n-1], b.Delay))
		}
		for _, ev := range e.Events {
			p := l.jobs[e.ID]
			if sub, ok := ev.(job.Submitted); ok {
				if l.fail != nil {
					b.Done(l.fail)
					return nil
				}
				p = &page{spec: sub.Spec}
				l.jobs[e.ID] = p
			}
			if p == nil {
				return fmt.Errorf("%w: no job %v", job.ErrTransition, e.ID)
			}
			next, err := job.Apply(p.view, ev)
			if err != nil {
				l.t.Errorf("append: %v", err)
				return err
			}
			p.view = next
			p.log = append(p.log, job.LogRecord{Seq: next.Seq, Event: ev})
		}
	}
	if l.failing != nil && b.Prompt {
		b.Done(l.failing)
		return nil
	}
	if l.slow > 0 {
		time.AfterFunc(l.slow, func() { b.Done(nil) })
		return nil
	}
	b.Done(nil)
	return nil
}

func (l *fakeJournal) Get(_ context.Context, tenant string, id job.ID) (job.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.jobs[id]
	if p == nil || p.view.Tenant != tenant {
		return job.Job{}, job.ErrNotFound
	}
	return p.view, nil
}

func (l *fakeJournal) Recover(_ context.Context, visit func(job.Job, []byte, job.LogSeq) error) error {
	l.mu.Lock()
	var open []*page
	for _, p := range l.jobs {
		if !p.view.State.Terminal() {
			open = append(open, p)
		}
	}
	l.mu.Unlock()
	slices.SortFunc(open, func(a, b *page) int { return bytes.Compare(a.view.ID[:], b.view.ID[:]) })
	for _, p := range open {
		err := visit(p.view, p.spec, func(yield func(job.LogRecord, error) bool) {
			for _, r := range p.log {
				if !yield(r, nil) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Release implements executor.Journal.
func (l *fakeJournal) Release(key job.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = append(l.released, key.Value)
}

// job returns the view of a job.
func (l *fakeJournal) job(id job.ID) job.Job {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.jobs[id]; p != nil {
		return p.view
	}
	return job.Job{}
}

// tasksDone returns the tasks whose end is in a job's log, in log order.
func (l *fakeJournal) tasksDone(id job.ID) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var tasks []int
	for _, r := range l.jobs[id].log {
		if a, ok := r.Event.(job.TaskProgress); ok && a.Done {
			tasks = append(tasks, a.Task)
		}
	}
	return tasks
}
