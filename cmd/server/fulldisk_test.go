package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/executor"
	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
	"gather/internal/kind"
)

// smallServer is an executor and its journal on a small disk.
type smallServer struct {
	*journal.Journal
	exec *executor.Executor
}

func startSmall(t *testing.T, d *journaltest.SmallDisk, margin uint64, maxResult, quota int64) *smallServer {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Config{
		Dir: "data", FS: d, MinFreeBytes: margin, SweepInterval: 20 * time.Millisecond, RetryInterval: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ec := executor.DefaultConfig()
	ec.Journal, ec.Room, ec.Planner = j, j.Room, kind.NewRegistry(kind.DefaultLimits(), nil)
	ec.MaxResultBytes, ec.Results = maxResult, j.Results
	ec.TenantResultBytes = func(string) int64 { return quota }
	ec.Logger, ec.Registerer = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	exec, err := executor.New(t.Context(), ec)
	if err != nil {
		t.Fatal(errors.Join(err, j.Close()))
	}
	return &smallServer{Journal: j, exec: exec}
}

func (s *smallServer) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.exec.Stop(t.Context()), s.Close()); err != nil {
		t.Error(err)
	}
}

func (s *smallServer) submit(t *testing.T, spec string, retention time.Duration) job.ID {
	t.Helper()
	var jobs []job.Job
	s.until(t, "the job is accepted, on a busy machine whose disk may stall", func() (done bool) {
		var err error
		jobs, err = s.exec.Submit(t.Context(), []job.Submission{
			{Tenant: "t", Kind: "squares", Spec: []byte(spec), Priority: job.Normal, Retention: retention},
		}, nil, false)
		if err != nil && !errors.Is(err, job.ErrStorage) {
			t.Fatal(err)
		}
		return err == nil
	})
	return jobs[0].ID
}

// until polls for a state of the server without a signal of its own.
func (s *smallServer) until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	until(t.Context(), t, 20*time.Minute, what, func(context.Context) (bool, any) { return reached(), "not reached" })
}

// end cancels and deletes a job. On a full disk it may fail until the ballast is removed.
func (s *smallServer) end(t *testing.T, id job.ID) {
	t.Helper()
	s.until(t, "the job is cancelled and deleted", func() bool {
		if _, err := s.exec.Cancel(t.Context(), "t", id); err != nil && !errors.Is(err, job.ErrExpired) {
			return false
		}
		err := s.Delete(t.Context(), "t", id)
		return err == nil || errors.Is(err, job.ErrExpired)
	})
}

// change changes a job, and again while the disk of a busy machine stalls; the change may have deleted the job then.
func (s *smallServer) change(t *testing.T, what string, do func() error) {
	t.Helper()
	s.until(t, what, func() bool {
		err := do()
		if err != nil && !errors.Is(err, job.ErrStorage) && !errors.Is(err, job.ErrExpired) {
			t.Fatalf("%s: %v", what, err)
		}
		return !errors.Is(err, job.ErrStorage)
	})
}

// untilGone waits until the jobs are deleted or swept.
func (s *smallServer) untilGone(t *testing.T, ids ...job.ID) {
	t.Helper()
	s.until(t, fmt.Sprint("jobs are gone: ", ids), func() bool {
		for _, id := range ids {
			if _, err := s.Get(t.Context(), "t", id); !errors.Is(err, job.ErrExpired) {
				return false
			}
		}
		return true
	})
}

// TestResultsFillTheDisk submits five small requests whose results exceed the disk. The disk keeps the space that
// deletes, cancels, the sweep and a restart need, and all of them work even when the last free block is taken by other
// data.
func TestResultsFillTheDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector")
	}
	t.Parallel()
	// The ballast has four memtables, its full size: all that a busy machine may not have flushed when the disk becomes full,
	// and that a restart writes.
	const margin = 256 << 20
	d := journaltest.NewSmallDisk(512 << 20)
	d.Fill(384 << 20) // results have less to fill
	s := startSmall(t, d, margin, 0, 0)
	done := s.submit(t, `{"range":{"stop":3}}`, time.Hour)
	s.until(t, "the small job has succeeded", func() bool {
		v, err := s.Get(t.Context(), "t", done)
		return err == nil && v.State == job.Succeeded
	})
	large := make([]job.ID, 5)
	for i := range large {
		retention := time.Hour
		if i == 0 {
			retention = time.Millisecond
		}
		large[i] = s.submit(t, `{"range":{"start":1000000000000000000,"stop":1000000000010000000}}`, retention)
	}
	s.until(t, "tasks wait for space", func() bool { return s.Ready() != nil && s.Room() != nil && s.exec.Work().Busy == 0 })
	if free := d.Free(); free < 1 {
		t.Fatalf("%d bytes are free: results took the reserve", free)
	}

	s.change(t, "cancel", func() error {
		_, err := s.exec.Cancel(t.Context(), "t", large[0])
		return err
	})
	s.change(t, "delete", func() error { return s.Delete(t.Context(), "t", done) })
	s.untilGone(t, large[0]) // swept

	d.Fill(0)
	s.end(t, large[1])
	if err := s.exec.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	_ = s.Close() // may report the full disk; the next start has every acknowledged change
	s = startSmall(t, d, margin, 0, 0)
	for _, id := range large[2:] {
		if v, err := s.Get(t.Context(), "t", id); err != nil || v.State.Terminal() {
			t.Fatalf("a job after the restart is %v, error %v; want it unfinished", v.State, err)
		}
		s.end(t, id)
	}
	s.untilGone(t, large...)

	d.Clean()
	s.until(t, "submissions are accepted again", func() bool { return s.Ready() == nil && s.Room() == nil })
	last := s.submit(t, `{"range":{"stop":3}}`, time.Hour)
	s.until(t, "a job succeeds", func() bool {
		v, err := s.Get(t.Context(), "t", last)
		return err == nil && v.State == job.Succeeded
	})
	s.stop(t)
}

