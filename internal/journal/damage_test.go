package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// absent describes the acknowledged data that j serves as absent: without an error, or with the error of absent data. errs is the
// number of reads with any other error.
func (l *load) absent(t *testing.T, j *journal.Journal) (absent []string, errs int) {
	t.Helper()
	listed, listErr := listAll(t, j)
	if listErr != nil {
		errs++
	}
	for id, seq := range l.seqs {
		v, err := j.Get(t.Context(), "t", id)
		switch {
		case l.deleted[id]:
			if !errors.Is(err, job.ErrExpired) && isAbsent(err) || err == nil {
				absent = append(absent, fmt.Sprintf("deleted job %s: %v", id, err))
			}
			continue
		case isAbsent(err) || err == nil && v.Seq < seq:
			absent = append(absent, fmt.Sprintf("job %s: seq %d, acknowledged %d: %v", id, v.Seq, seq, err))
			continue
		case err != nil:
			errs++
			continue
		case listErr == nil && !listed[id]:
			absent = append(absent, fmt.Sprintf("job %s is not listed", id))
		}
		log, err := j.Log(t.Context(), id, 0, 1000)
		if err != nil {
			errs++
			continue
		}
		if n := len(log); n == 0 || log[n-1].Seq != v.Seq {
			absent = append(absent, fmt.Sprintf("job %s: seq %d, and %d records of its log", id, v.Seq, n))
		}
		if _, err := j.Spec(t.Context(), "t", id, 0); isAbsent(err) {
			absent = append(absent, fmt.Sprintf("job %s: its spec: %v", id, err))
		} else if err != nil {
			errs++
		}
		page, err := j.ItemsByIndex(t.Context(), id, -1, 10)
		if err != nil {
			errs++
		} else if v.State.Terminal() && len(page) != 5 {
			absent = append(absent, fmt.Sprintf("job %s: %d items, want 5", id, len(page)))
		}
	}
	for name, id := range l.keys {
		key := job.Key{Tenant: "t", Value: name}
		prior, err := j.Reserve(t.Context(), key)
		if err != nil {
			errs++
		} else if len(prior) != 2 || prior[0] != id {
			absent = append(absent, fmt.Sprintf("key %s: jobs %v, want %s first", name, prior, id))
			j.Release(key)
		}
	}
	return absent, errs
}

func isAbsent(err error) bool {
	return errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired)
}

// listAll returns the ids of all jobs of a tenant.
func listAll(t *testing.T, j *journal.Journal) (map[job.ID]bool, error) {
	t.Helper()
	listed := map[job.ID]bool{}
	for q := (job.Query{Tenant: "t", Limit: 50}); ; {
		jobs, next, err := j.List(t.Context(), q)
		for _, v := range jobs {
			listed[v.ID] = true
		}
		if q.Before = next; err != nil || next == (job.ID{}) {
			return listed, err
		}
	}
}

// TestDamagedDirectory damages each file of the directory of a killed server, in several ways and places: the journal has
// everything, or Open returns ErrDamaged, or reads of the damaged jobs fail. Nothing is served as absent.
func TestDamagedDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens journals, one after the other, for half a minute under the race detector")
	}
	const places = 6                           // in each file
	hooks := journal.Hooks{MemTable: 32 << 10} // small, so that there are tables
	open := func(disk vfs.FS) (*journal.Journal, error) {
		return journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: disk, Logger: quiet}, hooks)
	}
	disk := vfs.NewCrashableMem()
	j, err := open(disk)
	must(t, err)
	l := newLoad(t, j)
	l.run(4, 30)
	l.wg.Wait()
	unfinished, s := submission("t")
	must(t, journaltest.Append(t.Context(), j, entry(unfinished, s, job.Started{})))
	l.seqs[unfinished] = 2
	clone := func(fs *vfs.MemFS) *vfs.MemFS {
		return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	}
	killed := stored{fs: clone(disk)}
	must(t, j.Close())

	whole, refused, failed := 0, 0, 0
	try := func(what string, change func(s stored)) {
		d := stored{fs: clone(killed.fs)}
		change(d)
		for range 2 { // the second start reads what the first wrote
			j, err := open(d.fs)
			if err != nil {
				wantErr(t, err, journal.ErrDamaged)
				refused++
				return
			}
			absent, errs := l.absent(t, j)
			must(t, j.Close())
			switch {
			case len(absent) > 0:
				t.Errorf("%s: got %d reads with less and %d errors, want all data or errors: %.300s", what, len(absent), errs, absent)
			case errs > 0:
				failed++
			default:
				whole++
			}
		}
	}
	try("undamaged", func(stored) {})
	if whole != 2 {
		t.Fatalf("undamaged: got %d refused, %d with failing reads, want 0", refused, failed)
	}
	for _, name := range killed.files(t, "*") {
		try(name+" removed", func(d stored) { must(t, d.fs.Remove("j/"+name)) })
		content := killed.read(t, name)
		for damage, change := range damages {
			for i := range min(places, len(content)) {
				at := i * (len(content) - 1) / (places - 1)
				try(fmt.Sprintf("%s, %s at %d of %d", name, damage, at, len(content)), func(d stored) {
					d.write(t, name, change(slices.Clone(content), at))
				})
			}
		}
	}
	if !testing.Short() && (refused == 0 || failed == 0 || whole == 0) {
		t.Errorf("got %d starts refused, %d with failing reads, %d with all data, want some of each", refused, failed, whole)
	}
	t.Logf("%d starts refused, %d with failing reads, %d with all data", refused, failed, whole)
}

