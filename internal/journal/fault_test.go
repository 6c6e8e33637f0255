package journal_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// A load appends to a journal and records every acknowledgement.
type load struct {
	t  *testing.T
	j  *journal.Journal
	wg sync.WaitGroup

	mu sync.Mutex
	// seqs holds the last acknowledged seq of each accepted job.
	seqs     map[job.ID]uint64
	rejected map[job.ID]bool
	deleted  map[job.ID]bool
	// dropped counts the batches that the journal queued and then rejected.
	dropped int
	// twins are pairs of jobs that were submitted in one batch.
	twins map[job.ID]job.ID
	keys  map[string]job.ID
}

func newLoad(t *testing.T, j *journal.Journal) *load {
	t.Helper()
	return &load{
		t: t, j: j, seqs: map[job.ID]uint64{}, rejected: map[job.ID]bool{}, deleted: map[job.ID]bool{},
		twins: map[job.ID]job.ID{}, keys: map[string]job.ID{},
	}
}

// run starts clients that each submit and finish a number of jobs, in pairs.
func (l *load) run(clients, jobs int) {
	for c := range clients {
		rng := rand.New(rand.NewPCG(uint64(c), uint64(jobs)))
		l.wg.Go(func() {
			for n := range jobs {
				l.one(fmt.Sprint(c, "/", n), rng)
			}
		})
	}
}

// append appends a batch and waits until it is durable or rejected.
func (l *load) append(b job.Batch) error {
	done := make(chan error, 1)
	b.Done = func(err error) { done <- err }
	if err := l.j.Append(l.t.Context(), b); err != nil {
		return err
	}
	err := <-done
	if err != nil {
		l.mu.Lock()
		l.dropped++
		l.mu.Unlock()
	}
	return err
}

func (l *load) one(name string, rng *rand.Rand) {
	a, sa := submission("t")
	b, sb := submission("t")
	sa.Spec = []byte(strings.Repeat("s", rng.IntN(9000)))
	key := job.Key{Tenant: "t", Value: name}
	if _, err := l.j.Reserve(l.t.Context(), key); err != nil {
		if !errors.Is(err, journal.ErrClosed) {
			l.t.Error(err)
		}
		return
	}
	batch := job.Batch{Key: &key, Entries: []job.Entry{{ID: a, Events: []job.Event{sa}}, {ID: b, Events: []job.Event{sb}}}}
	l.mu.Lock()
	l.twins[a] = b
	l.mu.Unlock()
	err := l.append(batch)
	l.mu.Lock()
	if err != nil {
		if !errors.Is(err, job.ErrStorage) {
			l.t.Error(err)
		}
		l.rejected[a], l.rejected[b] = true, true
		l.mu.Unlock()
		time.Sleep(time.Millisecond) // as a client retries later
		return
	}
	l.seqs[a], l.seqs[b] = 1, 1
	l.keys[name] = a
	l.mu.Unlock()
	var items job.Items
	length := 200
	if rng.IntN(4) == 0 {
		length = 30_000 // often bulk
	}
	for i := range int64(5) {
		items.Add(i, []byte(strings.Repeat("v", rng.IntN(length))), 0)
	}
	end := []job.Event{job.Started{}, job.TaskProgress{Completed: 5, Items: items}, job.Finished{State: job.Succeeded}}
	for len(end) > 0 {
		n := 1 + rng.IntN(len(end))
		if !l.events(a, end[:n]...) {
			return
		}
		end = end[n:]
	}
	if rng.IntN(4) == 0 {
		if err := l.j.Delete(l.t.Context(), "t", a); err == nil {
			l.mu.Lock()
			l.deleted[a] = true
			l.mu.Unlock()
		} else if !errors.Is(err, job.ErrStorage) && !errors.Is(err, errDisk) {
			l.t.Error(err)
		}
	}
}

func (l *load) events(id job.ID, events ...job.Event) bool {
	if err := l.append(entry(id, events...)); err != nil {
		if !errors.Is(err, journal.ErrClosed) {
			l.t.Error(err)
		}
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.seqs[id] += job.Seqs(e)
	}
	return true
}

// snapshot copies the acknowledgements so far.
func (l *load) snapshot() *load {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := newLoad(l.t, nil)
	maps.Copy(s.seqs, l.seqs)
	maps.Copy(s.rejected, l.rejected)
	maps.Copy(s.deleted, l.deleted)
	maps.Copy(s.twins, l.twins)
	maps.Copy(s.keys, l.keys)
	return s
}

