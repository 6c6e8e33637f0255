package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// stored is a data directory after a kill, and the jobs that were acknowledged before.
type stored struct {
	fs   *vfs.MemFS
	jobs []job.ID
}

// killed submits jobs, each with its own fsync, and returns the content of the disk.
func killed(t *testing.T, jobs int, restarts int, hooks journal.Hooks) stored {
	t.Helper()
	s := stored{fs: vfs.NewCrashableMem()}
	for restart := 0; ; restart++ {
		j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: s.fs, Logger: quiet}, hooks)
		must(t, err)
		for range jobs {
			id, sub := submission("t")
			sub.Spec = bytes.Repeat([]byte("s"), 500)
			must(t, journaltest.Append(t.Context(), j, entry(id, sub)))
			s.jobs = append(s.jobs, id)
		}
		if restart < restarts {
			must(t, j.Close())
			continue
		}
		clone := s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
		must(t, j.Close())
		s.fs = clone
		return s
	}
}

func (s stored) files(t *testing.T, match string) []string {
	t.Helper()
	names, err := s.fs.List("j")
	must(t, err)
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool {
		ok, _ := filepath.Match(match, name)
		return !ok
	})
}

func (s stored) read(t *testing.T, name string) []byte {
	t.Helper()
	f, err := s.fs.Open("j/" + name)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	return b
}

func (s stored) write(t *testing.T, name string, content []byte) {
	t.Helper()
	f, err := s.fs.Create("j/"+name, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.Write(content)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

// complete opens the directory and reports whether Open failed with ErrDamaged; otherwise every job must exist.
func (s stored) complete(t *testing.T, what string) (rejected bool) {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Config{Dir: "j", FS: s.fs, Logger: quiet})
	if err != nil {
		if !errors.Is(err, journal.ErrDamaged) {
			t.Fatalf("%s: Open: %v, want %v", what, err, journal.ErrDamaged)
		}
		return true
	}
	lost := 0
	for _, id := range s.jobs {
		if _, err := j.Get(t.Context(), "t", id); err != nil {
			lost++
		}
	}
	if lost > 0 {
		t.Fatalf("%s: Open succeeded, and %d of %d acknowledged jobs are lost", what, lost, len(s.jobs))
	}
	must(t, j.Close())
	return false
}

// last returns the newest log that has content, and the length of the content.
func (s stored) last(t *testing.T) (name string, content []byte, end int) {
	t.Helper()
	for _, name := range slices.Backward(s.files(t, "*.log")) {
		content := s.read(t, name)
		if end := len(bytes.TrimRight(content, "\x00")); end > 0 {
			return name, content, end
		}
	}
	t.Fatal("no log has content")
	return "", nil, 0
}

// damages are what a disk may do to the content of a file at an offset.
var damages = map[string]func(b []byte, at int) []byte{
	"lowest bit flipped": func(b []byte, at int) []byte { b[at] ^= 1; return b },
	"byte inverted":      func(b []byte, at int) []byte { b[at] ^= 0xff; return b },
	"page zeroed": func(b []byte, at int) []byte {
		const page = 4096
		clear(b[at/page*page : min(len(b), at/page*page+page)])
		return b
	},
	"cut short": func(b []byte, at int) []byte { return b[:at] },
}

// TestDamagedLog damages the log of a killed server in many places and ways: Open detects it, or nothing is lost. One case is a
// directory that was never restarted.
func TestDamagedLog(t *testing.T) {
	for restarts := range 2 {
		for name, damage := range damages {
			t.Run(fmt.Sprintf("%s/restarts=%d", name, restarts), func(t *testing.T) {
				s := killed(t, 120, restarts, journal.Hooks{})
				log, content, end := s.last(t)
				rejected, tried := 0, 0
				at := func(i int) {
					what := fmt.Sprintf("offset %d of %d", i, end)
					before := s.files(t, "*")
					s.write(t, log, damage(slices.Clone(content), i))
					tried++
					if !s.complete(t, what) {
						t.Logf("%s: nothing lost", what)
						s = killed(t, 120, restarts, journal.Hooks{}) // Open has changed the directory
						log, content, end = s.last(t)
						return
					}
					rejected++
					if after := s.files(t, "*"); !slices.Equal(after, before) {
						t.Fatalf("%s: a rejected directory was changed: %v, want %v", what, after, before)
					}
				}
				for i := range 45 { // a whole header and more, at the start and at the end
					at(i)
					at(end - 1 - i)
				}
				for i := 0; i < end; i += max(1, end/50) {
					at(i)
				}
				if rejected < tried*9/10 {
					t.Errorf("%d of %d damages were rejected, want nearly all", rejected, tried)
				}
				s.write(t, log, content)
				if s.complete(t, "undamaged") {
					t.Error("a directory without damage was rejected")
				}
			})
		}
	}
}

// TestFirstLog checks that damage in the middle of a log is detected without the mark, by Pebble's checks, also in the first log
// of a directory.
func TestFirstLog(t *testing.T) {
	for restarts := range 2 {
		s := killed(t, 120, restarts, journal.Hooks{})
		must(t, s.fs.Remove("j/SYNCED"))
		log, content, end := s.last(t)
		b := slices.Clone(content)
		b[end/2] ^= 1
		s.write(t, log, b)
		if !s.complete(t, "a flipped bit") {
			t.Errorf("%d restarts: got a journal from a log with a flipped bit in its middle, want %v", restarts, journal.ErrDamaged)
		}
	}
}

// TestDamagedFiles damages the manifest, or removes a log.
func TestDamagedFiles(t *testing.T) {
	hooks := journal.Hooks{MemTable: 64 << 10} // small, so that jobs are in tables too
	s := killed(t, 200, 0, hooks)
	for _, name := range s.files(t, "MANIFEST-*") {
		content := s.read(t, name)
		for i := 0; i < len(content); i += max(1, len(content)/60) {
			s := stored{fs: s.fs.CrashClone(vfs.CrashCloneCfg{}), jobs: s.jobs}
			b := slices.Clone(content)
			b[i] ^= 1
			s.write(t, name, b)
			s.complete(t, fmt.Sprintf("%s, offset %d of %d", name, i, len(content)))
		}
	}
	log, _, _ := s.last(t)
	must(t, s.fs.Remove("j/"+log))
	if !s.complete(t, "without its log") {
		t.Error("a directory without its log was opened")
	}
}

// TestAcceptLoss starts with the remaining data after the mark is removed, and detects the next loss.
func TestAcceptLoss(t *testing.T) {
	s := killed(t, 40, 1, journal.Hooks{})
	log, content, end := s.last(t)
	s.write(t, log, content[:end/2])
	var text bytes.Buffer
	_, err := journal.Open(t.Context(), journal.Config{Dir: "j", FS: s.fs, Logger: slog.New(slog.NewTextHandler(&text, nil))})
	wantErr(t, err, journal.ErrDamaged)
	for _, want := range []string{"level=ERROR", "file=" + log, "offset=", "bytes=", "writes="} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the log lacks %q: %s", want, text.String())
		}
	}
	must(t, s.fs.Remove("j/SYNCED"))
	j := open(t, journal.Config{Dir: "j", FS: s.fs})
	id, sub := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, sub)))
	s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	must(t, j.Close())
	log, content, end = s.last(t)
	s.write(t, log, content[:end-1])
	_, err = journal.Open(t.Context(), journal.Config{Dir: "j", FS: s.fs, Logger: quiet})
	wantErr(t, err, journal.ErrDamaged)
}