// TestDamagedReplica damages each file of the replica of a killed node: the replica has everything up to the position that its
// metadata records, or Open returns ErrDamaged, or reads fail.
func TestDamagedReplica(t *testing.T) {
	const jobs = 400
	places := 6 // in each file
	if testing.Short() {
		places = 2
	}
	hooks := journal.Hooks{MemTable: 32 << 10}
	open := func(disk vfs.FS) (*journal.Journal, error) {
		return journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: disk, Logger: quiet, Replica: true}, hooks)
	}
	disk := vfs.NewCrashableMem()
	j, err := open(disk)
	must(t, err)
	var ids []job.ID
	for i := range jobs {
		id, s := submission("t")
		s.Spec = bytes.Repeat([]byte("s"), 300)
		ids = append(ids, id)
		must(t, j.ApplyReplicated(t.Context(), job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{s}}}},
			journal.Metadata{Name: "applied", Value: binary.BigEndian.AppendUint64(nil, uint64(i+1))}))
		if i%10 == 0 {
			must(t, j.Flush(t.Context()))
		}
	}
	must(t, j.Flush(t.Context()))
	clone := func(fs *vfs.MemFS) *vfs.MemFS {
		return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	}
	killed := stored{fs: clone(disk)}
	must(t, j.Close())
	behind, refused, failed, whole := 0, 0, 0, 0
	try := func(what string, change func(s stored)) {
		d := stored{fs: clone(killed.fs)}
		change(d)
		j, err := open(d.fs)
		if err != nil {
			if !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, journal.ErrFormat) {
				t.Errorf("%s: got error %v, want ErrDamaged or ErrFormat", what, err)
			}
			refused++
			return
		}
		defer func() { must(t, j.Close()) }()
		applied, err := j.Metadata(t.Context(), "applied")
		if err != nil {
			failed++
			return
		}
		n := 0
		if len(applied) == 8 {
			n = int(binary.BigEndian.Uint64(applied))
		}
		missing := 0
		for _, id := range ids[:n] {
			if _, err := j.Get(t.Context(), "t", id); isAbsent(err) {
				missing++
			}
		}
		switch {
		case missing > 0:
			t.Errorf("%s: %d jobs of %d applied ones are missing", what, missing, n)
		case n < jobs:
			behind++
		default:
			whole++
		}
	}
	for _, name := range killed.files(t, "*") {
		try(name+" removed", func(d stored) { must(t, d.fs.Remove("j/"+name)) })
		content := killed.read(t, name)
		for damage, change := range damages {
			for i := range min(places, len(content)) {
				at := i * (len(content) - 1) / (places - 1)
				try(fmt.Sprintf("%s, %s at %d of %d", name, damage, at, len(content)), func(d stored) {
					d.write(t, name, change(slices.Clone(content), at))
				})
			}
		}
	}
	t.Logf("%d refused, %d failing, %d behind, %d whole", refused, failed, behind, whole)
}
