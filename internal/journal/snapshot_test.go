package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// openReplica opens a replica that expires nothing.
func openReplica(t *testing.T, disk vfs.FS) *journal.Journal {
	t.Helper()
	return open(t, journal.Config{
		Dir: "j", FS: disk, Replica: true, TombstoneRetention: century, KeyRetention: century, SweepInterval: time.Hour,
	})
}

// partsOf returns the parts of a snapshot.
func partsOf(t *testing.T, s *journal.Snapshot) (parts [][]byte) {
	t.Helper()
	must(t, s.Parts(t.Context(), 8<<10, func(part []byte) error {
		parts = append(parts, bytes.Clone(part))
		return nil
	}))
	must(t, s.Close())
	return parts
}

// snapshotOf returns the parts of a snapshot of everything applied.
func snapshotOf(t *testing.T, j *journal.Journal) [][]byte {
	t.Helper()
	s, err := j.Snapshot(t.Context())
	must(t, err)
	return partsOf(t, s)
}

func sequence(parts [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, p := range parts {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// summary returns the export of a journal, and what it keeps in memory.
func summary(t *testing.T, j *journal.Journal) string {
	t.Helper()
	text := exportOf(t, j).text()
	for _, tenant := range []string{"t", "u"} {
		counts, err := j.Count(t.Context(), tenant, nil)
		must(t, err)
		_, results := j.Results(tenant, job.ID{})
		text += fmt.Sprintln(tenant, counts, results)
	}
	value, err := j.Metadata(t.Context(), "position")
	must(t, err)
	return text + string(value)
}

// A replica that is restored from a snapshot, whatever it had, has what the other one had: also after a restart, and its
// unfinished jobs continue.
func TestSnapshot(t *testing.T) {
	from := openReplica(t, vfs.NewMem())
	defer func() { must(t, from.Close()) }()
	ids := fill(t, from)
	must(t, from.ApplyReplicated(t.Context(), job.Batch{}, journal.Metadata{Name: "position", Value: []byte("17")}))
	_, err := from.PutDocument(t.Context(), "theirs", []byte("1"), 0) // is not in the snapshot
	must(t, err)
	s, err := from.Snapshot(t.Context())
	must(t, err)
	want := summary(t, from)
	later, sub := submission("v")
	must(t, journaltest.Append(t.Context(), from, entry(later, sub))) // is not in the snapshot
	if at, err := s.Metadata("position"); err != nil || string(at) != "17" {
		t.Errorf("the position of the snapshot is %q (%v), want 17", at, err)
	}
	parts := partsOf(t, s)
	if len(parts) < 3 {
		t.Fatalf("%d parts, want several", len(parts))
	}
	for _, content := range []string{"empty", "with other jobs"} {
		t.Run(content, func(t *testing.T) {
			disk := vfs.NewMem()
			to := openReplica(t, disk)
			var before job.ID
			if content != "empty" {
				fill(t, to)
				var sub job.Submitted
				before, sub = submission("v")
				must(t, journaltest.Append(t.Context(), to, entry(before, sub)))
			}
			_, err := to.PutDocument(t.Context(), "own", []byte("1"), 0)
			must(t, err)
			must(t, to.Restore(t.Context(), sequence(parts)))
			for round := range 2 {
				if got := summary(t, to); got != want {
					t.Fatalf("round %d: restored\n%.3000s\nwant\n%.3000s", round, got, want)
				}
				if docs, err := to.Documents(t.Context(), ""); err != nil || len(docs) != 1 || docs[0].Name != "own" {
					t.Errorf("round %d: documents %v (%v), want the replica's own", round, docs, err)
				}
				sameReads(t, to, from, ids)
				for _, id := range []job.ID{later, before} {
					_, err := to.Get(t.Context(), "v", id)
					wantErr(t, err, job.ErrNotFound)
				}
				must(t, to.Close())
				to = openReplica(t, disk)
			}
			must(t, journaltest.Append(t.Context(), to, entry(ids["running"], job.CancelRequested{At: time.Now()},
				job.Finished{At: time.Now(), State: job.Cancelled})))
			if v, err := to.Get(t.Context(), "u", ids["running"]); err != nil || v.State != job.Cancelled {
				t.Errorf("the job is %v (%v) after its end, want cancelled", v.State, err)
			}
			must(t, to.Close())
			if names, err := disk.List("j/restore"); err == nil {
				t.Errorf("%q are left of the restore, want nothing", names)
			}
		})
	}
}

// Parts that are damaged, out of order or of a later version change nothing.
func TestRestoreRefuses(t *testing.T) {
	from := openReplica(t, vfs.NewMem())
	fill(t, from)
	parts := snapshotOf(t, from)
	must(t, from.Close())
	to := openReplica(t, vfs.NewMem())
	defer func() { must(t, to.Close()) }()
	fill(t, to)
	before := summary(t, to)
	later := func(at int, v byte) [][]byte {
		all := slices.Clone(parts)
		all[1] = bytes.Clone(all[1])
		all[1][at] = v
		return all
	}
	swapped := slices.Clone(parts)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	for _, tt := range []struct {
		name  string
		parts iter.Seq2[[]byte, error]
		want  error
	}{
		{"none", sequence(nil), job.ErrCorrupt},
		{"swapped", sequence(swapped), job.ErrCorrupt},
		{"twice", sequence(slices.Concat(parts[:1], parts)), job.ErrCorrupt},
		{"without the version", sequence(parts[:1]), job.ErrCorrupt},
		{"cut", sequence(append(slices.Clone(parts[:1]), parts[1][:len(parts[1])/2])), job.ErrCorrupt},
		{"a flipped bit", sequence(later(len(parts[1])/2, parts[1][len(parts[1])/2]^4)), job.ErrCorrupt},
		{"not a part", sequence([][]byte{[]byte("hello")}), job.ErrCorrupt},
		{"a later version of parts", sequence(later(4, 2)), job.ErrVersion},
		{"a later version of the journal", sequence(later(5, 3)), job.ErrVersion},
		{"unreadable", func(yield func([]byte, error) bool) { _ = yield(parts[0], nil) && yield(nil, errDisk) }, errDisk},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantErr(t, to.Restore(t.Context(), tt.parts), tt.want)
			if got := summary(t, to); got != before {
				t.Errorf("the replica is\n%.2000s\nwant, as before,\n%.2000s", got, before)
			}
		})
	}
}

// A crash or an error of the disk during a restore leaves the earlier content or the new one, and the restore can be repeated.
func TestRestoreFaults(t *testing.T) {
	from := openReplica(t, vfs.NewMem())
	fill(t, from)
	parts, want := snapshotOf(t, from), summary(t, from)
	must(t, from.Close())
	d := newDisk()
	to := openReplica(t, d)
	fill(t, to)
	before, beforeParts := summary(t, to), snapshotOf(t, to)
	rng := rand.New(rand.NewPCG(3, 4))
	cuts := 0
	check := func(what string) {
		t.Helper()
		crashed := d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng2(rng)})
		k := openReplica(t, crashed)
		if got := summary(t, k); got != before && got != want {
			t.Fatalf("%s: after a crash\n%.2000s\nwant the earlier content or the new one", what, got)
		}
		must(t, k.Restore(t.Context(), sequence(parts)))
		if got := summary(t, k); got != want {
			t.Fatalf("%s: restored after a crash\n%.2000s\nwant\n%.2000s", what, got, want)
		}
		must(t, k.Close())
		cuts++
	}
	changes := func(op errorfs.Op) bool {
		return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && (strings.Contains(op.Path, "restore") || !strings.HasSuffix(op.Path, ".log"))
	}
	for failing := range 12 { // the operations that change the disk, one after the other
		var n atomic.Int64 // the store has goroutines that write
		d.fail(func(op errorfs.Op) error {
			if !strings.Contains(op.Path, "restore") || !changes(op) || op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpRemoveAll {
				return nil
			}
			if n.Add(1) == int64(failing)+1 {
				return errDisk
			}
			return nil
		})
		err := to.Restore(t.Context(), sequence(parts))
		d.fail(nil)
		if n.Load() <= int64(failing) {
			must(t, err)
			break
		}
		wantErr(t, err, errDisk)
		if got := summary(t, to); got != before {
			t.Fatalf("after an error of operation %d\n%.2000s\nwant\n%.2000s", failing, got, before)
		}
	}
	must(t, to.Close())
	d = newDisk()
	to = openReplica(t, d)
	must(t, to.Restore(t.Context(), sequence(beforeParts)))
	var mu sync.Mutex                  // the store has goroutines that write
	d.fail(func(op errorfs.Op) error { // a crash before some operations
		mu.Lock()
		defer mu.Unlock()
		if cuts < 20 && changes(op) && rng.IntN(2) == 0 {
			check(op.Path)
		}
		return nil
	})
	must(t, to.Restore(t.Context(), sequence(parts)))
	d.fail(nil)
	mu.Lock()
	check("after the restore")
	mu.Unlock()
	if got := summary(t, to); got != want || cuts < 5 {
		t.Errorf("after %d crashes\n%.2000s\nwant\n%.2000s", cuts, got, want)
	}
	must(t, to.Close())
}

