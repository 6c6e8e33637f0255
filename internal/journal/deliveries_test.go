package journal_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// deliver returns what is due to each receiver, by the hosts of its URLs, and the pending deliveries of all.
func deliver(t *testing.T, j *journal.Journal) (due map[uint64][]job.DeliveryRef, next time.Duration, pending int) {
	t.Helper()
	due = make(map[uint64][]job.DeliveryRef)
	for _, r := range j.DeliveryReceivers() {
		pending += r.Pending
		refs, wait, err := j.DueDeliveries(t.Context(), r.Key, 10)
		must(t, err)
		if len(refs) > 0 {
			due[r.Key] = refs
		}
		if wait > 0 && (next == 0 || wait < next) {
			next = wait
		}
	}
	return due, next, pending
}

// Pending deliveries are found by receiver, the earliest first, until they end or their job is deleted; also after a restart.
func TestDueDeliveries(t *testing.T) {
	c := &clock{now: time.Now()}
	fs := vfs.NewMem()
	j := openAt(t, c, journal.Config{FS: fs})
	end := func(url string, at time.Time) job.ID {
		id, s := submission("t")
		s.Job.Webhooks = []job.Webhook{{URL: url, Events: job.AllEvents}}
		must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{}, job.Finished{State: job.Succeeded, At: at})))
		return id
	}
	first := end("https://a.example/1", c.Now().Add(-time.Minute))
	second := end("https://a.example/2", c.Now().Add(-2*time.Minute)) // earlier
	third := end("https://b.example/", c.Now())
	<-j.DeliveriesChanged()
	want := func(what string, refs map[string][]job.ID, wait time.Duration, pending int) {
		t.Helper()
		for range 2 {
			due, next, n := deliver(t, j)
			if n != pending || len(due) != len(refs) || (next-wait).Abs() > time.Second {
				t.Errorf("%s: got %d pending, of %d receivers, and %s until the next; want %d, %d, %s", what, n, len(due), next, pending, len(refs), wait)
			}
			for _, ids := range refs {
				found := false
				for _, got := range due {
					found = found || len(got) == len(ids) && got[0].ID == ids[0] && got[len(got)-1].ID == ids[len(ids)-1]
				}
				if !found {
					t.Errorf("%s: got %v, want %v", what, due, ids)
				}
			}
			must(t, j.Close())
			j = openAt(t, c, journal.Config{FS: fs})
		}
	}
	want("all", map[string][]job.ID{"a": {second, first}, "b": {third}}, 0, 3)
	attempt := func(id job.ID, total int, state job.DeliveryState, wait time.Duration) {
		t.Helper()
		_, err := j.ChangeDelivery(t.Context(), "t", id, job.DeliveryChange{
			Total: total, Attempt: &job.Attempt{At: c.Now(), Status: 500}, State: state, NextAt: c.Now().Add(wait),
		})
		must(t, err)
	}
	attempt(second, 0, job.DeliveryPending, time.Hour)
	attempt(third, 0, job.DeliveryPending, time.Minute)
	want("after an attempt", map[string][]job.ID{"a": {first}}, time.Minute, 3)
	c.add(2 * time.Minute)
	attempt(third, 1, job.DeliveryFailed, 0)
	want("one has failed", map[string][]job.ID{"a": {first}}, 58*time.Minute, 2)
	must(t, j.Delete(t.Context(), "t", first))
	want("one is deleted", nil, 58*time.Minute, 1)
	_, err := j.ChangeDelivery(t.Context(), "t", third, job.DeliveryChange{NextAt: c.Now()})
	must(t, err)
	want("a retry", map[string][]job.ID{"b": {third}}, 58*time.Minute, 2)
	c.add(25 * time.Hour)
	must(t, j.Sweep(t.Context()))
	want("all have expired", nil, 0, 0)
	must(t, j.Close())
}

// A page of due deliveries is bounded, and says when the next one follows.
func TestDueDeliveriesPage(t *testing.T) {
	j := open(t, journal.Config{Dir: "j", FS: vfs.NewMem()})
	now := time.Now().UTC()
	for i := range 5 {
		id, s := submission("t")
		s.Job.Webhooks = []job.Webhook{{URL: fmt.Sprint("https://a.example/", i), Events: job.AllEvents}}
		must(t, journaltest.Append(t.Context(), j, entry(id, s, job.Started{}, job.Finished{State: job.Failed, At: now})))
	}
	list := j.DeliveryReceivers()
	if len(list) != 1 || list[0].Pending != 5 || list[0].Wait != 0 || list[0].Oldest.Unix() != now.Unix() {
		t.Fatalf("got %+v, want one receiver with 5 since %s", list, now)
	}
	refs, next, err := j.DueDeliveries(t.Context(), list[0].Key, 3)
	if err != nil || len(refs) != 3 || next <= 0 {
		t.Errorf("got %d, the next in %s, %v; want 3 and more", len(refs), next, err)
	}
	must(t, j.Close())
}

// A submission that was rejected while it waited for the disk has no deliveries, although its job had ended.
func TestRejectedHasNoDeliveries(t *testing.T) {
	d := newDisk()
	j := open(t, journal.Config{Dir: "j", FS: d})
	resume := d.hang()
	id, s := submission("t")
	s.Job.Webhooks = []job.Webhook{{URL: "https://a.example/", Events: job.AllEvents}}
	done := make(chan error, 1)
	b := entry(id, s, job.Started{}, job.Finished{State: job.Succeeded, At: time.Now()})
	b.Done = func(err error) { done <- err }
	must(t, j.Append(t.Context(), b))
	wantErr(t, <-done, job.ErrStorage)
	if due, _, _ := deliver(t, j); len(due) > 0 {
		t.Errorf("before the disk works: %v is due, want nothing", due)
	}
	resume()
	must(t, j.Flush(t.Context()))
	must(t, j.Flush(t.Context())) // the deletion follows the write
	if due, _, pending := deliver(t, j); len(due) > 0 || pending != 0 {
		t.Errorf("after the disk works: %v is due, %d are pending; want none", due, pending)
	}
	must(t, j.Close())
}

// The record of deliveries is read as the first version with it wrote it.
func TestGoldenDeliveries(t *testing.T) {
	text, err := os.ReadFile("testdata/v1/deliveries.txt")
	must(t, err)
	data, err := hex.DecodeString(strings.TrimSpace(string(text)))
	must(t, err)
	at := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	want := job.Deliveries{
		{Hook: 0, Receiver: 7, State: job.DeliveryDone, Since: at, Tries: 1, Total: 1, Attempts: []job.Attempt{{At: at, Status: 204}}},
		{Hook: 2, Receiver: 9, State: job.DeliveryPending, Since: at, NextAt: at.Add(time.Hour)},
	}
	due, got, err := journal.ParseDeliveries(data)
	if err != nil || string(got.AppendBinary(nil)) != string(want.AppendBinary(nil)) || len(due) != 1 || due[2] != at.Add(time.Hour).UnixMilli() {
		t.Errorf("got %+v, due at %v, %v; want %+v", got, due, err, want)
	}
}
