package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"testing"
	"time"

	"gather/internal/job"
)

// Journal is the whole contract of a journal. Its users declare interfaces with the methods that they call.
//
//nolint:interfacebloat // the whole contract
type Journal interface {
	// Append queues a batch; see job.Batch. It returns job.ErrStorage while submissions are rejected, and job.ErrTransition,
	// directly or through Done, for an invalid event.
	Append(ctx context.Context, b job.Batch) error
	// Recover visits every unfinished job, in the order of submission, with its spec and log.
	Recover(ctx context.Context, visit func(view job.Job, spec []byte, log iter.Seq2[job.LogRecord, error]) error) error
	// Get returns the durable view of a job, job.ErrNotFound or job.ErrExpired.
	Get(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// Log returns durable events with a last seq above after, at most limit events or about job.PageBytes.
	Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error)
	// ItemsByIndex returns durable items with an index above after, at most limit items or about job.PageBytes.
	ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error)
	// Spec returns the spec of a job, or nil if it is longer than limit and limit is not 0; job.ErrNotFound.
	Spec(ctx context.Context, tenant string, id job.ID, limit int) ([]byte, error)
	// List returns the jobs that match a query, newest first.
	List(ctx context.Context, q job.Query) (jobs []job.Job, next job.ID, err error)
	// Count returns the number of a tenant's jobs by state, of some kinds or of all.
	Count(ctx context.Context, tenant string, kinds []string) (job.Counts, error)
	// Group returns a group, or job.ErrGroupNotFound.
	Group(ctx context.Context, tenant, name string) (job.Group, error)
	// Groups returns at most limit groups after a name, in order.
	Groups(ctx context.Context, tenant, after string, limit int) ([]job.Group, error)
	// GroupEnds returns at most limit ends of the jobs of a group after a seq, in order.
	GroupEnds(ctx context.Context, tenant, name string, after uint64, limit int) ([]job.GroupEnd, error)
	// Watch returns a channel that is signalled after durable changes of a job.
	Watch(id job.ID) (changed <-chan struct{}, stop func())
	// Delete removes a terminal job, or returns job.ErrNotFinished, job.ErrNotFound, job.ErrExpired or job.ErrStorage.
	Delete(ctx context.Context, tenant string, id job.ID) error
	// Reserve reserves an idempotency key, or returns the jobs of its use, job.ErrKeyReused or job.ErrKeyInProgress.
	Reserve(ctx context.Context, key job.Key) (prior []job.ID, err error)
	// Deliveries returns the deliveries of a finished job, or job.ErrNotFound.
	Deliveries(ctx context.Context, tenant string, id job.ID) (job.Deliveries, error)
	// ChangeDelivery durably changes a delivery, or returns job.ErrNotFound or job.ErrTransition.
	ChangeDelivery(ctx context.Context, tenant string, id job.ID, c job.DeliveryChange) (job.Deliveries, error)
	// Release releases a reserved key.
	Release(key job.Key)
	// Results returns the bytes of results of an unfinished job, and of all stored jobs of a tenant.
	Results(tenant string, id job.ID) (ofJob, ofTenant int64)
	// Stats returns the counts of a tenant's jobs.
	Stats(ctx context.Context, tenant string) (job.Stats, error)
	// Documents returns the documents whose names begin with a prefix, by name. It may miss recent updates of other nodes.
	Documents(ctx context.Context, prefix string) ([]job.Document, error)
	// Document returns a document; a revision of 0 if it is missing.
	Document(ctx context.Context, name string) (job.Document, error)
	// PutDocument replaces the document of a revision, 0 for a new one; a nil value deletes it. It returns job.ErrChanged or
	// job.ErrStorage.
	PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error)
	// WatchDocuments returns a channel that is signalled after updates of documents.
	WatchDocuments() (changed <-chan struct{}, stop func())
	// Ready returns nil, or the reason for which submissions are rejected.
	Ready() error
	// Close makes all appended batches durable.
	Close() error
}

// Exercise checks the contract of a journal. Open opens the journal of a directory, which an earlier call may have opened;
// Exercise closes each journal.
func Exercise(t *testing.T, open func(t *testing.T, dir string) Journal) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*harness)
	}{
		{"life of a job", testLife},
		{"illegal events", testIllegal},
		{"all or nothing", testAllOrNothing},
		{"watch", testWatch},
		{"log pages", testLogPages},
		{"items by index", testItemsByIndex},
		{"pages of large items", testLargeItems},
		{"specs", testSpecs},
		{"list filters", testListFilters},
		{"counts", testCounts},
		{"groups", testGroups},
		{"groups under concurrency", testGroupsRace},
		{"list under churn", testListChurn},
		{"tenants", testTenants},
		{"delete", testDelete},
		{"bytes of results", testResults},
		{"stats", testStats},
		{"retries of tasks", testRetries},
		{"jobs that wait for others", testAfter},
		{"jobs that wait for a job that does not succeed", testAfterFailed},
		{"jobs that wait for a job that has ended", testAfterEnded},
		{"many jobs that wait for a job", testManyDependents},
		{"deliveries", testDeliveries},
		{"documents", testDocuments},
		{"updates of a document", testDocumentRace},
		{"idempotency", testIdempotency},
		{"idempotency under concurrency", testIdempotencyRace},
		{"reopen", testReopen},
		{"recover", testRecover},
		{"concurrent appenders", testConcurrent},
		{"close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{T: t, open: open, dir: t.TempDir(), now: time.Now().UTC().Truncate(time.Millisecond)}
			h.reopen()
			defer h.close()
			c.test(h)
		})
	}
}

