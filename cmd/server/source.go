package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gather/internal/array"
	"gather/internal/job"
	"gather/internal/journal"
)

// source is the content of the data directory of a stopped single server, of a stopped node (its replica), or of a
// restored backup.
type source struct {
	journal *journal.Journal
	store   *array.Store // nil without arrays
	arrays  []sourceArray
	// now determines which keys and tombstones have expired.
	now time.Time
}

type sourceArray struct {
	tenant string
	job.Array
}

// noSweep is a sweep interval longer than any command.
const noSweep = time.Duration(math.MaxInt64)

// openSource opens a data directory under the server's lock, as a server does at startup. It fails if dir has no
// journal, and creates nothing.
func openSource(ctx context.Context, dir string, stderr io.Writer) (*source, error) {
	switch exists, err := journal.Exists(dir); {
	case err != nil:
		return nil, err
	case !exists:
		return nil, fmt.Errorf("there is no journal in %s", dir)
	}
	j, err := journal.Open(ctx, journal.Config{Dir: dir, SweepInterval: noSweep, Logger: warnings(stderr)})
	if err != nil {
		return nil, withHint(err)
	}
	s := &source{journal: j, now: time.Now()}
	if err := s.openArrays(ctx, filepath.Join(dir, "arrays"), stderr); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return s, nil
}

// withHint adds the solution to the error of a data directory that is in use or damaged.
func withHint(err error) error {
	switch {
	case errors.Is(err, journal.ErrLocked):
		return fmt.Errorf("%w; stop it first", err)
	case errors.Is(err, journal.ErrDamaged):
		return fmt.Errorf("%w; keep a copy of the directory, then restore a backup or accept the loss: docs/operations.md, A damaged data directory", err)
	}
	return err
}

// warnings returns a logger for the packages that a command uses.
func warnings(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// openArrays lists the arrays of all tenants. It reports and skips unreadable arrays, because no job can read them
// either.
func (s *source) openArrays(ctx context.Context, dir string, stderr io.Writer) error {
	tenants, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.store, err = array.Open(array.Config{Dir: dir}); err != nil {
		return err
	}
	for _, d := range tenants {
		tenant, ok := strings.CutPrefix(d.Name(), "t-")
		if !ok {
			continue
		}
		list, err := s.store.List(ctx, tenant, "", math.MaxInt)
		if err != nil {
			return err
		}
		for _, a := range list {
			h, err := s.store.Acquire(ctx, tenant, a.Name)
			if err != nil {
				_, _ = fmt.Fprintf(stderr, "array %s of tenant %s is skipped: %v\n", a.Name, tenant, err)
				continue
			}
			if err := h.Close(); err != nil {
				return err
			}
			s.arrays = append(s.arrays, sourceArray{tenant: tenant, Array: a})
		}
	}
	return nil
}

// count returns the totals of the source. With logs it also reads the log of every job.
func (s *source) count(ctx context.Context, logs bool) (totals, error) {
	c := &counter{now: s.now, logs: logs}
	for i := range s.arrays {
		c.addArray(s.arrays[i].Bytes)
	}
	docs, err := s.journal.Documents(ctx, "")
	for i := range docs {
		c.addDocument(docs[i].Name)
	}
	err = errors.Join(err, s.journal.Export(ctx, c))
	return c.totals, err
}

// totals counts the content of a source, or the imported part.
type totals struct {
	arrays, arrayBytes int64
	jobs, unfinished   int64
	keys, tombstones   int64
	pauses, schedules  int64
}

// String returns the totals as text.
func (t *totals) String() string {
	return fmt.Sprintf("%d arrays (%d bytes), %d jobs (%d unfinished), %d idempotency keys, %d tombstones, %d schedules, %d pauses",
		t.arrays, t.arrayBytes, t.jobs, t.unfinished, t.keys, t.tombstones, t.schedules, t.pauses)
}

func (t *totals) addArray(bytes int64) {
	t.arrays++
	t.arrayBytes += bytes
}

func (t *totals) addJob(view *job.Job) {
	t.jobs++
	if !view.State.Terminal() {
		t.unfinished++
	}
}

func (t *totals) addDocument(name string) {
	if strings.HasPrefix(name, job.PauseDocuments) {
		t.pauses++
	} else {
		t.schedules++
	}
}

func (t *totals) add(o totals) {
	t.arrays, t.arrayBytes = t.arrays+o.arrays, t.arrayBytes+o.arrayBytes
	t.jobs, t.unfinished = t.jobs+o.jobs, t.unfinished+o.unfinished
	t.keys, t.tombstones = t.keys+o.keys, t.tombstones+o.tombstones
	t.pauses, t.schedules = t.pauses+o.pauses, t.schedules+o.schedules
}

// counter counts the records that have not expired.
type counter struct {
	totals
	now  time.Time
	logs bool
}

// Job implements journal.Visitor.
func (c *counter) Job(view job.Job, _ []byte, log job.LogSeq, _ job.Deliveries) error {
	if c.logs {
		for _, err := range log {
			if err != nil {
				return fmt.Errorf("job %s: %w", view.ID, err)
			}
		}
	}
	c.addJob(&view)
	return nil
}

// Key implements journal.Visitor.
func (c *counter) Key(k job.KeyRecord) error {
	if c.now.Before(k.Expires) {
		c.keys++
	}
	return nil
}

// Tombstone implements journal.Visitor.
func (c *counter) Tombstone(t job.Tombstone) error {
	if c.now.Before(t.Expires) {
		c.tombstones++
	}
	return nil
}
