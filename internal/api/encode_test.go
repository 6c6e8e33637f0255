package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"gather/internal/api"
	"gather/internal/job"
)

// The hand-written encoding equals the JSON of the generated models, member for member.
func TestJobJSON(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 4, 5, 123456789, time.UTC)
	base := job.Job{
		ID: job.NewID(), Tenant: "default", Kind: "squares", Priority: job.Normal, State: job.Queued, Seq: 1, CreatedAt: now,
	}
	with := func(change func(*job.Job)) job.Job {
		j := base
		change(&j)
		return j
	}
	for name, j := range map[string]job.Job{
		"queued": base,
		"running": with(func(j *job.Job) {
			j.State, j.Priority, j.StartedAt = job.Running, job.High, now.Add(-time.Second)
			j.Progress = job.Progress{Total: 7, Completed: 2, Failed: 1, Bytes: 100, BytesTotal: 300}
			j.Labels = map[string]string{"team": "ingest", "b": "\"quoted\" \\ \t é 😀 \u2028", "a": ""}
		}),
		"retrying": with(func(j *job.Job) {
			j.State, j.StartedAt, j.Retries = job.Running, now, 3
			j.Retry = &job.TaskRetry{Task: 2, Retry: job.Retry{Attempts: 2, After: time.Minute, Error: "no \"answer\""}}
		}),
		"scheduled": with(func(j *job.Job) {
			j.StartAfter, j.Timeout, j.Retention = now.Add(time.Hour), time.Minute, 90*time.Second
		}),
		"succeeded": with(func(j *job.Job) {
			j.State, j.FinishedAt, j.ExpiresAt = job.Succeeded, now, now.Add(time.Hour)
			j.Result, j.Details = []byte(`[1,2.5,"NaN"]`), []byte(`{"dtype":"float64","shape":[3]}`)
		}),
		"failed": with(func(j *job.Job) {
			j.State, j.RequestID = job.Failed, "abc"
			j.Failure = &job.Failure{Reason: job.FailedPanic, Detail: "it <broke> & \"burned\"\n"}
		}),
		"cancelled": with(func(j *job.Job) { j.State, j.Priority = job.Cancelled, job.Low }),
	} {
		t.Run(name, func(t *testing.T) {
			i, h := newIdle(t, 0)
			i.job, i.spec = j, []byte(`{"range":{"stop":3}}`)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/jobs/"+j.ID.String(), nil))
			var model api.Job
			dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&model); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			same(t, w.Body.Bytes(), model)
			if model.CreatedAt != now || model.Kind != "squares" || string(model.State) != j.State.String() {
				t.Errorf("%+v", model)
			}
			if !strings.HasPrefix(fmt.Sprint(model.Submission), "&map[kind:squares") {
				t.Errorf("submission %v", model.Submission)
			}
			if !maps.Equal(model.Labels, j.Labels) {
				t.Errorf("labels %q", model.Labels)
			}
			if j.Failure != nil && (model.Error.Detail != j.Failure.Detail || string(model.Error.Type) != "/problems/job-panicked") {
				t.Errorf("error %+v", model.Error)
			}
		})
	}
}

// same compares JSON with the JSON of a model, ignoring the order of members.
func same(t *testing.T, got []byte, model any) {
	t.Helper()
	again, err := json.Marshal(model)
	if err != nil {
		t.Fatal(err)
	}
	a, b := decode[any](t, got), decode[any](t, again)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("appended\n%s\nmodel\n%s", got, again)
	}
}

// The same for items, pages of them, and problems.
func TestItemJSON(t *testing.T) {
	s := newService(t)
	j := s.finished(`{"kind":"squares","numbers":[3,1000000000000000000,2.5,"-Infinity"]}`)
	a := s.do("GET", path(j, "/results?order=index"), "")
	page := decode[api.Results](t, a.body)
	if !strings.Contains(string(a.body), `"value":1000000000000000000000000000000000000,`) {
		t.Errorf("10^36 is not exact: %s", a.body)
	}
	for i := range page.Items {
		if it := &page.Items[i]; it.Index != int64(i) || it.Error != nil || it.DurationMs < 0 || it.Seq < 2 {
			t.Errorf("%+v", it)
		}
	}
	same(t, a.body, page)

	quoted := decode[api.Results](t, s.do("GET", path(j, "/results?order=index&int_encoding=string"), "").body)
	for i, want := range []any{"9", "1000000000000000000000000000000000000", 6.25, "Infinity"} {
		if got := quoted.Items[i].Value; got != want {
			t.Errorf("item %d is %v, want %v", i, got, want)
		}
	}
	plain, strings := s.do("GET", path(j, ""), ""), s.do("GET", path(j, "?int_encoding=string"), "")
	if got := decode[api.Job](t, strings.body); got.Result != "4" {
		t.Errorf("result %v", got.Result)
	}
	if plain.Header.Get("ETag") == strings.Header.Get("ETag") {
		t.Error("two encodings have one ETag")
	}

	p := s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":7,"timeout":"soon"}`)
	same(t, p.body, decode[api.Problem](t, p.body))
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 1: "0.000001", 1200 * time.Microsecond: "1.2", time.Second: "1000", 2008379645: "2008.379645",
		999999: "0.999999", -5: "0", 100 * time.Microsecond: "0.1",
	} {
		if got := string(api.AppendMillis(nil, d)); got != want {
			t.Errorf("%d ns is %s ms, want %s", d, got, want)
		}
	}
}
