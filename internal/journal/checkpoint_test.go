package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// TestCheckpoint copies a journal while clients submit: the copy has all batches acknowledged before, and no partial batch. A
// copy that loses the end of its log is not opened.
func TestCheckpoint(t *testing.T) {
	fs := vfs.NewMem()
	hooks := journal.Hooks{MemTable: 64 << 10}
	j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: fs, Logger: quiet}, hooks)
	must(t, err)
	l := newLoad(t, j)
	l.run(8, 50)
	var copies []string
	for i := range 6 {
		n := len(l.snapshot().seqs)
		until(t, "some more jobs", func() bool { return len(l.snapshot().seqs) >= min(n+50, 600) })
		promised := l.snapshot()
		dir, called := fmt.Sprintf("j/backup/%d", i), 0
		must(t, j.Checkpoint(t.Context(), dir, func() { called++ }))
		if called != 1 {
			t.Errorf("meanwhile was called %d times, want 1", called)
		}
		copies = append(copies, dir)
		k, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: dir, FS: fs, Logger: quiet}, hooks)
		must(t, err)
		promised.check(t, k)
		must(t, k.Close())
	}
	l.wg.Wait()
	must(t, j.Close())
	for _, dir := range append(copies, "j") {
		k := open(t, journal.Config{Dir: dir, FS: fs})
		if dir == "j" {
			l.check(t, k)
		}
		must(t, k.Close())
	}
}

// TestCheckpointHasMark damages a copy: Open detects it, as for the original.
func TestCheckpointHasMark(t *testing.T) {
	for _, damage := range []string{"writes", "manifest", "no manifest"} {
		t.Run(damage, func(t *testing.T) {
			s := stored{fs: vfs.NewCrashableMem()}
			j := open(t, journal.Config{Dir: "k", FS: s.fs})
			for range 20 {
				id, sub := submission("t")
				must(t, journaltest.Append(t.Context(), j, entry(id, sub)))
			}
			must(t, j.Checkpoint(t.Context(), "j", func() {}))
			must(t, j.Checkpoint(t.Context(), "copy", func() {}))
			must(t, j.Close())
			switch damage {
			case "writes":
				// The mark of a later copy records writes that this copy lacks.
				k := open(t, journal.Config{Dir: "j", FS: s.fs})
				id, sub := submission("t")
				must(t, journaltest.Append(t.Context(), k, entry(id, sub)))
				must(t, k.Checkpoint(t.Context(), "later", func() {}))
				must(t, k.Close())
				must(t, s.fs.RemoveAll("j"))
				must(t, s.fs.Rename("copy", "j"))
				must(t, vfs.Copy(s.fs, "later/SYNCED", "j/SYNCED"))
			case "manifest":
				name := s.files(t, "MANIFEST-*")[0]
				content := s.read(t, name)
				s.write(t, name, content[:len(content)-1])
			case "no manifest":
				must(t, s.fs.Remove("j/"+s.files(t, "marker.manifest*")[0]))
			}
			before := s.files(t, "*")
			if !s.complete(t, damage) {
				t.Error("a damaged copy was opened")
			}
			if after := s.files(t, "*"); !slices.Equal(after, before) && !slices.Equal(slices.DeleteFunc(after, isLock), before) {
				t.Errorf("a rejected directory was changed: %v, want %v", after, before)
			}
		})
	}
}

func isLock(name string) bool { return name == "LOCK" }

// TestCheckpointOnFullDisk fails each operation of the copy: the copy returns the error, and the journal still accepts
// submissions.
func TestCheckpointOnFullDisk(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	for n := 0; ; n++ {
		left := n
		d.fail(func(op errorfs.Op) error {
			if !strings.HasPrefix(op.Path, "j/backup") || writes(op) == nil {
				return nil
			}
			if left--; left >= 0 {
				return nil
			}
			return errDisk
		})
		err := j.Checkpoint(t.Context(), fmt.Sprintf("j/backup/%d", n), func() {})
		d.fail(nil)
		id, s := submission("t")
		must(t, journaltest.Append(t.Context(), j, entry(id, s)))
		must(t, j.Ready())
		if err == nil {
			t.Logf("a copy is %d operations", n)
			break
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("after %d operations: %v, want %v", n, err, errDisk)
		}
	}
	must(t, j.Close())
	wantErr(t, j.Checkpoint(t.Context(), "j/closed", func() {}), job.ErrStorage)
}
