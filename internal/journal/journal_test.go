package journal_test

import (
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	id := job.NewID()
	done := make(chan error, 2)
	now := time.Now().UTC()
	k := job.Key{Tenant: "t", Value: "k"}
	if _, err := j.Reserve(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), job.Batch{Key: &k, Done: func(err error) { done <- err }, Entries: []job.Entry{{ID: id, Events: []job.Event{
		job.Submitted{Job: job.Job{ID: id, Tenant: "t", Kind: "squares", State: job.Queued, Priority: job.Normal, CreatedAt: now}, Spec: []byte("{}")}, job.Started{At: now},
	}}}}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Log(j.Get(t.Context(), "t", id))
	t.Log(j.Log(t.Context(), id, 0, 100))
	t.Log(j.Reserve(t.Context(), k))
	if err := j.Append(t.Context(), job.Batch{Done: func(err error) { done <- err }, Entries: []job.Entry{{ID: id, Events: []job.Event{job.Finished{State: job.Succeeded, At: now}}}}}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Log(j.Get(t.Context(), "t", id))
	t.Log(j.List(t.Context(), job.Query{Tenant: "t", Limit: 10}))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, err = journal.Open(t.Context(), journal.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(j.Get(t.Context(), "t", id))
	t.Log(j.Log(t.Context(), id, 0, 100))
	t.Log(j.Delete(t.Context(), "t", id))
	t.Log(j.Get(t.Context(), "t", id))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
