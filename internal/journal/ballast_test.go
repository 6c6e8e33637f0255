package journal_test

import (
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// TestBallast fills the disk from outside to the last block: deletes, cancels, the sweep and the start work, and results are
// held.
func TestBallast(t *testing.T) {
	const (
		size    = 64 << 20
		margin  = 16 << 20
		ballast = margin / 4
	)
	d := journaltest.NewSmallDisk(size)
	c := &clock{now: time.Now()}
	start := func() (*journal.Journal, error) {
		return journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, MinFreeBytes: margin, RetryInterval: time.Millisecond},
			journal.Hooks{Now: c.Now, MemTable: 256 << 10})
	}
	open := func() *journal.Journal {
		t.Helper()
		j, err := start()
		must(t, err)
		return j
	}
	j := open()
	j.MaintainBallast()
	if info, err := d.Stat("j/BALLAST"); err != nil || info.Size() != ballast {
		t.Fatalf("ballast: %v, error %v; want %d bytes", info, err, ballast)
	}
	ids := make([]job.ID, 3)
	for i := range ids {
		var s job.Submitted
		ids[i], s = submission("t")
		must(t, journaltest.Append(t.Context(), j, entry(ids[i], s, job.Started{})))
	}
	end := job.Finished{State: job.Succeeded, At: c.Now()}
	must(t, journaltest.Append(t.Context(), j, entry(ids[0], end)))
	must(t, journaltest.Append(t.Context(), j, entry(ids[1], end)))
	j.MaintainBallast()
	if _, err := d.Stat("j/BALLAST"); err != nil {
		t.Fatalf("ballast of a disk with %d free bytes: %v, want it there", d.Free(), err)
	}

	d.Fill(0)
	j.MaintainBallast()
	if free := d.Free(); free < ballast {
		t.Fatalf("%d free bytes, want the %d of the ballast", free, ballast)
	}
	j.Inspect()
	wantErr(t, j.Ready(), job.ErrStorage)
	if j.Room() == nil {
		t.Fatal("results are taken on a full disk")
	}
	must(t, j.Delete(t.Context(), "t", ids[0]))
	must(t, journaltest.Append(t.Context(), j, entry(ids[2], job.CancelRequested{}, job.Finished{State: job.Cancelled, At: c.Now()})))
	c.add(2 * time.Hour)
	must(t, j.Sweep(t.Context()))
	for _, id := range ids {
		_, err := j.Get(t.Context(), "t", id)
		wantErr(t, err, job.ErrExpired)
	}

	d.Clean()
	j.MaintainBallast()
	j.Inspect()
	if _, err := d.Stat("j/BALLAST"); err != nil || j.Room() != nil || j.Ready() != nil {
		t.Fatalf("with space again: ballast %v, room %v, ready %v; want nil for all", err, j.Room(), j.Ready())
	}
	must(t, j.Close())

	d.Fill(0)
	must(t, open().Close())
	d.Fill(0) // takes the space of the ballast too
	_, err := start()
	wantErr(t, err, journal.ErrDiskFull)
	d.Clean()
	must(t, open().Close())
}

// TestCloseOnFullDisk closes a journal on a disk that was filled from outside: waiting requests are written to the space of the
// ballast. The next start, also on a full disk, becomes ready when there is space.
func TestCloseOnFullDisk(t *testing.T) {
	d := journaltest.NewSmallDisk(64 << 20)
	open := func() *journal.Journal {
		t.Helper()
		j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, MinFreeBytes: 16 << 20, RetryInterval: time.Hour},
			journal.Hooks{MemTable: 256 << 10})
		must(t, err)
		return j
	}
	j := open()
	id, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
	j.MaintainBallast()
	d.Fill(0)
	late := entry(id, job.TaskProgress{Completed: 1, Partial: make([]byte, 500<<10)})
	late.Delay = time.Hour
	must(t, j.Append(t.Context(), late))
	must(t, j.Close())
	d.Clean()
	j = open()
	if v, err := j.Get(t.Context(), "t", id); err != nil || v.Progress.Completed != 1 {
		t.Errorf("got %+v, %v, want the requests that waited when the journal was closed", v.Progress, err)
	}
	j.MaintainBallast()
	must(t, journaltest.Append(t.Context(), j, entry(id, job.TaskProgress{Partial: make([]byte, 200<<10)})))
	must(t, j.Close())
	d.Fill(0)
	j = open()
	d.Clean()
	j.Inspect()
	must(t, j.Ready())
	must(t, j.Close())
}

