package api_test

import (
	"strings"
	"testing"
	"time"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/journal/journaltest"
)

// A job shows the last failed attempt of a task, and its events have all of them, which a stream can resume from.
func TestTaskRetryShown(t *testing.T) {
	s := newService(t)
	j := decode[api.Job](t, s.do("POST", "/v1/jobs", `{"kind":"array_sum","array":{"source":"ones","shape":[2]},"retry":{"attempts":3},"start_after":"1h"}`).body)
	if j.Retries != 0 || j.Retrying != nil {
		t.Errorf("before the start: %d retries, %+v; want none", j.Retries, j.Retrying)
	}
	id, err := job.ParseID(j.Id.String())
	if err != nil {
		t.Fatal(err)
	}
	add := func(events ...job.Event) {
		t.Helper()
		if err := journaltest.Append(t.Context(), s.journal, job.Batch{Entries: []job.Entry{{ID: id, Events: events}}}); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	add(job.Started{At: at}, job.TaskProgress{Retry: &job.Retry{Attempts: 1, After: time.Second, Error: "no answer"}},
		job.TaskProgress{Retry: &job.Retry{Attempts: 2, After: 3 * time.Second, Error: `no "answer"`}})
	j = decode[api.Job](t, s.do("GET", path(j, ""), "").body)
	want := api.TaskRetry{Task: 0, Attempts: 2, Error: `no "answer"`, NextAttemptAt: at.Add(3 * time.Second)}
	if j.Retries != 2 || j.Retrying == nil || *j.Retrying != want {
		t.Errorf("%d retries, %+v; want 2, %+v", j.Retries, j.Retrying, want)
	}
	add(job.Finished{At: at.Add(4 * time.Second), State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: "no answer (3 attempts)"}})
	if j = decode[api.Job](t, s.do("GET", path(j, ""), "").body); j.Retries != 2 || j.Retrying != nil {
		t.Errorf("after the end: %d retries, %+v; want 2, none", j.Retries, j.Retrying)
	}
	lines := func(after string) (retries []string) {
		for line := range strings.Lines(string(s.do("GET", path(j, "/events"+after), "", "Accept: application/x-ndjson").body)) {
			if strings.Contains(line, `"event":"retry"`) {
				retries = append(retries, strings.TrimSpace(line))
			}
		}
		return retries
	}
	first := `{"seq":3,"event":"retry","data":{"seq":3,"task":0,"attempts":1,"error":"no answer","next_attempt_at":"2026-11-27T12:00:01Z"}}`
	second := `{"seq":4,"event":"retry","data":{"seq":4,"task":0,"attempts":2,"error":"no \"answer\"","next_attempt_at":"2026-11-27T12:00:03Z"}}`
	if got := strings.Join(lines(""), "\n"); got != first+"\n"+second {
		t.Errorf("the events are\n%s, want\n%s\n%s", got, first, second)
	}
	if got := strings.Join(lines("?after=3"), "\n"); got != second {
		t.Errorf("after the first one the events are\n%s, want\n%s", got, second)
	}
	if shown := string(s.do("GET", path(j, "/submission"), "").body); !strings.Contains(shown, `"retry":{"attempts":3}`) {
		t.Errorf("the submission is %s, want its retry", shown)
	}
}
