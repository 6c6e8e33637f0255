package job_test

import (
	"reflect"
	"testing"
	"time"

	"gather/internal/job"
)

// The log of a job with retries leads to its view, which an import checks.
func TestRebuildRetries(t *testing.T) {
	sub := submitted()
	log := []job.Event{
		sub,
		job.Started{At: at},
		job.TaskProgress{Retry: &job.Retry{Attempts: 1, After: time.Second, Error: "why"}},
		job.TaskProgress{Retry: &job.Retry{Attempts: 2, After: time.Minute, Error: "why"}},
	}
	var view job.Job
	for _, e := range log {
		var err error
		if view, err = job.Apply(view, e); err != nil {
			t.Fatal(err)
		}
	}
	if want := (&job.TaskRetry{Retry: job.Retry{Attempts: 2, After: time.Minute, Error: "why"}}); view.Retries != 2 || !reflect.DeepEqual(view.Retry, want) {
		t.Errorf("%d retries, the last one %+v; want 2, %+v", view.Retries, view.Retry, want)
	}
	events, err := job.Rebuild(view, sub.Spec, log)
	if err != nil || !reflect.DeepEqual(events, log) {
		t.Errorf("got %+v, %v, want %+v", events, err, log)
	}
}