// harness is one open journal under test.
type harness struct {
	*testing.T
	open func(t *testing.T, dir string) Journal
	dir  string
	j    Journal
	now  time.Time
}

func (h *harness) reopen() {
	h.Helper()
	h.close()
	h.j = h.open(h.T, h.dir)
}

func (h *harness) close() {
	h.Helper()
	if h.j != nil {
		if err := h.j.Close(); err != nil {
			h.Errorf("close: %v", err)
		}
		h.j = nil
	}
}

func (h *harness) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *harness) want(err, target error) {
	h.Helper()
	if !errors.Is(err, target) {
		h.Fatalf("error is %v, want %v", err, target)
	}
}

// new returns a submission of a job with a number of units.
func (h *harness) new(tenant string, units int64, change ...func(*job.Job)) (job.ID, job.Submitted) {
	id := job.NewID()
	j := job.Job{
		ID: id, Tenant: tenant, Kind: "squares", Priority: job.Normal, State: job.Queued, CreatedAt: h.now,
		Tasks: 2, Progress: job.Progress{Total: units}, Retention: time.Hour, RequestID: "r-" + id.String(),
	}
	for _, f := range change {
		f(&j)
	}
	return id, job.Submitted{Job: j, Spec: fmt.Appendf(nil, `{"of":%q}`, id)}
}

// append appends a batch and waits for its Done.
func (h *harness) append(b job.Batch) error {
	h.Helper()
	return Append(h.Context(), h.j, b)
}

// Append appends a batch to a journal and waits until it is durable or rejected.
func Append(ctx context.Context, j interface {
	Append(ctx context.Context, b job.Batch) error
}, b job.Batch,
) error {
	done := make(chan error, 2)
	b.Done = func(err error) { done <- err }
	if err := j.Append(ctx, b); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// events appends events of one job.
func (h *harness) events(id job.ID, events ...job.Event) {
	h.Helper()
	h.ok(h.append(job.Batch{Entries: []job.Entry{{ID: id, Events: events}}}))
}

// submit appends a new job and returns its id.
func (h *harness) submit(tenant string, units int64, change ...func(*job.Job)) job.ID {
	h.Helper()
	id, s := h.new(tenant, units, change...)
	h.events(id, s)
	return id
}

func (h *harness) started() job.Event { return job.Started{At: h.now.Add(time.Second)} }

func (h *harness) finished(s job.State) job.Event {
	return job.Finished{At: h.now.Add(2 * time.Second), State: s, Result: []byte("42")}
}

// block returns a block of items with the given indexes; the value of an item is its index.
func block(indexes ...int64) job.Items {
	var b job.Items
	for _, i := range indexes {
		if i%7 == 3 {
			b.AddError(i, fmt.Sprint("no ", i), time.Duration(i))
		} else {
			b.Add(i, fmt.Append(nil, i), time.Duration(i))
		}
	}
	return b
}

func run(from, to int64) []int64 {
	var s []int64
	for i := from; i < to; i++ {
		s = append(s, i)
	}
	return s
}

func (h *harness) get(id job.ID) job.Job {
	h.Helper()
	j, err := h.j.Get(h.Context(), "t", id)
	h.ok(err)
	return j
}

// apply returns the expected view of a job after events.
func (h *harness) apply(events ...job.Event) job.Job {
	h.Helper()
	var j job.Job
	for _, e := range events {
		var err error
		j, err = job.Apply(j, e)
		h.ok(err)
	}
	return j
}

// same fails the test unless two views have the same encoding.
func (h *harness) same(got, want job.Job) {
	h.Helper()
	if !bytes.Equal(got.AppendBinary(nil), want.AppendBinary(nil)) {
		h.Fatalf("view is\n%+v, want\n%+v", got, want)
	}
}

// log reads a whole log in pages, and fails the test if its seqs have a gap.
func (h *harness) log(id job.ID, limit int) []job.LogRecord {
	h.Helper()
	var all []job.LogRecord
	after := uint64(0)
	for {
		page, err := h.j.Log(h.Context(), id, after, limit)
		h.ok(err)
		if len(page) == 0 {
			return all
		}
		for _, r := range page {
			if r.Seq != after+job.Seqs(r.Event) {
				h.Fatalf("event %T after seq %d has seq %d", r.Event, after, r.Seq)
			}
			after = r.Seq
		}
		all = append(all, page...)
	}
}

// sameLog fails the test unless a log has the events that were appended.
func (h *harness) sameLog(log []job.LogRecord, want []job.Event) {
	h.Helper()
	var got, exp []string
	for _, r := range log {
		got = append(got, describe(r.Event))
	}
	for _, e := range want {
		exp = append(exp, describe(e))
	}
	if !slices.Equal(got, exp) {
		h.Fatalf("log is %q, want %q", got, exp)
	}
}

// describe returns the type and the encoding of an event.
func describe(e job.Event) string { return fmt.Sprintf("%T %q", e, job.AppendEvent(nil, e)) }

func (h *harness) equal(got, want any) {
	h.Helper()
	if !reflect.DeepEqual(got, want) {
		h.Fatalf("got %v, want %v", got, want)
	}
}
