package journal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// exported collects the export of one journal.
type exported struct {
	jobs       []exportedJob
	keys       []job.KeyRecord
	tombstones []job.Tombstone
}

type exportedJob struct {
	view       job.Job
	spec       []byte
	log        []job.Event
	deliveries job.Deliveries
}

func (x *exported) Job(view job.Job, spec []byte, log job.LogSeq, deliveries job.Deliveries) error {
	e := exportedJob{view: view, spec: spec, deliveries: deliveries}
	for r, err := range log {
		if err != nil {
			return err
		}
		e.log = append(e.log, r.Event)
	}
	x.jobs = append(x.jobs, e)
	return nil
}

func (x *exported) Key(k job.KeyRecord) error {
	x.keys = append(x.keys, k)
	return nil
}

func (x *exported) Tombstone(t job.Tombstone) error {
	x.tombstones = append(x.tombstones, t)
	return nil
}

func exportOf(t *testing.T, j *journal.Journal) *exported {
	t.Helper()
	x := new(exported)
	must(t, j.Export(t.Context(), x))
	return x
}

// text returns the whole export as text.
func (x *exported) text() string {
	var b bytes.Buffer
	for _, e := range x.jobs {
		fmt.Fprintf(&b, "%x %q", e.view.AppendBinary(nil), e.spec)
		for _, ev := range e.log {
			fmt.Fprintf(&b, " %x", job.AppendEvent(nil, ev))
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintln(&b, x.keys, x.tombstones)
	return b.String()
}

// importAll imports everything concurrently, and returns the numbers of new and of existing records.
func (x *exported) importAll(t *testing.T, j *journal.Journal) (added, there int) {
	t.Helper()
	outcomes := make(chan error, len(x.jobs)+len(x.keys)+len(x.tombstones))
	start := func(f func() error) { go func() { outcomes <- f() }() }
	for _, e := range x.jobs {
		start(func() error { return importJob(t.Context(), j, e) })
	}
	for _, k := range x.keys {
		start(func() error { return j.ImportKey(t.Context(), k) })
	}
	for _, s := range x.tombstones {
		start(func() error { return j.ImportTombstone(t.Context(), s) })
	}
	for range cap(outcomes) {
		switch err := <-outcomes; {
		case errors.Is(err, job.ErrExists):
			there++
		default:
			must(t, err)
			added++
		}
	}
	return added, there
}

// importJob imports one job.
func importJob(ctx context.Context, j *journal.Journal, e exportedJob) error {
	return j.ImportJob(ctx, e.view, e.spec, e.log, e.deliveries)
}

// queued starts an import, and returns the channel of its outcome when it is in the writer's queue.
func queued(t *testing.T, j *journal.Journal, f func() error) <-chan error {
	t.Helper()
	before := j.Queued()
	outcome := make(chan error, 1)
	go func() { outcome <- f() }()
	until(t, "the import is queued", func() bool { return j.Queued() > before })
	return outcome
}

// block returns a block of items with the indexes from the last one down.
func block(from, to int64) (b job.Items) {
	for i := to - 1; i >= from; i-- {
		b.Add(i, fmt.Append(nil, i), time.Duration(i))
	}
	return b
}

const exportUnits = 40_000

// fill adds jobs in all states, of two tenants, and keys and tombstones.
func fill(t *testing.T, j *journal.Journal) (ids map[string]job.ID) {
	t.Helper()
	now := time.Now().UTC()
	ids = make(map[string]job.ID)
	add := func(name, tenant string, spec []byte, events ...job.Event) {
		id, s := submission(tenant)
		ids[name] = id
		s.Spec, s.Job.Retention, s.Job.Tasks = spec, time.Hour, 4
		s.Job.Labels, s.Job.Progress = map[string]string{"name": name}, job.Progress{Total: exportUnits}
		must(t, journaltest.Append(t.Context(), j, job.Batch{
			Entries: []job.Entry{{ID: id, Events: []job.Event{s}}},
			Key:     &job.Key{Tenant: tenant, Route: "jobs", Value: name, Fingerprint: sha256.Sum256([]byte(name))},
		}))
		for _, e := range events {
			must(t, journaltest.Append(t.Context(), j, entry(id, e)))
		}
	}
	advanced := func(task int, from, to int64) job.Event {
		return job.TaskProgress{Task: task, Done: true, Completed: to - from, Items: block(from, to), Partial: fmt.Append(nil, task)}
	}
	started := job.Started{At: now}
	small, long := []byte(`{"n":1}`), bytes.Repeat([]byte("a long spec "), 1000)
	half := int64(exportUnits / 2)
	add("queued", "t", small)
	add("running", "u", long, started, advanced(2, half, exportUnits))
	add("cancelling", "t", long, started, advanced(0, 0, half), job.CancelRequested{At: now})
	add("succeeded", "t", small, started, advanced(1, half, exportUnits), advanced(0, 0, half),
		job.Finished{At: now, State: job.Succeeded, Result: []byte("42"), Details: []byte(`{"a":1}`)})
	add("failed", "u", long, started,
		job.Finished{At: now, State: job.Failed, Failure: &job.Failure{Reason: job.FailedPanic, Detail: "oh"}})
	add("cancelled", "t", small, job.CancelRequested{At: now}, job.Finished{At: now, State: job.Cancelled})
	add("deleted", "t", small, job.CancelRequested{At: now}, job.Finished{At: now, State: job.Cancelled})
	must(t, j.Delete(t.Context(), "t", ids["deleted"]))

	// A job without a key that is submitted and finished in one write.
	id, s := submission("t")
	ids["at once"] = id
	must(t, journaltest.Append(t.Context(), j, entry(id, s, started, job.Finished{At: now, State: job.Succeeded, Items: block(0, 7)})))
	return ids
}

func newJournal(t *testing.T) *journal.Journal {
	t.Helper()
	j := open(t, journal.Config{Dir: "j", FS: vfs.NewMem()})
	t.Cleanup(func() { must(t, j.Close()) })
	return j
}

// Importing an export yields the same export, and importing it again adds nothing.
func TestImport(t *testing.T) {
	from := newJournal(t)
	ids := fill(t, from)
	x := exportOf(t, from)
	if len(x.jobs) != len(ids)-1 || len(x.keys) != len(ids)-1 || len(x.tombstones) != 1 {
		t.Fatal(len(x.jobs), len(x.keys), len(x.tombstones))
	}
	fs := vfs.NewMem()
	to := open(t, journal.Config{Dir: "j", FS: fs})
	total := len(x.jobs) + len(x.keys) + len(x.tombstones)
	for _, want := range []struct{ added, there int }{{total, 0}, {0, total}} {
		if added, there := x.importAll(t, to); added != want.added || there != want.there {
			t.Fatal(added, there, want)
		}
	}
	for round := range 2 {
		if got, want := exportOf(t, to).text(), x.text(); got != want {
			t.Fatalf("round %d: imported\n%.2000s, exported\n%.2000s", round, got, want)
		}
		sameReads(t, to, from, ids)
		must(t, to.Close())
		to = open(t, journal.Config{Dir: "j", FS: fs})
	}
	if added, there := x.importAll(t, to); added != 0 || there != total {
		t.Fatal("after a restart", added, there)
	}
	must(t, to.Close())
}

// sameReads compares the results of reads from two journals.
func sameReads(t *testing.T, to, from *journal.Journal, ids map[string]job.ID) {
	t.Helper()
	for name, id := range ids {
		read := func(j *journal.Journal) string {
			var b bytes.Buffer
			for _, tenant := range []string{"t", "u"} {
				view, err := j.Get(t.Context(), tenant, id)
				fmt.Fprintf(&b, "%x %v\n", view.AppendBinary(nil), err)
				prior, err := j.Reserve(t.Context(), job.Key{
					Tenant: tenant, Route: "jobs", Value: name, Fingerprint: sha256.Sum256([]byte(name)),
				})
				fmt.Fprintln(&b, prior, err)
				if err == nil && prior == nil {
					j.Release(job.Key{Tenant: tenant, Route: "jobs", Value: name})
				}
			}
			for _, after := range []int64{-1, 19_000, exportUnits - 10} {
				page, err := j.ItemsByIndex(t.Context(), id, after, 30)
				must(t, err)
				fmt.Fprintln(&b, page)
			}
			log, err := j.Log(t.Context(), id, 1, 10)
			must(t, err)
			for _, r := range log {
				fmt.Fprintf(&b, "%d %x\n", r.Seq, job.AppendEvent(nil, r.Event))
			}
			return b.String()
		}
		if got, want := read(to), read(from); got != want {
			t.Errorf("%s: reads\n%.3000s\nwant\n%.3000s", name, got, want)
		}
	}
	for _, tenant := range []string{"t", "u"} {
		list := func(j *journal.Journal) (names []string) {
			jobs, _, err := j.List(t.Context(), job.Query{Tenant: tenant, Limit: 100})
			must(t, err)
			for _, v := range jobs {
				names = append(names, v.Labels["name"])
			}
			return names
		}
		if got, want := list(to), list(from); !slices.Equal(got, want) {
			t.Errorf("tenant %s: listed %q, want %q", tenant, got, want)
		}
	}
}

// An imported job continues with events that are appended after it, in the same write or a later one.
func TestImportedJobGoesOn(t *testing.T) {
	from := newJournal(t)
	fill(t, from)
	x := exportOf(t, from)
	fs := newDisk()
	to := open(t, journal.Config{Dir: "j", FS: fs})
	outcomes := make(chan error, 3*len(x.jobs))
	done := func(err error) { outcomes <- err }
	sent := 0
	send := func(err error) { must(t, err); sent++ }
	want := make(map[job.ID]job.Job)
	tokens := make(map[job.ID]<-chan struct{})
	for _, e := range x.jobs {
		if e.view.State.Terminal() {
			continue
		}
		changed, stop := to.Watch(e.view.ID)
		t.Cleanup(stop)
		tokens[e.view.ID] = changed
		view := e.view
		var events []job.Event
		if view.State == job.Queued {
			events = append(events, job.Started{At: time.Now().UTC()})
		}
		events = append(events, job.TaskProgress{Task: 3, Done: true, Completed: 1, Items: block(9, 10)})
		together(t, fs, to, func() {
			imported := queued(t, to, func() error { return importJob(t.Context(), to, e) })
			go func() { outcomes <- <-imported }()
			sent++
			send(to.Append(t.Context(), job.Batch{Entries: []job.Entry{{ID: view.ID, Events: events}}, Done: done}))
		})
		end := job.Finished{At: time.Now().UTC(), State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask}}
		if view.State == job.Queued { // the others stay
			send(to.Append(t.Context(), job.Batch{Entries: []job.Entry{{ID: view.ID, Events: []job.Event{end}}}, Done: done}))
			events = append(events, end)
		}
		for _, ev := range events {
			var err error
			view, err = job.Apply(view, ev)
			must(t, err)
		}
		want[view.ID] = view
	}
	for range sent {
		must(t, <-outcomes)
	}
	if len(want) != 3 {
		t.Fatal(slices.Collect(maps.Keys(want)))
	}
	for range 2 {
		for id, v := range want {
			got, err := to.Get(t.Context(), v.Tenant, id)
			must(t, err)
			if !bytes.Equal(got.AppendBinary(nil), v.AppendBinary(nil)) {
				t.Errorf("view is\n%+v, want\n%+v", got, v)
			}
			log, err := to.Log(t.Context(), id, 0, 1<<30)
			must(t, err)
			if n := log[len(log)-1].Seq; n != v.Seq {
				t.Errorf("log ends at %d, want %d", n, v.Seq)
			}
		}
		must(t, to.Close())
		to = open(t, journal.Config{Dir: "j", FS: fs})
	}
	for id, c := range tokens {
		select {
		case <-c:
		default:
			t.Errorf("no watch was signalled for job %s", id)
		}
	}
	must(t, to.Close())
}

// together groups all requests that f queues into one write.
func together(t *testing.T, d *disk, j *journal.Journal, f func()) {
	t.Helper()
	must(t, j.Flush(t.Context()))
	resume := d.hang()
	defer resume()
	id, s := submission("other")
	must(t, j.Append(t.Context(), entry(id, s)))
	until(t, "a write waits for the disk", func() bool { return j.InEngine("other", id) })
	f()
}

// A job whose log does not lead to its view is not imported.
func TestImportFaults(t *testing.T) {
	from := newJournal(t)
	ids := fill(t, from)
	x := exportOf(t, from)
	to := newJournal(t)
	for name, spoil := range map[string]func(e *exportedJob){
		"no log":      func(e *exportedJob) { e.log = nil },
		"beheaded":    func(e *exportedJob) { e.log = e.log[1:] },
		"cut":         func(e *exportedJob) { e.log = e.log[:len(e.log)-1] },
		"other seq":   func(e *exportedJob) { e.view.Seq++ },
		"other state": func(e *exportedJob) { e.view.State = job.Succeeded },
		"illegal":     func(e *exportedJob) { e.log = append(e.log[:1:1], e.log...) },
	} {
		e := x.jobs[1]
		if e.view.ID != ids["running"] {
			t.Fatal(e.view)
		}
		spoil(&e)
		wantErr(t, importJob(t.Context(), to, e), job.ErrCorrupt)
		if _, err := to.Get(t.Context(), e.view.Tenant, e.view.ID); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	n, err := to.Keys()
	if err != nil || len(n) != 1 {
		t.Error(n, err)
	}
}

// Existing records are not replaced, in one write or in two.
func TestImportExists(t *testing.T) {
	from := newJournal(t)
	fill(t, from)
	x := exportOf(t, from)
	d := newDisk()
	to := open(t, journal.Config{Dir: "j", FS: d})
	defer func() { must(t, to.Close()) }()
	// check queues imports for one write, and compares their outcomes.
	check := func(imports []func() error, want ...error) {
		t.Helper()
		var outcomes []<-chan error
		together(t, d, to, func() {
			for _, f := range imports {
				outcomes = append(outcomes, queued(t, to, f))
			}
		})
		for i, c := range outcomes {
			if err := <-c; !errors.Is(err, want[i]) {
				t.Errorf("import %d: got %v, want %v", i, err, want[i])
			}
		}
	}
	e := x.jobs[len(x.jobs)-1]
	stone := job.Tombstone{Tenant: e.view.Tenant, ID: e.view.ID, Expires: time.Now().Add(time.Hour)}
	tombstone := func(s job.Tombstone) func() error {
		return func() error { return to.ImportTombstone(t.Context(), s) }
	}
	check([]func() error{tombstone(stone), func() error { return importJob(t.Context(), to, e) }, tombstone(stone)},
		nil, job.ErrExists, job.ErrExists)
	if _, err := to.Get(t.Context(), e.view.Tenant, e.view.ID); !errors.Is(err, job.ErrExpired) {
		t.Error(err)
	}

	first := x.jobs[0]
	check([]func() error{
		func() error { return importJob(t.Context(), to, first) }, tombstone(job.Tombstone{Tenant: first.view.Tenant, ID: first.view.ID}),
	}, nil, job.ErrExists)

	// An expired key is replaced.
	k := x.keys[0]
	k.Expires = time.Now().Add(-time.Second)
	key := func(k job.KeyRecord) func() error { return func() error { return to.ImportKey(t.Context(), k) } }
	check([]func() error{key(k), key(x.keys[0]), key(x.keys[0])}, nil, nil, job.ErrExists)
}

// Imported jobs, keys and tombstones keep their expiries.
func TestImportExpires(t *testing.T) {
	from := newJournal(t)
	fill(t, from)
	x := exportOf(t, from)
	late := time.Now().Add(25 * time.Hour)
	to, err := journal.OpenWithHooks(t.Context(), journal.Config{Dir: "j", FS: vfs.NewMem(), Logger: quiet, TombstoneRetention: -time.Hour},
		journal.Hooks{Now: func() time.Time { return late }})
	must(t, err)
	defer func() { must(t, to.Close()) }()
	x.importAll(t, to)
	must(t, to.Sweep(t.Context())) // leaves tombstones, which have expired
	must(t, to.Sweep(t.Context()))
	left := exportOf(t, to)
	if len(left.keys) != 0 || len(left.tombstones) != 0 || len(left.jobs) != 3 {
		t.Error(len(left.keys), len(left.tombstones), len(left.jobs))
	}
}

func TestExportEnds(t *testing.T) {
	from := newJournal(t)
	fill(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, from.Export(ctx, new(exported)), context.Canceled)
	n := 0
	wantErr(t, from.Export(t.Context(), failing{after: 5, n: &n}), errDisk)
	dir := t.TempDir()
	for _, want := range []bool{false, true} {
		if got, err := journal.Exists(filepath.Join(dir, "missing")); err != nil || got {
			t.Error(got, err)
		}
		got, err := journal.Exists(dir)
		if err != nil || got != want {
			t.Error(got, err)
		}
		must(t, open(t, journal.Config{Dir: dir}).Close())
	}
}

// failing is a visitor that returns errors.
type failing struct {
	after int
	n     *int
}

func (f failing) Job(job.Job, []byte, job.LogSeq, job.Deliveries) error {
	if *f.n++; *f.n == f.after {
		return errDisk
	}
	return nil
}
func (f failing) Key(job.KeyRecord) error       { return nil }
func (f failing) Tombstone(job.Tombstone) error { return nil }
