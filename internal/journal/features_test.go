package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// fillFormats appends what formats 2 to 6 have added: delays, items of numbers, webhooks, groups and retries; and documents.
func fillFormats(t *testing.T, j *journal.Journal) {
	t.Helper()
	now := time.Now().UTC()
	add := func(change func(*job.Job), events ...job.Event) job.ID {
		id, s := submission("acme")
		s.Job.Retention, s.Job.CreatedAt = century, now
		change(&s.Job)
		must(t, journaltest.Append(t.Context(), j, entry(id, append([]job.Event{s}, events...)...)))
		return id
	}
	var floats, integers job.Items
	for i := range int64(5) {
		floats.AddFloat(i, float64(i)/4, time.Millisecond)
		integers.AddInt(i, i-2, time.Millisecond)
	}
	done := func(items job.Items) []job.Event {
		return []job.Event{
			job.Started{At: now},
			job.TaskProgress{Task: 0, Done: true, Completed: 5, Items: items},
			job.TaskProgress{Task: 1, Done: true},
			job.Finished{At: now, State: job.Succeeded, Result: []byte("5")},
		}
	}
	failed := []job.Event{
		job.Started{At: now}, job.Finished{At: now, State: job.Failed, Failure: &job.Failure{Reason: job.FailedResultTooLarge, Detail: "too large"}},
	}
	grouped := func(j *job.Job) { j.Group = "nightly" }
	hooked := func(j *job.Job) {
		grouped(j)
		j.Webhooks = []job.Webhook{{URL: "https://hooks.example/x", Events: job.AllEvents}, {URL: "https://hooks.example/y", Events: job.EventOf(job.Failed), Standing: true}}
	}
	add(func(j *job.Job) { j.Delay, j.StartAfter = time.Hour, now.Add(time.Hour) })
	add(func(*job.Job) {}, done(floats)...)
	add(grouped)
	add(grouped, done(integers)...)
	delivered := add(hooked, done(integers)...)
	_, err := j.ChangeDelivery(t.Context(), "acme", delivered, job.DeliveryChange{
		Attempt: &job.Attempt{At: now, Duration: time.Second, Status: 204}, State: job.DeliveryDone,
	})
	must(t, err)
	first := add(hooked, failed...) // its deliveries are pending
	add(func(j *job.Job) { j.Group, j.RetryOf = "nightly", first }, job.Started{At: now})
	gone := add(grouped, done(floats)...)
	must(t, j.Delete(t.Context(), "acme", gone))
	pause := job.Pause{Scope: job.PauseKind, Name: "squares", Reason: "a move", At: now}
	_, err = j.PutDocument(t.Context(), pause.DocumentName(), pause.Encode(), 0)
	must(t, err)
	revision, err := j.PutDocument(t.Context(), "schedule/acme/nightly", []byte(`{"format":1}`), 0)
	must(t, err)
	_, err = j.PutDocument(t.Context(), "schedule/acme/nightly", []byte(`{"format":1,"name":"nightly"}`), revision)
	must(t, err)
}

// contentOf returns the jobs of a journal as text: its export, deliveries, and groups with their ends.
func contentOf(t *testing.T, j *journal.Journal) string {
	t.Helper()
	content := exportOf(t, j)
	text := content.text()
	for _, e := range content.jobs {
		text += fmt.Sprintf("deliveries of %s %x\n", e.view.ID, e.deliveries.AppendBinary(nil))
	}
	groups, err := j.Groups(t.Context(), "acme", "", 10)
	must(t, err)
	for _, g := range groups {
		text += fmt.Sprintf("group %+v\n", g)
		ends, err := j.GroupEnds(t.Context(), "acme", g.Name, 0, 10)
		must(t, err)
		for _, e := range ends {
			text += fmt.Sprintf("end %d %s\n", e.Seq, e.ID)
		}
	}
	return text
}

// documentsOf returns the documents of a journal as text.
func documentsOf(t *testing.T, j *journal.Journal) (text string) {
	t.Helper()
	docs, err := j.Documents(t.Context(), "")
	must(t, err)
	for _, d := range docs {
		text += fmt.Sprintf("%s %d %q\n", d.Name, d.Revision, d.Value)
	}
	return text
}

// A data directory with everything of formats 2 to 6, and a snapshot of it, whose documents are left out, are read as the first version with all of them
// wrote them. See job.Format.
func TestGoldenFormats(t *testing.T) {
	const golden = "testdata/v1/format6"
	if _, err := os.Stat(golden); *update && os.IsNotExist(err) {
		dir := filepath.Join(golden, "data")
		j := openCentury(t, dir)
		fillFormats(t, j)
		must(t, j.Close())
		j = openCentury(t, dir)
		must(t, os.WriteFile(filepath.Join(golden, "content.txt"), []byte(contentOf(t, j)), 0o600))
		must(t, os.WriteFile(filepath.Join(golden, "documents.txt"), []byte(documentsOf(t, j)), 0o600))
		s, err := j.Snapshot(t.Context())
		must(t, err)
		must(t, s.Parts(t.Context(), 1<<20, func(part []byte) error {
			return os.WriteFile(filepath.Join(golden, "snapshot.bin"), part, 0o600)
		}))
		must(t, s.Close())
		must(t, j.Close())
	}
	read := func(file string) string {
		data, err := os.ReadFile(filepath.Join(golden, file))
		must(t, err)
		return string(data)
	}
	want := read("content.txt")
	t.Run("data directory", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS(filepath.Join(golden, "data"))))
		j := openCentury(t, dir)
		defer func() { must(t, j.Close()) }()
		if got := contentOf(t, j); got != want {
			t.Errorf("the content is\n%s\nwant\n%s", got, want)
		}
		if got, want := documentsOf(t, j), read("documents.txt"); got != want {
			t.Errorf("the documents are\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		to := openReplica(t, vfs.NewMem())
		defer func() { must(t, to.Close()) }()
		must(t, to.Restore(t.Context(), sequence([][]byte{[]byte(read("snapshot.bin"))})))
		if got := contentOf(t, to); got != want {
			t.Errorf("the content is\n%s\nwant\n%s", got, want)
		}
		if got := documentsOf(t, to); got != "" {
			t.Errorf("the documents are\n%s\nwant none, because they are the replica's own", got)
		}
	})
}