// check fails the test unless j has everything that was acknowledged, and no partial batch.
func (l *load) check(t *testing.T, j *journal.Journal) {
	t.Helper()
	for id, seq := range l.seqs {
		v, err := j.Get(t.Context(), "t", id)
		switch {
		case l.deleted[id]:
			wantErr(t, err, job.ErrExpired)
			continue
		case errors.Is(err, job.ErrExpired):
			continue // deleted, and not yet acknowledged
		case err != nil || v.Seq < seq:
			t.Fatalf("job %s: seq %d, acknowledged %d: %v", id, v.Seq, seq, err)
		}
		log, err := j.Log(t.Context(), id, 0, 1000)
		must(t, err)
		if len(log) == 0 {
			if _, err := j.Get(t.Context(), "t", id); errors.Is(err, job.ErrExpired) {
				continue // deleted meanwhile, by a request that was answered with an error
			}
		}
		at := uint64(0)
		for _, r := range log {
			if at += job.Seqs(r.Event); at != r.Seq {
				t.Fatalf("job %s: seq %d after %d", id, r.Seq, at)
			}
		}
		if at != v.Seq || v.State.Terminal() != (at == 8) {
			t.Fatalf("job %s in state %s: log ends at %d, view at %d", id, v.State, at, v.Seq)
		}
		if page, err := j.ItemsByIndex(t.Context(), id, -1, 10); err != nil || v.State.Terminal() && len(page) != 5 {
			if _, gone := j.Get(t.Context(), "t", id); errors.Is(gone, job.ErrExpired) {
				continue // by a delete that the disk had delayed
			}
			t.Fatalf("job %s has %d items: %v", id, len(page), err)
		}
	}
	for a, b := range l.twins {
		_, errA := j.Get(t.Context(), "t", a)
		_, errB := j.Get(t.Context(), "t", b)
		if errors.Is(errA, job.ErrNotFound) != errors.Is(errB, job.ErrNotFound) {
			t.Fatalf("half a batch: %v, %v", errA, errB)
		}
	}
	for name, id := range l.keys {
		prior, err := j.Reserve(t.Context(), job.Key{Tenant: "t", Value: name})
		if err != nil || len(prior) != 2 || prior[0] != id {
			t.Fatalf("key %s: %v %v", name, prior, err)
		}
	}
}

// rejectedGone fails the test if a rejected job exists.
func (l *load) rejectedGone(t *testing.T, j *journal.Journal) {
	t.Helper()
	for id := range l.rejected {
		_, err := j.Get(t.Context(), "t", id)
		wantErr(t, err, job.ErrNotFound)
	}
}

// TestCrash cuts the power repeatedly while clients submit: everything acknowledged before exists after.
func TestCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	fs := vfs.NewCrashableMem()
	hooks := journal.Hooks{MemTable: 64 << 10}
	j, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: fs, Logger: quiet}, hooks)
	must(t, err)
	l := newLoad(t, j)
	l.run(8, 50)
	for range 8 {
		n := len(l.snapshot().seqs)
		until(t, "some more jobs", func() bool { return len(l.snapshot().seqs) >= min(n+50, 600) })
		promised := l.snapshot()
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rng2(rng)})
		k, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: crashed, Logger: quiet}, hooks)
		must(t, err)
		promised.check(t, k)
		must(t, k.Close())
	}
	l.wg.Wait()
	must(t, j.Close())
	k := open(t, journal.Config{Dir: "j", FS: fs})
	l.check(t, k)
	must(t, k.Close())
}

