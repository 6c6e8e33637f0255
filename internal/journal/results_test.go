package journal_test

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// TestResultsExpire checks that expired jobs are not counted, also if they expired while the journal was closed or were deleted
// by a version without counts.
func TestResultsExpire(t *testing.T) {
	c := &clock{now: time.Now()}
	fs := vfs.NewMem()
	j := openAt(t, c, journal.Config{FS: fs})
	end := func(retention time.Duration) job.ID {
		id, s := submission("t")
		s.Job.Retention = retention
		must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{At: c.Now()},
			job.Finished{State: job.Failed, At: c.Now(), Details: []byte("0123456789")})))
		return id
	}
	want := func(want int64) {
		t.Helper()
		if _, got := j.Results("t", job.ID{}); got != want {
			t.Errorf("%d bytes of results, want %d", got, want)
		}
	}
	reopen := func() {
		t.Helper()
		must(t, j.Close())
		j = openAt(t, c, journal.Config{FS: fs})
	}
	end(time.Minute)
	end(time.Hour)
	gone := end(time.Hour)
	end(2 * time.Hour)
	want(40)
	c.add(2 * time.Minute)
	must(t, j.Sweep(t.Context()))
	want(30)
	must(t, j.DeleteAsEarlier("t", gone))
	c.add(time.Hour)
	reopen()
	want(20)
	must(t, j.Sweep(t.Context()))
	want(10)
	reopen()
	want(10)
	must(t, j.Close())
}

// TestResultsDeletedTwice queues two deletions of a job behind a write that waits for the disk: its results are freed once.
func TestResultsDeletedTwice(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	for range 2 {
		id, s := submission("t")
		must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{},
			job.Finished{State: job.Failed, Details: []byte("0123456789")})))
		resume := d.hang()
		waiting, s := submission("t")
		must(t, j.Append(t.Context(), entry(waiting, s)))
		until(t, "a write waits for the disk", func() bool { return j.InEngine("t", waiting) })
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			wantErr(t, j.Delete(ctx, "t", id), context.DeadlineExceeded)
			cancel()
		}
		resume()
		must(t, j.Flush(t.Context()))
		if _, got := j.Results("t", id); got != 0 {
			t.Errorf("%d bytes of results after the deletion, want 0", got)
		}
	}
	must(t, j.Close())
}

// TestResultsOfOthers checks that results of uncounted tenants stay uncounted, also when the tenant is counted later.
func TestResultsOfOthers(t *testing.T) {
	fs := vfs.NewMem()
	counted := map[string]bool{"t": true}
	cfg := journal.Config{Dir: "j", FS: fs, CountResults: func(tenant string) bool { return counted[tenant] }}
	j := open(t, cfg)
	end := func(tenant string) job.ID {
		id, s := submission(tenant)
		must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{},
			job.Finished{State: job.Failed, Details: []byte("0123456789")})))
		return id
	}
	end("t")
	other := end("u")
	counted["u"] = true
	end("u")
	for round, want := range []int64{10, 10, 10} {
		for _, tenant := range []string{"t", "u"} {
			if _, got := j.Results(tenant, job.ID{}); got != want {
				t.Errorf("round %d: tenant %s has %d bytes of results, want %d", round, tenant, got, want)
			}
		}
		switch round {
		case 0:
			must(t, j.Close())
			j = open(t, cfg)
		case 1:
			must(t, j.Delete(t.Context(), "u", other))
		}
	}
	must(t, j.Close())
}
