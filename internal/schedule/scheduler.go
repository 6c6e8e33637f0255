package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/fields"
	"gather/internal/job"
)

// Documents stores the schedules.
type Documents interface {
	// Documents returns the documents whose names begin with a prefix, by name. It may miss recent updates of other nodes.
	Documents(ctx context.Context, prefix string) ([]job.Document, error)
	// Document returns a document; a revision of 0 if it is missing. Errors: job.ErrStorage.
	Document(ctx context.Context, name string) (job.Document, error)
	// PutDocument replaces the document of a revision, 0 for a new one; a nil value deletes it. Errors: job.ErrChanged,
	// job.ErrStorage.
	PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error)
	// WatchDocuments returns a channel that is signalled after updates.
	WatchDocuments() (changed <-chan struct{}, stop func())
}

// Jobs reads jobs, and reserves the keys of submissions.
type Jobs interface {
	// Get returns a tenant's job. Errors: job.ErrNotFound, job.ErrExpired.
	Get(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// Reserve returns the jobs that were submitted earlier with the key, or reserves it. Errors: job.ErrKeyReused,
	// job.ErrKeyInProgress.
	Reserve(ctx context.Context, key job.Key) (prior []job.ID, err error)
}

// Executor submits and cancels jobs.
type Executor interface {
	// Submit admits jobs, and returns when they are durable. It takes over a reserved key. Errors: *fields.Errors, *job.Rejection,
	// *job.DuplicateKeyError, job.ErrKeyReused.
	Submit(ctx context.Context, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error)
	// Cancel requests that a job stops. Errors: job.ErrNotFound, job.ErrExpired, *job.Rejection.
	Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error)
}

// Config configures a Scheduler.
type Config struct {
	Documents Documents
	Jobs      Jobs
	Executor  Executor
	// Leads reports whether this server submits the runs; nil for a single server.
	Leads func() bool
	// Webhooks returns the webhooks that every job of a tenant has; nil for none.
	Webhooks func(tenant string) []job.Webhook
	// KeyRetention is how long an idempotency key is stored: a tick that is older is not submitted.
	KeyRetention time.Duration
	// Wall is the clock of ticks, which may be set at any time.
	Wall       func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// A Scheduler submits the runs of schedules. It is safe for concurrent use.
type Scheduler struct {
	c    Config
	met  *metrics
	stop context.CancelFunc
	done sync.WaitGroup

	// submitted has the jobs of ticks that are not recorded, by document: the write of the record failed. Owned by run.
	submitted map[string]map[time.Time]job.ID

	mu sync.Mutex
	// known has the schedules by the names of their documents, as this server last read them.
	known map[string]*known
}

// known is a schedule and the revision that it was read from; nil for a document that this version cannot read.
type known struct {
	*Schedule

	revision uint64
	next     time.Time
	retry    time.Time // of a failed attempt, on the monotonic clock
}

// Open reads the schedules, and starts to submit. The caller must call Close, before it stops the executor.
func Open(ctx context.Context, c Config) (*Scheduler, error) {
	if c.Leads == nil {
		c.Leads = func() bool { return true }
	}
	s := &Scheduler{c: c, submitted: make(map[string]map[time.Time]job.ID), known: make(map[string]*known)}
	changed, stopWatch := c.Documents.WatchDocuments()
	if err := s.reload(ctx); err != nil {
		stopWatch()
		return nil, fmt.Errorf("read the schedules: %w", err)
	}
	s.met = newMetrics(c.Registerer, s)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() {
		defer stopWatch()
		s.run(run, changed)
	})
	return s, nil
}

// Close ends the goroutine.
func (s *Scheduler) Close() {
	s.stop()
	s.done.Wait()
}

// maxSleep is the longest pause between two looks at the clock, which may be set.
const maxSleep = time.Second

// run submits what is due, until ctx is done.
func (s *Scheduler) run(ctx context.Context, changed <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if err := s.reload(ctx); err != nil && ctx.Err() == nil {
				s.c.Logger.Warn("read the schedules", "error", err)
			}
		case <-timer.C:
		}
		sleep := maxSleep
		if s.c.Leads() {
			sleep = s.submitDue(ctx)
		}
		timer.Reset(sleep)
	}
}

// reload reads the documents.
func (s *Scheduler) reload(ctx context.Context) error {
	docs, err := s.c.Documents.Documents(ctx, prefix)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make(map[string]bool, len(docs))
	for i := range docs {
		names[docs[i].Name] = true
		s.learn(&docs[i])
	}
	for name := range s.known {
		if !names[name] {
			delete(s.known, name)
		}
	}
	return nil
}

