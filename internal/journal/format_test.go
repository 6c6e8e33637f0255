package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

func TestLocked(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": nil, "memory": vfs.NewMem()} {
		dir := filepath.Join(t.TempDir(), "new", name)
		j := open(t, journal.Config{Dir: dir, FS: fs})
		_, err := journal.Open(t.Context(), journal.Config{Dir: dir, FS: fs, Logger: quiet})
		wantErr(t, err, journal.ErrLocked)
		must(t, j.Close())
		must(t, open(t, journal.Config{Dir: dir, FS: fs}).Close())
	}
}

func TestOpenFaults(t *testing.T) {
	if _, err := journal.Open(t.Context(), journal.Config{Logger: quiet}); err == nil {
		t.Error("opened no directory")
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := journal.Open(t.Context(), journal.Config{Dir: file, Logger: quiet}); err == nil {
		t.Error("opened a file")
	}
}

func TestFormat(t *testing.T) {
	fs := vfs.NewMem()
	cfg := journal.Config{Dir: "j", FS: fs, Logger: quiet}
	j := open(t, cfg)
	id, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, s)))
	must(t, j.SetFormat(99))
	must(t, j.Close())
	for range 2 {
		_, err := journal.Open(t.Context(), cfg)
		wantErr(t, err, journal.ErrFormat)
	}

	// A migration runs once, atomically with its version.
	steps := 0
	journal.Migrations[99] = func(_ *pebble.DB, b *pebble.Batch) error {
		steps++
		return b.Set([]byte("migrated"), nil, nil)
	}
	defer delete(journal.Migrations, 99)
	_, err := journal.Open(t.Context(), cfg)
	wantErr(t, err, journal.ErrFormat) // there is no migration from 100
	if steps != 1 {
		t.Fatal(steps)
	}
	journal.Migrations[100] = func(*pebble.DB, *pebble.Batch) error { return errDisk }
	defer delete(journal.Migrations, 100)
	_, err = journal.Open(t.Context(), cfg)
	wantErr(t, err, errDisk)
	if steps != 1 {
		t.Fatal(steps)
	}

	// Data without a version is rejected.
	other := vfs.NewMem()
	j = open(t, journal.Config{Dir: "j", FS: other})
	must(t, journaltest.Append(t.Context(), j, entry(id, s)))
	must(t, j.ClearFormat())
	must(t, j.Close())
	_, err = journal.Open(t.Context(), journal.Config{Dir: "j", FS: other, Logger: quiet})
	wantErr(t, err, journal.ErrFormat)

	// A later Pebble has another marker of its format version.
	dir := t.TempDir()
	must(t, open(t, journal.Config{Dir: dir}).Close())
	marks, err := filepath.Glob(filepath.Join(dir, "marker.format-version.*"))
	must(t, err)
	must(t, os.Rename(marks[0], filepath.Join(dir, "marker.format-version.000099.999")))
	_, err = journal.Open(t.Context(), journal.Config{Dir: dir, Logger: quiet})
	wantErr(t, err, journal.ErrFormat)
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	j := open(t, journal.Config{Dir: "j", FS: vfs.NewMem(), Registerer: reg})
	id, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, s)))
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	n, err := testutil.GatherAndCount(reg, "gather_journal_commit_seconds", "gather_journal_ready", "gather_journal_disk_bytes")
	if err != nil || n != 3 {
		t.Fatal(n, err)
	}
	must(t, j.Close())
	if _, err := reg.Gather(); err != nil {
		t.Fatal(err)
	}
}

func FuzzStored(f *testing.F) {
	id, s := submission("tenant")
	f.Add([]byte("a\x06tenant"+string(id[:])), append([]byte{byte(len(s.Job.AppendBinary(nil)))}, append(s.Job.AppendBinary(nil), 1, '{', '}')...))
	f.Add([]byte("l"+string(id[:])+"\x00\x00\x00\x00\x00\x00\x00\x02"), job.AppendEvent(job.AppendEvent(nil, s), job.Started{}))
	f.Add([]byte("o"+string(id[:])+"\x80\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02"), make([]byte, 56))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if err := journal.CheckStored(key, value); err != nil {
			t.Error(err)
		}
	})
}