// When a quota is used up while the disk reports free space, the error of a write or of a flush removes the ballast.
func TestBallastOfQuota(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		for _, ext := range []string{".log", ".sst"} {
			t.Run(fmt.Sprintf("%v of %s", errno, ext), func(t *testing.T) {
				d := newDisk()
				d.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
				j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, MinFreeBytes: 16 << 20, RetryInterval: time.Millisecond},
					journal.Hooks{MemTable: 256 << 10})
				must(t, err)
				j.MaintainBallast()
				ballast := func() bool {
					_, err := d.Stat("j/BALLAST")
					return err == nil
				}
				if !ballast() {
					t.Fatal("there is no ballast")
				}
				id, s := submission("t")
				must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{})))
				d.fail(func(op errorfs.Op) error {
					if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && op.Kind != errorfs.OpRemove && filepath.Ext(op.Path) == ext {
						return errno
					}
					return nil
				})
				for range 5 { // more than a memtable
					must(t, j.Append(t.Context(), entry(id, job.TaskProgress{Partial: make([]byte, 100<<10)})))
				}
				until(t, "the journal is not ready", func() bool { return j.Ready() != nil })
				if ext == ".log" {
					j.Inspect()
				} else {
					j.MaintainBallast()
				}
				if ballast() {
					t.Error("the ballast is there, want it removed")
				}
				if j.MaintainBallast(); ballast() {
					t.Error("the ballast is created while the quota is used up")
				}
				d.fail(nil)
				until(t, "the journal is ready", func() bool { return j.Ready() == nil })
				until(t, "there is a ballast, with space again", func() bool {
					j.MaintainBallast()
					return ballast()
				})
				must(t, j.Close())
			})
		}
	}
}

// The ballast is a quarter of the margin, at most 64 MiB. There is none if that is too small, and none for a replica.
func TestBallastSize(t *testing.T) {
	if testing.Short() {
		t.Skip("opens journals, one after the other, for half a minute under the race detector")
	}
	for _, tt := range []struct {
		margin uint64
		view   bool
		found  string // content of the file before
		want   int64  // 0 for none
	}{
		{margin: 4<<20 - 4, want: 0},
		{margin: 4 << 20, want: 1 << 20},
		{margin: 1 << 30, want: 64 << 20},
		{margin: 4 << 20, found: strings.Repeat("x", 1<<20-1), want: 1 << 20},
		{margin: 4 << 20, found: strings.Repeat("x", 1<<20), want: 1 << 20},
		{margin: 4 << 20, view: true, want: 0},
	} {
		t.Run(fmt.Sprintf("margin %d, view %t, %d bytes there", tt.margin, tt.view, len(tt.found)), func(t *testing.T) {
			mem := vfs.NewMem()
			mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2 << 30})
			j := open(t, journal.Config{Dir: "j", FS: mem, MinFreeBytes: tt.margin, Replica: tt.view})
			if tt.found != "" {
				f, err := mem.Create("j/BALLAST", vfs.WriteCategoryUnspecified)
				must(t, err)
				_, err = f.Write([]byte(tt.found))
				must(t, err)
				must(t, f.Close())
			}
			j.MaintainBallast()
			got := int64(0)
			if info, err := mem.Stat("j/BALLAST"); err == nil {
				got = info.Size()
			} else {
				wantErr(t, err, fs.ErrNotExist)
			}
			if got != tt.want {
				t.Errorf("got a ballast of %d bytes, want %d", got, tt.want)
			}
			must(t, j.Close())
		})
	}
}

// Results leave half of the margin, and of a small margin the space that deletes and flushes need.
func TestReserveOfMargin(t *testing.T) {
	for margin, reserve := range map[uint64]uint64{16 << 20: 16 << 20, 64 << 20: 64 << 20, 96 << 20: 64 << 20, 128 << 20: 64 << 20, 1 << 30: 512 << 20} {
		t.Run(fmt.Sprint(margin), func(t *testing.T) {
			mem := vfs.NewMem()
			j := open(t, journal.Config{Dir: "j", FS: mem, MinFreeBytes: margin, RetryInterval: time.Hour})
			for free, want := range map[uint64]bool{reserve: true, reserve - 1: false} {
				mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free})
				j.Inspect()
				if got := j.Room() == nil; got != want {
					t.Errorf("with %d bytes free results are taken: %t, want %t", free, got, want)
				}
			}
			must(t, j.Close())
		})
	}
}

// Spare leaves the margin, and a quarter of it for later jobs.
func TestSpare(t *testing.T) {
	for _, tt := range []struct {
		name         string
		margin, free uint64
		least, most  int64
	}{
		{"room", 400, 1000, 500, 500},
		{"none left", 400, 500, 0, 0},
		{"too little", 400, 100, -400, -400},
		{"no margin", 0, 100, math.MaxInt64, math.MaxInt64},
		{"a disk without an end", 400, math.MaxUint64, 1 << 60, math.MaxInt64},
		{"a margin without an end", math.MaxUint64, 1000, math.MinInt64, -1 << 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := vfs.NewMem()
			mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: tt.free})
			j := open(t, journal.Config{Dir: "j", FS: mem, MinFreeBytes: tt.margin, RetryInterval: time.Hour})
			if got := j.Spare(); got < tt.least || got > tt.most {
				t.Errorf("got %d, want %d to %d", got, tt.least, tt.most)
			}
			must(t, j.Close())
		})
	}
	t.Run("a disk that does not report free space", func(t *testing.T) {
		j := open(t, journal.Config{Dir: "j", FS: silent{vfs.NewMem()}, MinFreeBytes: 400, RetryInterval: time.Hour})
		if got := j.Spare(); got != math.MaxInt64 {
			t.Errorf("got %d, want %d", got, int64(math.MaxInt64))
		}
		must(t, j.Close())
	})
}

// silent is a file system that does not report its free space.
type silent struct{ vfs.FS }

func (silent) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}