// TestMaxResultBytes rejects a job whose results are known to be too large, and fails one whose results turn out to be.
func TestMaxResultBytes(t *testing.T) {
	const limit = 1 << 20
	s := startSmall(t, journaltest.NewSmallDisk(256<<20), 0, limit, 0)
	_, err := s.exec.Submit(t.Context(), []job.Submission{
		{Tenant: "t", Kind: "squares", Spec: []byte(`{"range":{"start":-1000000000010000000,"stop":-1000000000000000000}}`), Priority: job.Normal},
	}, nil, false)
	if v, ok := errors.AsType[*fields.Errors](err); !ok || !strings.Contains(v.Error(), "at least 370000000 bytes") {
		t.Errorf("a range whose squares have 370 MB: error %v, want one that names their size", err)
	}
	number := strings.Repeat("9", 1000)
	numbers := make([]string, 1000)
	for i := range numbers {
		numbers[i] = fmt.Sprintf("%d%s", i+1, number)
	}
	id := s.submit(t, `{"numbers":[`+strings.Join(numbers, ",")+`]}`, time.Hour)
	var v job.Job
	s.until(t, "the job has ended", func() bool {
		v, err = s.Get(t.Context(), "t", id)
		return err == nil && v.State.Terminal()
	})
	if v.Failure == nil || v.Failure.Reason != job.FailedResultTooLarge || !strings.Contains(v.Failure.Detail, "more than 1048576 bytes") {
		t.Errorf("a job with 2 MB of results is %v, %v; want it failed with the limit", v.State, v.Failure)
	}
	if ofJob, ofTenant := s.Results("t", id); ofJob != 0 || ofTenant > limit {
		t.Errorf("%d and %d bytes are stored, want none of an unfinished job and at most %d", ofJob, ofTenant, limit)
	}
	small := s.submit(t, `{"numbers":[`+number+`]}`, time.Hour)
	s.until(t, "a small job succeeds", func() bool {
		v, err := s.Get(t.Context(), "t", small)
		return err == nil && v.State == job.Succeeded
	})
	s.stop(t)
}

// TestTenantResultBytes fills a tenant's quota of result bytes, which survives a restart; deleted and expired jobs free
// it.
func TestTenantResultBytes(t *testing.T) {
	const quota = 100_000
	d := journaltest.NewSmallDisk(256 << 20)
	s := startSmall(t, d, 0, 0, quota)
	ended := func(id job.ID) (v job.Job) {
		t.Helper()
		s.until(t, "the job has ended", func() bool {
			var err error
			v, err = s.Get(t.Context(), "t", id)
			return err == nil && v.State.Terminal()
		})
		return v
	}
	spec := fmt.Sprintf(`{"numbers":[%s]}`, strings.Repeat("9", 20_000)) // a square of 40 000 digits
	rejected := func(what, spec string) {
		t.Helper()
		_, err := s.exec.Submit(t.Context(), []job.Submission{{Tenant: "t", Kind: "squares", Spec: []byte(spec), Priority: job.Normal}}, nil, false)
		if r, ok := errors.AsType[*job.Rejection](err); !ok || !errors.Is(err, job.ErrQuota) || !strings.Contains(r.Detail, "of at most 100000 bytes") {
			t.Errorf("%s: error %v, want a rejection for the quota", what, err)
		}
	}
	first, short := s.submit(t, spec, time.Hour), s.submit(t, spec, 10*time.Millisecond)
	for _, id := range []job.ID{first, short} {
		if v := ended(id); v.State != job.Succeeded {
			t.Fatalf("a job within the quota is %v, %v", v.State, v.Failure)
		}
	}
	s.untilGone(t, short) // swept
	second := s.submit(t, spec, time.Hour)
	ended(second)
	third := s.submit(t, spec, time.Hour)
	if v := ended(third); v.Failure == nil || v.Failure.Reason != job.FailedResultTooLarge {
		t.Errorf("a job that crosses the quota is %v, %v; want it failed", v.State, v.Failure)
	}
	rejected("a plan with more than is left", `{"range":{"start":100000000000,"stop":100000001000}}`)
	s.stop(t)
	s = startSmall(t, d, 0, 0, quota)
	rejected("after a restart", `{"range":{"start":100000000000,"stop":100000001000}}`)
	s.change(t, "delete", func() error { return s.Delete(t.Context(), "t", first) })
	if v := ended(s.submit(t, spec, time.Hour)); v.State != job.Succeeded {
		t.Errorf("a job after a deletion is %v, %v; want it succeeded", v.State, v.Failure)
	}
	s.stop(t)
}
