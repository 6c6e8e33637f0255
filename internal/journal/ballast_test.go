package journal_test

import (
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// TestBallast lets something else fill the disk to the last block: deletes, cancels, the sweep and the start work, and results
// are held.
func TestBallast(t *testing.T) {
	const (
		size    = 64 << 20
		margin  = 16 << 20
		ballast = margin / 4
	)
	d := journaltest.NewSmallDisk(size)
	c := &clock{now: time.Now()}
	start := func() (*journal.Journal, error) {
		return journal.OpenIn(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, MinFreeBytes: margin, RetryInterval: time.Millisecond},
			journal.World{Now: c.Now, MemTable: 256 << 10})
	}
	open := func() *journal.Journal {
		t.Helper()
		j, err := start()
		must(t, err)
		return j
	}
	j := open()
	j.TendBallast()
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
	j.TendBallast()
	if _, err := d.Stat("j/BALLAST"); err != nil {
		t.Fatalf("ballast of a disk with %d free bytes: %v, want it there", d.Free(), err)
	}

	d.Fill(0)
	j.TendBallast()
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
	j.TendBallast()
	j.Inspect()
	if _, err := d.Stat("j/BALLAST"); err != nil || j.Room() != nil || j.Ready() != nil {
		t.Fatalf("with space again: ballast %v, room %v, ready %v; want nil for all", err, j.Room(), j.Ready())
	}
	must(t, j.Close())

	d.Fill(0)
	must(t, open().Close())
	d.Fill(0) // the ballast is used up
	_, err := start()
	wantErr(t, err, journal.ErrDiskFull)
	d.Clean()
	must(t, open().Close())
}
