// Package pause keeps the pauses of a server or a cluster: which kinds, priorities and tenants start no jobs.
//
// A pause is durable when Pause returns, and then holds on this server; other nodes of a cluster follow when they have read it,
// usually within milliseconds. A pause of a later version, which this version cannot read, is logged and does not hold. One
// goroutine reads changes, until Close.
package pause

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
)

// Documents stores the pauses.
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

// Config configures a Set.
type Config struct {
	Documents Documents
	// Apply makes the pauses hold. It is called with each change, one call at a time, and before Open returns.
	Apply      func(job.Pauses)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Wall is the clock of instants.
	Wall func() time.Time
}

// A Set has the pauses. It is safe for concurrent use.
type Set struct {
	c    Config
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	list []job.Pause
	// unreadable are the names of pauses that were logged.
	unreadable map[string]bool
}

// Open reads the pauses and applies them. The caller must call Close.
func Open(ctx context.Context, c Config) (*Set, error) {
	s := &Set{c: c, unreadable: make(map[string]bool)}
	changed, stopWatch := c.Documents.WatchDocuments()
	if err := s.reload(ctx); err != nil {
		stopWatch()
		return nil, fmt.Errorf("read the pauses: %w", err)
	}
	s.register(c.Registerer)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() {
		defer stopWatch()
		for {
			select {
			case <-changed:
				if err := s.reload(run); err != nil && run.Err() == nil {
					c.Logger.Warn("read the pauses", "error", err)
				}
			case <-run.Done():
				return
			}
		}
	})
	return s, nil
}

// Close ends the goroutine.
func (s *Set) Close() {
	s.stop()
	s.done.Wait()
}

// reload reads the pauses, and applies them if they have changed.
func (s *Set) reload(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	docs, err := s.c.Documents.Documents(ctx, job.PauseDocuments)
	if err != nil {
		return err
	}
	list := make([]job.Pause, 0, len(docs))
	for i := range docs {
		p, err := job.DecodePause(docs[i].Value)
		if err != nil {
			if !s.unreadable[docs[i].Name] {
				s.unreadable[docs[i].Name] = true
				s.c.Logger.Error("a pause cannot be read, and does not hold on this node", "pause", docs[i].Name, "error", err)
			}
			continue
		}
		list = append(list, p)
	}
	if s.list == nil || !slices.Equal(list, s.list) {
		s.list = list
		s.c.Apply(job.NewPauses(list))
	}
	return nil
}

// List returns the pauses, by scope and name.
func (s *Set) List() []job.Pause {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// Pause adds a pause, and returns it and whether it is new. An existing one gets the reason, and keeps its time. Errors:
// job.ErrStorage.
func (s *Set) Pause(ctx context.Context, p job.Pause) (_ job.Pause, created bool, err error) {
	err = s.update(ctx, &p, func(old job.Document) []byte {
		created = old.Revision == 0
		p.At = s.c.Wall().UTC()
		if before, err := job.DecodePause(old.Value); err == nil {
			p.At = before.At
		}
		return p.Encode()
	})
	if err == nil && created {
		s.c.Logger.Warn("jobs are paused", "scope", string(p.Scope), "name", p.Name, "reason", p.Reason)
	}
	return p, created, err
}

// Resume removes a pause. It reports whether there was one. Errors: job.ErrStorage.
func (s *Set) Resume(ctx context.Context, p job.Pause) (existed bool, err error) {
	err = s.update(ctx, &p, func(old job.Document) []byte {
		existed = old.Revision > 0
		return nil
	})
	if err == nil && existed {
		s.c.Logger.Info("jobs are no longer paused", "scope", string(p.Scope), "name", p.Name)
	}
	return existed, err
}

// update replaces a pause's document by the result of next, and applies the pauses.
func (s *Set) update(ctx context.Context, p *job.Pause, next func(old job.Document) []byte) error {
	for {
		old, err := s.c.Documents.Document(ctx, p.DocumentName())
		if err != nil {
			return err
		}
		_, err = s.c.Documents.PutDocument(ctx, p.DocumentName(), next(old), old.Revision)
		if errors.Is(err, job.ErrChanged) {
			continue
		}
		if err != nil {
			return err
		}
		return s.reload(ctx)
	}
}

// oldest returns how long the oldest pause has held; 0 for none.
func (s *Set) oldest() time.Duration {
	now := s.c.Wall()
	age := time.Duration(0)
	for _, p := range s.List() {
		age = max(age, now.Sub(p.At))
	}
	return age
}
