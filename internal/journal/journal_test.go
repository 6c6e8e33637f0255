package journal_test

import (
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func open(tb testing.TB, c journal.Config) *journal.Journal {
	tb.Helper()
	c.Logger = quiet
	j, err := journal.Open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	return j
}

func TestJournal(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		journaltest.Exercise(t, func(t *testing.T, dir string) journaltest.Journal {
			t.Helper()
			return open(t, journal.Config{Dir: dir})
		})
	})
	t.Run("memory", func(t *testing.T) {
		fs := vfs.NewMem()
		journaltest.Exercise(t, func(t *testing.T, dir string) journaltest.Journal {
			t.Helper()
			return open(t, journal.Config{Dir: dir, FS: fs})
		})
	})
}

// TestKeyOfRejected tests that a key is free when the rejection of its batch is reported: the client may send the request again at once.
func TestKeyOfRejected(t *testing.T) {
	j := open(t, journal.Config{Dir: "j", FS: vfs.NewMem()})
	ended, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(ended, s, job.CancelRequested{At: s.Job.CreatedAt}, job.Finished{At: s.Job.CreatedAt, State: job.Cancelled})))
	dependent, after := submission("t")
	after.Job.After, after.Job.Waits = []job.ID{ended}, 1
	twice, s := submission("t")
	for name, tt := range map[string]struct {
		batch job.Batch
		want  error
	}{
		"a job twice":                    {entry(twice, s, s), job.ErrTransition},
		"a job after one that has ended": {entry(dependent, after), job.ErrDependencyEnded},
	} {
		t.Run(name, func(t *testing.T) {
			key := job.Key{Tenant: "t", Route: "POST /v1/jobs", Value: name}
			_, err := j.Reserve(t.Context(), key)
			must(t, err)
			done := make(chan [2]error, 1)
			tt.batch.Key, tt.batch.Done = &key, func(err error) {
				_, again := j.Reserve(t.Context(), key)
				done <- [2]error{err, again}
			}
			must(t, j.Append(t.Context(), tt.batch))
			got := <-done
			wantErr(t, got[0], tt.want)
			must(t, got[1])
		})
	}
	must(t, j.Close())
}