// TestOpenOnFullDisk kills a server and starts it on a full disk: Open returns ErrDiskFull, and with space the journal opens with
// all its data.
func TestOpenOnFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("opens journals, one after the other, for half a minute under the race detector")
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		for _, partials := range []int{0, 8} { // 8 are more than two memtables
			t.Run(fmt.Sprintf("%v, %d results", errno, partials), func(t *testing.T) { testOpenOnFullDisk(t, errno, partials) })
		}
	}
}

func testOpenOnFullDisk(t *testing.T, errno error, partials int) {
	for n := range 40 {
		d := newDisk()
		j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet}, journal.Hooks{MemTable: 256 << 10})
		must(t, err)
		id, s := submission("t")
		must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
		for range partials {
			must(t, journaltest.Append(t.Context(), j, entry(id, job.TaskProgress{Partial: make([]byte, 100<<10)})))
		}
		d.mem = d.mem.CrashClone(vfs.CrashCloneCfg{})
		must(t, j.Close())
		var mu sync.Mutex
		left := n // so many changes fit
		full := errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpRemove {
				return nil
			}
			if left--; left >= 0 {
				return nil
			}
			return errno
		}))
		var text bytes.Buffer
		j, err = journal.Open(t.Context(), journal.Config{Dir: "j", FS: full, Logger: slog.New(slog.NewTextHandler(&text, nil))})
		if err == nil {
			mu.Lock()
			left = 1 << 30
			mu.Unlock()
			must(t, j.Close())
		} else {
			wantErr(t, err, journal.ErrDiskFull)
			if all := text.String() + err.Error(); strings.Contains(all, "damaged") {
				t.Fatalf("after %d changes a full disk is reported as damage: %s", n, all)
			}
		}
		j = open(t, journal.Config{Dir: "j", FS: d.mem})
		if _, err := j.Get(t.Context(), "t", id); err != nil {
			t.Fatalf("after %d changes: Get: %v, want the job", n, err)
		}
		must(t, j.Close())
	}
}
