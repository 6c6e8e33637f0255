package api_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"gather/internal/api"
	"gather/internal/job"
)

// values returns the member values of a job's JSON.
func values(t *testing.T, text []byte) string {
	t.Helper()
	return string(decode[struct {
		Values jsontext.Value `json:"values"`
	}](t, text).Values)
}

// A single request submits a job and returns its item values in input order, like every other response with one
// finished job.
func TestValues(t *testing.T) {
	s := newService(t)
	upTo := func(n int) string { // the squares of 0 to n-1
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprint(i * i)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	for _, c := range []struct{ spec, want, quoted string }{
		{spec: `{"kind":"squares","range":{"start":0,"stop":5}}`, want: `[0,1,4,9,16]`, quoted: `["0","1","4","9","16"]`},
		{
			spec:   `{"kind":"squares","numbers":[3,1000000000000000000,2.5,"-Infinity","NaN"]}`,
			want:   `[9,1000000000000000000000000000000000000,6.25,"Infinity","NaN"]`,
			quoted: `["9","1000000000000000000000000000000000000",6.25,"Infinity","NaN"]`,
		},
		{spec: `{"kind":"squares","numbers":[]}`, want: `[]`, quoted: `[]`},
		{spec: `{"kind":"sleep_batch","count":0,"duration":"1s"}`, want: `[]`, quoted: `[]`},
		{spec: `{"kind":"squares","range":{"stop":100}}`, want: upTo(100)},
		{spec: `{"kind":"squares","range":{"stop":101}}`, want: `null`, quoted: `null`},
		{spec: `{"kind":"squares","range":{"stop":40000}}`, want: `null`, quoted: `null`},
		// A number of n nines has a square of 2n digits.
		{spec: `{"kind":"squares","numbers":[` + strings.Repeat("9", 8192) + `]}`, want: `[` + strings.Repeat("9", 8191) + "8" + strings.Repeat("0", 8191) + `1]`},
		{spec: `{"kind":"squares","numbers":[` + strings.Repeat("9", 8192) + `,0]}`, want: `null`, quoted: `null`},
		{spec: `{"kind":"array_sum","array":{"values":[[1,2],[3,4]]},"axis":0}`, want: `null`, quoted: `null`},
	} {
		name := c.spec[:min(len(c.spec), 80)]
		check := func(what string, body []byte, want string) {
			t.Helper()
			if got := values(t, body); got != want && want != "" {
				t.Errorf("%s of %s: values %.100s, want %.100s", what, name, got, want)
			}
		}
		a := s.do("POST", "/v1/jobs", c.spec, "Prefer: wait=30", "Idempotency-Key: "+fmt.Sprint(time.Now().UnixNano()))
		if a.status != 200 {
			t.Fatalf("%s: %d: %s", name, a.status, a.body)
		}
		check("POST", a.body, c.want)
		j := api.Job{Id: decode[struct{ ID uuid.UUID }](t, a.body).ID} // without its values, which may exceed float64
		check("GET", s.do("GET", path(j, ""), "").body, c.want)
		check("GET, integers as strings", s.do("GET", path(j, "?int_encoding=string"), "").body, c.quoted)
		check("GET with Prefer", s.do("GET", path(j, ""), "", "Prefer: wait=5").body, c.want)
		check("cancel", s.do("POST", path(j, "/cancel"), "").body, c.want)
		for _, q := range []struct{ query, want string }{{"", c.want}, {"?int_encoding=string", c.quoted}} {
			events := parseSSE(string(s.do("GET", path(j, "/events"+q.query), "").body))
			end := events[len(events)-1]
			if end.name != "end" {
				t.Fatalf("the last event of %s is %s, want end", name, end.name)
			}
			check("the end event"+q.query, []byte(end.data), q.want)
		}
	}
	for _, j := range decode[struct{ Jobs []jsontext.Value }](t, s.do("GET", "/v1/jobs", "").body).Jobs {
		if got := values(t, j); got != "null" {
			t.Errorf("a job of the list has values %s, want null", got)
		}
	}
	for _, state := range []string{"accepted", "finished"} {
		a := s.do("POST", "/v1/jobs:batch", `{"jobs":[{"kind":"squares","numbers":[1]}]}`, "Idempotency-Key: batch")
		j := decode[struct{ Jobs []jsontext.Value }](t, a.body).Jobs[0]
		if got := values(t, j); got != "null" {
			t.Errorf("a job of the batch, %s, has values %s, want null", state, got)
		}
		s.do("GET", path(decode[api.Job](t, j), ""), "", "Prefer: wait=30")
	}
	// A repeated submission returns the current job.
	for range 2 {
		a := s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":[-4]}`, "Idempotency-Key: again")
		if a.Header.Get("Idempotency-Replayed") == "true" && values(t, a.body) != `[16]` {
			t.Errorf("the repeated submission has values %s, want [16]", values(t, a.body))
		}
		s.do("GET", path(decode[api.Job](t, a.body), ""), "", "Prefer: wait=30")
	}
}

// Items complete in any order; values are in input order, with null for items that did not run.
func TestValuesOfCancelledJob(t *testing.T) {
	s := newService(t)
	a := s.do("POST", "/v1/jobs", `{"kind":"sleep_batch","durations":["1h","2ms",0]}`)
	j := decode[api.Job](t, a.body)
	for {
		if p := decode[api.Job](t, s.do("GET", path(j, ""), "").body); p.Progress.Completed == 2 {
			break
		}
	}
	if got := values(t, s.do("GET", path(j, ""), "").body); got != "null" {
		t.Errorf("while it runs: values %s, want null", got)
	}
	s.do("POST", path(j, "/cancel"), "")
	j = decode[api.Job](t, s.do("GET", path(j, ""), "", "Prefer: wait=30").body)
	if j.Values == nil || len(*j.Values) != 3 {
		t.Fatalf("values %v, want three", j.Values)
	}
	v := *j.Values
	second, _ := v[1].(float64)
	third, _ := v[2].(float64)
	if v[0] != nil || second < 0.002 || third >= second {
		t.Errorf("values %v, want null, 0.002 or more, and less", v)
	}
}

// A failed item is null in values. A job that is deleted while it is read has expired.
func TestValuesOfFailedItems(t *testing.T) {
	s, h := newStill(t)
	s.job.Progress.Total = 3
	get := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/jobs/"+s.job.ID.String(), nil))
		return w
	}
	s.apply(job.Started{At: time.Now()})
	var items job.Items
	items.AddError(2, "it broke", 0)
	items.Add(0, []byte("7"), 0)
	s.apply(job.TaskProgress{Items: items, Completed: 1, Failed: 1})
	var late job.Items
	late.Add(1, []byte(`"8"`), 0)
	s.apply(job.Finished{State: job.Succeeded, At: time.Now(), Items: late, Completed: 1})
	if got, want := values(t, get().Body.Bytes()), `[7,"8",null]`; got != want {
		t.Errorf("values %s, want %s", got, want)
	}
	s.log = nil
	if w := get(); w.Code != 410 {
		t.Errorf("of a job that was deleted: %d, want 410", w.Code)
	}
}

// unreadable is a journal whose logs cannot be read.
type unreadable struct{ anyLog }

type anyLog = api.Log

func (unreadable) Log(context.Context, job.ID, uint64, int) ([]job.LogRecord, error) {
	return nil, fmt.Errorf("%w: no disk", job.ErrStorage)
}

// An accepted job gets its status even when its values cannot be read.
func TestValuesUnreadable(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.Log = unreadable{c.Log} })
	a := s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":[1]}`, "Prefer: wait=30")
	if a.status != 200 || values(t, a.body) != "null" {
		t.Errorf("POST: %d with values %s, want 200 and null", a.status, values(t, a.body))
	}
	if a := s.do("GET", path(decode[api.Job](t, a.body), ""), ""); a.status != 503 {
		t.Errorf("GET: %d, want 503", a.status)
	}
}