// A snapshot has one state while the replica changes, and its reader notices when the replica is replaced.
func TestSnapshotOfBusyReplica(t *testing.T) {
	j := openReplica(t, vfs.NewMem())
	defer func() { must(t, j.Close()) }()
	fill(t, j)
	s, err := j.Snapshot(t.Context())
	must(t, err)
	want, n := summary(t, j), 0
	var parts [][]byte
	must(t, s.Parts(t.Context(), 8<<10, func(part []byte) error {
		parts = append(parts, bytes.Clone(part))
		for range 5 {
			id, sub := submission("t")
			must(t, journaltest.Append(t.Context(), j, entry(id, sub, job.CancelRequested{At: time.Now()}, job.Finished{At: time.Now(), State: job.Cancelled})))
			n++
		}
		return nil
	}))
	must(t, s.Close())
	to := openReplica(t, vfs.NewMem())
	defer func() { must(t, to.Close()) }()
	must(t, to.Restore(t.Context(), sequence(parts)))
	if got := summary(t, to); got != want || n < 10 {
		t.Errorf("with %d jobs meanwhile the snapshot has\n%.2000s\nwant\n%.2000s", n, got, want)
	}
	for name, replace := range map[string]func() error{
		"restored": func() error { return j.Restore(t.Context(), sequence(parts)) },
		"cleared":  func() error { return j.Clear(t.Context()) },
	} {
		s, err := j.Snapshot(t.Context())
		must(t, err)
		err = s.Parts(t.Context(), 1<<20, func([]byte) error { return replace() })
		if !errors.Is(err, journal.ErrReplaced) {
			t.Errorf("%s while a snapshot was read: got %v, want %v", name, err, journal.ErrReplaced)
		}
		must(t, s.Close())
	}
}

