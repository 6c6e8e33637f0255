package journal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// TestNoTombstones deletes and sweeps jobs without leaving tombstones.
func TestNoTombstones(t *testing.T) {
	c := &clock{now: time.Now()}
	j, err := journal.OpenWithHooks(t.Context(), journal.Config{
		Dir: "j", FS: vfs.NewMem(), Logger: quiet, TombstoneRetention: journal.NoTombstones, SweepInterval: time.Hour,
	}, journal.Hooks{Now: c.Now})
	must(t, err)
	ids := make([]job.ID, 2)
	for i := range ids {
		var s job.Submitted
		ids[i], s = submission("t")
		must(t, journaltest.Append(t.Context(), j, entry(ids[i], s, job.Started{}, job.Finished{State: job.Succeeded, At: c.Now()})))
	}
	must(t, j.Delete(t.Context(), "t", ids[0]))
	c.add(2 * time.Hour)
	must(t, j.Sweep(t.Context()))
	for _, id := range ids {
		_, err := j.Get(t.Context(), "t", id)
		wantErr(t, err, job.ErrNotFound)
	}
	must(t, j.Close())
}

// TestActiveJobsOfIdle checks that the metrics count only unfinished jobs and their groups, also right after an end.
func TestActiveJobsOfIdle(t *testing.T) {
	reg := prometheus.NewRegistry()
	j := open(t, journal.Config{Dir: "j", FS: vfs.NewMem(), Registerer: reg})
	id, s := submission("t")
	s.Job.Group = "nightly"
	active := func(want string) {
		t.Helper()
		text := "# HELP gather_journal_active_jobs Unfinished jobs, which are held in memory.\n" +
			"# TYPE gather_journal_active_jobs gauge\ngather_journal_active_jobs " + want + "\n" +
			"# HELP gather_journal_active_groups Groups with unfinished jobs.\n" +
			"# TYPE gather_journal_active_groups gauge\ngather_journal_active_groups " + want + "\n"
		if err := testutil.GatherAndCompare(reg, strings.NewReader(text), "gather_journal_active_jobs", "gather_journal_active_groups"); err != nil {
			t.Error(err)
		}
	}
	must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
	active("1")
	must(t, journaltest.Append(t.Context(), j, entry(id, job.Finished{State: job.Succeeded})))
	active("0")
	must(t, j.Close())
}
