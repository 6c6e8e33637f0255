package journal_test

import (
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t testing.TB, c journal.Config) *journal.Journal {
	t.Helper()
	c.Logger = quiet
	j, err := journal.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJournal(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		journaltest.Exercise(t, func(t *testing.T, dir string) journaltest.Journal {
			return open(t, journal.Config{Dir: dir})
		})
	})
	t.Run("memory", func(t *testing.T) {
		fs := vfs.NewMem()
		journaltest.Exercise(t, func(t *testing.T, dir string) journaltest.Journal {
			return open(t, journal.Config{Dir: dir, FS: fs})
		})
	})
}
