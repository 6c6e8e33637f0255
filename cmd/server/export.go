package main

import (
	"context"
	"encoding/hex"
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
	"gather/internal/transfer"
)

type exportCmd struct {
	DataDir string `default:"gather-data" placeholder:"DIR" help:"Data directory of a server that has been stopped."`
}

// Run writes all that a data directory holds to standard output: arrays, jobs with their logs, idempotency keys,
// tombstones. The directory is opened as a server does at its start, under the same lock; nothing else in it changes.
func (c *exportCmd) Run(ctx context.Context, s streams) error {
	if isTerminal(s.out) {
		return fmt.Errorf("%w: the export is not for a terminal: send it to a file, or to 'server import'", errUsage)
	}
	from, err := openSource(ctx, c.DataDir, s.err)
	if err != nil {
		return err
	}
	err = from.export(ctx, s.out, s.err)
	return errors.Join(err, from.journal.Close())
}

// source is what a data directory holds.
type source struct {
	journal *journal.Journal
	store   *array.Store
	arrays  []sourceArray
	// now decides what has expired.
	now time.Time
}

type sourceArray struct {
	tenant string
	job.Array
}

// never is longer than any export takes.
const never = time.Duration(math.MaxInt64)

func openSource(ctx context.Context, dir string, stderr io.Writer) (*source, error) {
	switch there, err := journal.Exists(dir); {
	case err != nil:
		return nil, err
	case !there:
		return nil, fmt.Errorf("there is no journal in %s", dir)
	}
	j, err := journal.Open(ctx, journal.Config{Dir: dir, SweepInterval: never, Logger: warnings(stderr)})
	if err != nil {
		return nil, stopFirst(err)
	}
	s := &source{journal: j, now: time.Now()}
	if err := s.openArrays(ctx, filepath.Join(dir, "arrays"), stderr); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return s, nil
}

// stopFirst says what to do about a data directory in use.
func stopFirst(err error) error {
	if errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("%w; stop it first", err)
	}
	return err
}

// warnings are for what goes wrong below.
func warnings(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// openArrays lists the arrays of all tenants; those that cannot be read are left out, as no job can read them.
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
				_, _ = fmt.Fprintf(stderr, "array %s of tenant %s is left out: %v\n", a.Name, tenant, err)
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

// export counts what there is, and then writes it.
func (s *source) export(ctx context.Context, out, stderr io.Writer) error {
	count := &counter{now: s.now}
	for i := range s.arrays {
		count.AddArray(s.arrays[i].Bytes)
	}
	if err := s.journal.Export(ctx, count); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(stderr, "exporting", &count.Totals)
	w, err := transfer.NewWriter(out, count.Totals)
	if err != nil {
		return err
	}
	p := &progress{what: "exported", done: w.Done, out: stderr}
	for i := range s.arrays {
		if err := s.exportArray(ctx, w, &s.arrays[i]); err != nil {
			return err
		}
		p.tell()
	}
	if err := s.journal.Export(ctx, &exporter{w: w, now: s.now, p: p}); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	all := w.Done()
	_, _ = fmt.Fprintln(stderr, "exported", &all)
	return nil
}

func (s *source) exportArray(ctx context.Context, w *transfer.Writer, a *sourceArray) error {
	info := transfer.ArrayInfo{Tenant: a.tenant, Name: a.Name, Bytes: a.Bytes, CreatedAt: a.CreatedAt}
	if n, err := hex.Decode(info.SHA256[:], []byte(a.SHA256)); err != nil || n != len(info.SHA256) {
		return fmt.Errorf("array %s of tenant %s: its checksum is none", a.Name, a.tenant)
	}
	h, err := s.store.Acquire(ctx, a.tenant, a.Name)
	if err != nil {
		return err
	}
	return errors.Join(w.Array(info, io.NewSectionReader(h, 0, a.Bytes)), h.Close())
}

// counter counts what will be written.
type counter struct {
	transfer.Totals
	now time.Time
}

// Job implements journal.Visitor.
func (c *counter) Job(view job.Job, _ []byte, _ job.LogSeq) error {
	c.AddJob(&view)
	return nil
}

// Key implements journal.Visitor.
func (c *counter) Key(k job.KeyRecord) error {
	if c.now.Before(k.Expires) {
		c.Keys++
	}
	return nil
}

// Tombstone implements journal.Visitor.
func (c *counter) Tombstone(t job.Tombstone) error {
	if c.now.Before(t.Expires) {
		c.Tombstones++
	}
	return nil
}

// exporter writes what has not expired.
type exporter struct {
	w   *transfer.Writer
	now time.Time
	p   *progress
}

// Job implements journal.Visitor.
func (e *exporter) Job(view job.Job, spec []byte, log job.LogSeq) error {
	e.p.tell()
	return e.w.Job(view, spec, log)
}

// Key implements journal.Visitor.
func (e *exporter) Key(k job.KeyRecord) error {
	if !e.now.Before(k.Expires) {
		return nil
	}
	e.p.tell()
	return e.w.Key(k)
}

// Tombstone implements journal.Visitor.
func (e *exporter) Tombstone(t job.Tombstone) error {
	if !e.now.Before(t.Expires) {
		return nil
	}
	e.p.tell()
	return e.w.Tombstone(t)
}

// progress tells people every few seconds how far it is.
type progress struct {
	what string
	done func() transfer.Totals
	out  io.Writer
	last time.Time
}

const progressEvery = 5 * time.Second

func (p *progress) tell() {
	now := time.Now()
	if p.last.IsZero() {
		p.last = now
	}
	if now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	t := p.done()
	_, _ = fmt.Fprintln(p.out, p.what, &t, "so far")
}

// isTerminal tells whether somebody sits at the other end.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
