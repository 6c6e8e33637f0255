package journal_test

import (
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

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
