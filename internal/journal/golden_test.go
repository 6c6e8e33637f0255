package journal_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

var update = flag.Bool("update", false, "make missing golden data; existing data never changes")

// century is a retention that outlives the tests.
const century = 100 * 365 * 24 * time.Hour

// openCentury opens a journal that expires nothing.
func openCentury(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Config{
		Dir: dir, TombstoneRetention: century, KeyRetention: century, SweepInterval: time.Hour, Logger: quiet,
	})
	must(t, err)
	return j
}

// fillGolden appends jobs in every state, of both formats, a used key and a tombstone.
func fillGolden(t *testing.T, j *journal.Journal) {
	t.Helper()
	now := time.Now().UTC()
	add := func(change func(*job.Job), events ...job.Event) job.ID {
		id, s := submission("acme")
		s.Job.Retention, s.Job.CreatedAt, s.Job.Labels = century, now, map[string]string{"team": "red"}
		s.Job.Tasks, s.Job.Progress.Total = 2, 4000
		if change != nil {
			change(&s.Job)
		}
		b := entry(id, s)
		if len(events) == 0 { // with a key
			b.Key = &job.Key{Tenant: "acme", Route: "POST /v1/jobs", Value: id.String(), Expires: now.Add(century)}
		}
		must(t, journaltest.Append(t.Context(), j, b))
		for _, ev := range events {
			must(t, journaltest.Append(t.Context(), j, entry(id, ev)))
		}
		return id
	}
	var few, many job.Items
	few.Add(0, []byte("0"), time.Millisecond)
	few.AddError(1, "not now", time.Millisecond)
	for i := range int64(3998) {
		many.Add(3999-i, fmt.Append(nil, i*i), time.Microsecond)
	}
	started := job.Started{At: now}
	checkpoint := job.TaskProgress{Task: 0, Completed: 1, Failed: 1, Items: few}
	done := job.TaskProgress{Task: 1, Done: true, Completed: 3998, Items: many, Partial: []byte{1, 2, 3}}
	add(nil)
	add(func(j *job.Job) { j.Delay, j.StartAfter = time.Hour, now.Add(time.Hour) })
	add(nil, started, checkpoint)
	add(nil, started, checkpoint, job.CancelRequested{At: now})
	add(nil, started, checkpoint, done, job.Finished{At: now, State: job.Succeeded, Result: []byte("55"), Details: []byte(`{"dtype":"int64"}`)})
	add(nil, job.CancelRequested{At: now}, job.Finished{At: now, State: job.Cancelled})
	for _, reason := range job.FailureReasons() {
		add(nil, started, job.Finished{At: now, State: job.Failed, Failure: &job.Failure{Reason: reason, Detail: "why"}})
	}
	gone := add(nil, started, job.Finished{At: now, State: job.Succeeded, Result: []byte("1")})
	must(t, j.Delete(t.Context(), "acme", gone))
}

// A data directory of the first version opens, with everything that was in it, and its unfinished jobs continue. See
// job.Format.
func TestGoldenDirectory(t *testing.T) {
	const golden = "testdata/v1"
	if _, err := os.Stat(golden); *update && os.IsNotExist(err) {
		dir := filepath.Join(golden, "data")
		j := openCentury(t, dir)
		fillGolden(t, j)
		must(t, j.Close())
		j = openCentury(t, dir)
		must(t, os.WriteFile(filepath.Join(golden, "content.txt"), []byte(exportOf(t, j).text()), 0o600))
		must(t, j.Close())
	}
	want, err := os.ReadFile(filepath.Join(golden, "content.txt"))
	must(t, err)
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join(golden, "data"))))
	j := openCentury(t, dir)
	defer func() { must(t, j.Close()) }()
	content := exportOf(t, j)
	if got := content.text(); got != string(want) {
		t.Errorf("the content is\n%s\nwant\n%s", got, want)
	}
	ended := 0
	for _, e := range content.jobs {
		if e.view.State.Terminal() {
			continue
		}
		ended++
		var events []job.Event
		if e.view.State != job.Cancelling {
			events = append(events, job.CancelRequested{At: time.Now()})
		}
		events = append(events, job.Finished{At: time.Now(), State: job.Cancelled})
		must(t, journaltest.Append(t.Context(), j, entry(e.view.ID, events...)))
		if got, err := j.Get(t.Context(), "acme", e.view.ID); err != nil || got.State != job.Cancelled {
			t.Errorf("a job that was %v is %v (%v) after its end, want cancelled", e.view.State, got.State, err)
		}
	}
	if ended != 4 {
		t.Errorf("%d unfinished jobs, want 4", ended)
	}
}