// learn decodes a document, unless its revision is known. Caller holds s.mu.
func (s *Scheduler) learn(d *job.Document) {
	k := s.known[d.Name]
	if k != nil && k.revision >= d.Revision {
		return
	}
	one, err := Decode(d.Value)
	if err != nil {
		s.c.Logger.Error("a schedule cannot be read, and does not run on this node", "schedule", d.Name, "error", err)
		one = nil
	}
	n := &known{Schedule: one, revision: d.Revision}
	if one != nil {
		n.next = one.Next(one.Cursor)
	}
	if k != nil {
		n.retry = k.retry
	}
	s.known[d.Name] = n
}

// submitDue submits the runs that are due, and returns the time until it should be called again.
func (s *Scheduler) submitDue(ctx context.Context) time.Duration {
	now, sleep := s.c.Wall(), maxSleep
	var due []string
	s.mu.Lock()
	for name, k := range s.known {
		switch {
		case k.Schedule == nil || k.Paused && len(s.submitted[name]) == 0:
		case !k.next.IsZero() && !k.next.After(now), len(k.Waiting) > 0, len(s.submitted[name]) > 0:
			if until := time.Until(k.retry); until <= 0 {
				due = append(due, name)
			}
		case !k.next.IsZero():
			sleep = min(sleep, k.next.Sub(now))
		}
	}
	s.mu.Unlock()
	slices.Sort(due)
	for _, name := range due {
		if ctx.Err() != nil {
			return maxSleep
		}
		if err := s.advance(ctx, name); err != nil && ctx.Err() == nil {
			s.c.Logger.Warn("a run of a schedule is not submitted now, and tried again", "schedule", name, "error", err)
			s.postpone(name, err)
		}
	}
	return sleep
}

// retryPause is the pause after an attempt that failed without a Retry-After.
const retryPause = time.Second

func (s *Scheduler) postpone(name string, err error) {
	pause := retryPause
	if r, ok := errors.AsType[*job.Rejection](err); ok {
		pause = max(pause, min(r.RetryAfter, 10*time.Second))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.known[name]; k != nil {
		k.retry = time.Now().Add(pause)
	}
}

// Get returns a schedule. Errors: ErrNotFound, job.ErrStorage, job.ErrVersion.
func (s *Scheduler) Get(ctx context.Context, tenant, name string) (*Schedule, error) {
	one, _, err := s.read(ctx, documentName(tenant, name))
	return one, err
}

// read reads a schedule and its revision.
func (s *Scheduler) read(ctx context.Context, document string) (*Schedule, uint64, error) {
	d, err := s.c.Documents.Document(ctx, document)
	if err != nil {
		return nil, 0, err
	}
	if d.Revision == 0 {
		return nil, 0, ErrNotFound
	}
	one, err := Decode(d.Value)
	return one, d.Revision, err
}

// write replaces the schedule of a revision, and remembers it.
func (s *Scheduler) write(ctx context.Context, one *Schedule, revision uint64) error {
	d := job.Document{Name: one.documentName(), Value: one.Encode()}
	var err error
	if d.Revision, err = s.c.Documents.PutDocument(ctx, d.Name, d.Value, revision); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learn(&d)
	return nil
}

// submit submits a run, once for each key.
func (s *Scheduler) submit(ctx context.Context, one *Schedule, run string) (job.ID, error) {
	key := one.key(run)
	prior, err := s.c.Jobs.Reserve(ctx, key)
	if err != nil {
		return job.ID{}, err
	}
	if len(prior) > 0 {
		return prior[0], nil
	}
	sub := one.submission()
	if s.c.Webhooks != nil {
		sub.Webhooks = s.c.Webhooks(one.Tenant)
	}
	jobs, err := s.c.Executor.Submit(ctx, []job.Submission{sub}, &key, false)
	if other, ok := errors.AsType[*job.DuplicateKeyError](err); ok && len(other.IDs) > 0 {
		return other.IDs[0], nil
	}
	if err != nil {
		return job.ID{}, err
	}
	return jobs[0].ID, nil
}

// permanent reports whether an error of a submission will not pass by itself.
func permanent(err error) bool {
	_, invalid := errors.AsType[*fields.Errors](err)
	return invalid || errors.Is(err, job.ErrKeyReused)
}

// ended reports whether a job has ended, or is gone.
func (s *Scheduler) ended(ctx context.Context, tenant string, id job.ID) (bool, error) {
	if id == (job.ID{}) {
		return true, nil
	}
	j, err := s.c.Jobs.Get(ctx, tenant, id)
	if errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired) {
		return true, nil
	}
	return err == nil && j.State.Terminal(), err
}