// TestRestoreBesideReaders restores a replica while metrics and counts are read, for the race detector.
func TestRestoreBesideReaders(t *testing.T) {
	reg := prometheus.NewRegistry()
	j := open(t, journal.Config{Dir: "j", FS: vfs.NewMem(), Replica: true, SweepInterval: time.Hour, Registerer: reg})
	fill(t, j)
	parts, want := snapshotOf(t, j), summary(t, j)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for _, read := range []func() error{
		func() error { _, err := reg.Gather(); return err },
		func() error { _, err := j.Count(t.Context(), "t", nil); return err },
		func() error { _, err := j.Stats(t.Context(), "t"); return err },
		func() error { _, _, err := j.List(t.Context(), job.Query{Tenant: "t", Limit: 10}); return err },
		func() error { _, err := j.Groups(t.Context(), "t", "", 10); return err },
		func() error { j.Results("t", job.ID{}); j.DeliveryReceivers(); return nil },
	} {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := read(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		must(t, j.Restore(t.Context(), sequence(parts)))
	}
	close(stop)
	readers.Wait()
	if got := summary(t, j); got != want {
		t.Errorf("restored\n%.3000s\nwant\n%.3000s", got, want)
	}
	must(t, j.Close())
}

// A sweep that was prepared before a replica is replaced changes nothing of the new content.
func TestSweepOfReplacedContent(t *testing.T) {
	d := newDisk()
	c := &clock{now: time.Now()}
	cfg := journal.Config{FS: d, Replica: true, Now: c.Now}
	j := openAt(t, c, cfg)
	parts := snapshotOf(t, j) // without jobs
	fill(t, j)
	c.add(90 * time.Minute) // the finished jobs have expired
	swept := make(chan error, 1)
	var once sync.Once
	d.fail(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLink {
			once.Do(func() {
				go func() { swept <- j.Sweep(t.Context()) }()
				until(t, "the sweep is queued", func() bool { return j.Queued() == 1 })
			})
		}
		return nil
	})
	must(t, j.Restore(t.Context(), sequence(parts)))
	d.fail(nil)
	must(t, <-swept)
	before := summary(t, j)
	must(t, j.Close())
	j = openAt(t, c, cfg)
	if after := summary(t, j); after != before {
		t.Errorf("after a restart the content is\n%.3000s\nwant\n%.3000s", after, before)
	}
	must(t, j.Close())
}

// A snapshot of the first version is restored, with everything that was in it. See job.Format.
func TestGoldenSnapshot(t *testing.T) {
	const golden = "testdata/v1/snapshot.bin"
	read := func(file string) []byte {
		data, err := os.ReadFile(file)
		must(t, err)
		return data
	}
	if _, err := os.Stat(golden); *update && os.IsNotExist(err) {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS("testdata/v1/data")))
		j := openCentury(t, dir)
		s, err := j.Snapshot(t.Context())
		must(t, err)
		must(t, s.Parts(t.Context(), 1<<20, func(part []byte) error { return os.WriteFile(golden, part, 0o600) }))
		must(t, s.Close())
		must(t, j.Close())
	}
	to := openReplica(t, vfs.NewMem())
	defer func() { must(t, to.Close()) }()
	must(t, to.Restore(t.Context(), sequence([][]byte{read(golden)})))
	if got, want := exportOf(t, to).text(), string(read("testdata/v1/content.txt")); got != want {
		t.Errorf("the content is\n%s\nwant\n%s", got, want)
	}
}

func FuzzPart(f *testing.F) {
	f.Add(journal.Part([]byte("mformat"), []byte{2}))
	f.Add([]byte("GSNP\x01\x02"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, part []byte) {
		pairs := 0
		err := journal.ReadPart(part, func(key, _ []byte) error {
			if pairs++; len(key) == 0 {
				t.Error("got an empty key, want none")
			}
			return nil
		})
		if err != nil && !errors.Is(err, job.ErrCorrupt) && !errors.Is(err, job.ErrVersion) {
			t.Errorf("got error %v, want ErrCorrupt or ErrVersion", err)
		}
	})
}