// TestFaults injects random disk errors while clients submit, and stops them: acknowledged batches are kept, rejected jobs do
// not exist, and the journal becomes ready without a restart. In between, the power is cut.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(rng *rand.Rand) func(op errorfs.Op) error
	}{
		{"every write", func(*rand.Rand) func(errorfs.Op) error { return writes }},
		{"some writes", func(rng *rand.Rand) func(errorfs.Op) error { return some(rng, 10, writes) }},
		{"syncs", func(rng *rand.Rand) func(errorfs.Op) error {
			return some(rng, 3, only(errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo))
		}},
		{"new files", func(rng *rand.Rand) func(errorfs.Op) error {
			return some(rng, 2, only(errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpRename, errorfs.OpRemove))
		}},
		{"tables", func(rng *rand.Rand) func(errorfs.Op) error {
			return some(rng, 2, func(op errorfs.Op) error {
				if strings.HasSuffix(op.Path, ".sst") {
					return writes(op)
				}
				return nil
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(9, uint64(len(c.name))))
			d := newDisk()
			cfg := journal.Config{Dir: "j", FS: d, Logger: quiet, RetryInterval: time.Millisecond}
			hooks := journal.Hooks{MemTable: 64 << 10}
			j, err := journal.OpenWithHooks(t.Context(), cfg, hooks)
			must(t, err)
			l := newLoad(t, j)
			jobs, faults := 40, 4
			if testing.Short() {
				jobs, faults = 15, 2
			}
			l.run(8, jobs)
			for range faults {
				d.fail(c.fault(rng))
				time.Sleep(time.Duration(rng.IntN(8)) * time.Millisecond)
				promised := l.snapshot()
				crashed := d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng2(rng)})
				d.fail(nil)
				k, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: crashed, Logger: quiet}, hooks)
				must(t, err)
				promised.check(t, k)
				must(t, k.Close())
			}
			l.wg.Wait()
			until(t, "the journal is ready", func() bool { return j.Ready() == nil })
			l.check(t, j)
			l.rejectedGone(t, j)
			for id := range l.seqs {
				v, err := j.Get(t.Context(), "t", id)
				if _, first := l.twins[id]; first && err == nil && !v.State.Terminal() {
					t.Fatalf("job %s is %s", id, v.State)
				}
			}
			must(t, j.Close())
			k := open(t, journal.Config{Dir: "j", FS: d})
			l.check(t, k)
			l.rejectedGone(t, k)
			must(t, k.Close())
			t.Logf("%d accepted, %d rejected", len(l.seqs), len(l.rejected))
		})
	}
}

func rng2(rng *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) }

func only(kinds ...errorfs.OpKind) func(errorfs.Op) error {
	return func(op errorfs.Op) error {
		if slices.Contains(kinds, op.Kind) {
			return errDisk
		}
		return nil
	}
}

// some injects one of n faults.
func some(rng *rand.Rand, n int, f func(errorfs.Op) error) func(errorfs.Op) error {
	var mu sync.Mutex
	rng = rng2(rng)
	return func(op errorfs.Op) error {
		mu.Lock()
		hit := rng.IntN(n) == 0
		mu.Unlock()
		if hit {
			return f(op)
		}
		return nil
	}
}

// TestCloseOnBrokenDisk closes a journal while the disk fails: Close does not wait, and nothing acknowledged is lost.
func TestCloseOnBrokenDisk(t *testing.T) {
	d := newDisk()
	cfg := journal.Config{Dir: "j", FS: d, Logger: quiet, RetryInterval: time.Hour}
	for range 10 {
		j, err := journal.OpenWithHooks(t.Context(), cfg, journal.Hooks{MemTable: 64 << 10})
		must(t, err)
		l := newLoad(t, j)
		l.run(4, 20)
		until(t, "some jobs", func() bool { return len(l.snapshot().seqs) > 20 })
		d.fail(writes)
		err = j.Close()
		l.wg.Wait()
		if err == nil && l.dropped > 0 {
			t.Errorf("no error from Close, and %d batches were dropped", l.dropped)
		}
		d.fail(nil)
		k := open(t, journal.Config{Dir: "j", FS: d})
		l.check(t, k)
		must(t, k.Close())
	}
}

// TestOpenOnBrokenDisk checks that Open returns the error of the disk, and leaks nothing.
func TestOpenOnBrokenDisk(t *testing.T) {
	for n := range 60 {
		d := newDisk()
		if n%2 == 1 {
			j := open(t, journal.Config{Dir: "j", FS: d})
			id, s := submission("t")
			must(t, journaltest.Append(t.Context(), j, entry(id, s)))
			must(t, j.Close())
		}
		var mu sync.Mutex
		left := n
		d.fail(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if left--; left < 0 {
				return writes(op)
			}
			return nil
		})
		j, err := journal.Open(t.Context(), journal.Config{Dir: "j", FS: d, Logger: quiet, RetryInterval: time.Hour})
		if err == nil {
			d.fail(nil)
			must(t, j.Close())
		} else if !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		d.fail(nil)
		j = open(t, journal.Config{Dir: "j", FS: d})
		must(t, j.Close())
	}
}
