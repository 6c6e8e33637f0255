package api_test

import (
	"fmt"
	"strings"
	"testing"

	"gather/internal/api"
	"gather/internal/job"
)

// A job runs after others, shows them, and its submission makes the same job again.
func TestAfter(t *testing.T) {
	s := newService(t)
	first := s.finished(`{"kind":"squares","numbers":[1]}`)
	body := fmt.Sprintf(`{"jobs":[{"kind":"sleep_batch","count":1,"duration":"20ms"},{"kind":"squares","numbers":[2],"after":[0,%q],"after_timeout":"1h"}]}`, first.Id)
	a := s.do("POST", "/v1/jobs:batch", body, "Prefer: wait=20", "Idempotency-Key: k")
	batch := decode[struct {
		Jobs []api.Job `json:"jobs"`
	}](t, a.body)
	if a.status != 200 || len(batch.Jobs) != 2 {
		t.Fatalf("got %d %s, want 200 and 2 jobs", a.status, a.body)
	}
	j := batch.Jobs[1]
	if j.State != api.StateSucceeded || len(j.After) != 2 || j.After[0] != batch.Jobs[0].Id || j.After[1] != first.Id || *j.AfterTimeout != "1h0m0s" {
		t.Errorf("got %s after %v within %v, want succeeded after both jobs within 1h0m0s", j.State, j.After, j.AfterTimeout)
	}
	if j.StartedAt.Before(*batch.Jobs[0].FinishedAt) {
		t.Errorf("started at %v, want after %v", j.StartedAt, batch.Jobs[0].FinishedAt)
	}
	shown := s.do("GET", path(j, "/submission"), "")
	want := fmt.Sprintf(`"after":[%q,%q],"after_timeout":"1h0m0s"`, batch.Jobs[0].Id, first.Id)
	if !strings.Contains(string(shown.body), want) {
		t.Errorf("the submission is %s, want %s in it", shown.body, want)
	}
	events := s.do("GET", path(j, "/events"), "", "Accept: application/x-ndjson")
	want = fmt.Sprintf(`{"seq":2,"event":"dependency","data":{"seq":2,"job_id":%q,"at":"`, batch.Jobs[0].Id) // the other one had succeeded before
	if strings.Count(string(events.body), `"dependency"`) != 1 || !strings.Contains(string(events.body), want) {
		t.Errorf("the events are %s, want one of a dependency, %s", events.body, want)
	}
	if again := s.finished(string(shown.body)); again.State != api.StateSucceeded || len(again.After) != 2 {
		t.Errorf("the same again: %s after %v, want succeeded after 2 jobs", again.State, again.After)
	}
}

// A job is cancelled with the reason when a job before it does not succeed.
func TestAfterUnmet(t *testing.T) {
	s := newService(t)
	long := s.running()
	held := decode[api.Job](t, s.do("POST", "/v1/jobs", fmt.Sprintf(`{"kind":"squares","numbers":[1],"after":[%q]}`, long.Id)).body)
	if held.State != api.StateQueued || held.QueuePosition != nil {
		t.Errorf("got %s at position %v, want queued without a position", held.State, held.QueuePosition)
	}
	if b := s.do("DELETE", path(held, ""), ""); b.status != 409 {
		t.Errorf("deletion of a held job: %d, want 409", b.status)
	}
	s.do("POST", path(long, "/cancel"), "")
	held = decode[api.Job](t, s.do("GET", path(held, ""), "", "Prefer: wait=20").body)
	late := s.finished(fmt.Sprintf(`{"kind":"squares","numbers":[1],"after":[%q]}`, long.Id))
	for _, j := range []api.Job{held, late} {
		if j.State != api.StateCancelled || j.Error == nil || j.Error.Type != "/problems/dependency-failed" || !strings.Contains(j.Error.Detail, long.Id.String()) {
			t.Errorf("got %s with %+v, want cancelled with dependency-failed of %s", j.State, j.Error, long.Id)
		}
	}
	s.do("DELETE", path(long, ""), "")
	if b := s.do("POST", "/v1/jobs", fmt.Sprintf(`{"kind":"squares","numbers":[1],"after":[%q]}`, long.Id)); b.status != 422 || !strings.Contains(string(b.body), `"/after/0"`) {
		t.Errorf("after a deleted job: %d %s, want 422 at /after/0", b.status, b.body)
	}
}

// Errors have the place of the member, and the same for one job and in a batch.
func TestAfterInvalid(t *testing.T) {
	s := newService(t)
	id := job.NewID()
	many := strings.TrimSuffix(strings.Repeat(`"`+id.String()+`",`, job.MaxAfter+1), ",")
	for _, c := range []struct{ after, pointer string }{
		{`"after":"x"`, "/after"},
		{`"after":["x"]`, "/after/0"},
		{`"after":[true]`, "/after/0"},
		{`"after":[1]`, "/after/0"},
		{`"after":[-1]`, "/after/0"},
		{`"after":[0.5]`, "/after/0"},
		{`"after":[1e99]`, "/after/0"},
		{fmt.Sprintf(`"after":[%q]`, id), "/after/0"},
		{fmt.Sprintf(`"after":[%q,%q]`, id, strings.ToUpper(id.String())), "/after/1"},
		{`"after":[` + many + `]`, "/after"},
		{fmt.Sprintf(`"after":[%q],"after_timeout":0`, id), "/after_timeout"},
		{fmt.Sprintf(`"after":[%q],"after_timeout":"9000h"`, id), "/after_timeout"},
		{`"after_timeout":"1h"`, "/after_timeout"},
	} {
		one := `{"kind":"squares","numbers":[1],` + c.after + `}`
		if a := s.do("POST", "/v1/jobs", one); a.status != 422 || !strings.Contains(string(a.body), `"pointer":"`+c.pointer+`"`) {
			t.Errorf("%s: got %d %s, want 422 at %s", one, a.status, a.body, c.pointer)
		}
		batch := `{"jobs":[{"kind":"squares","numbers":[1]},` + one + `]}`
		if a := s.do("POST", "/v1/jobs:batch", batch); a.status != 422 || !strings.Contains(string(a.body), `"pointer":"/jobs/1`+c.pointer+`"`) {
			t.Errorf("%s: got %d %s, want 422 at /jobs/1%s", batch, a.status, a.body, c.pointer)
		}
	}
	for _, body := range []string{`{"kind":"squares","numbers":[1],"after":[]}`, `{"kind":"squares","numbers":[1],"after":null,"after_timeout":null}`} {
		if j := s.finished(body); j.State != api.StateSucceeded || j.After == nil || len(j.After) != 0 {
			t.Errorf("%s: got %s after %v, want succeeded after none", body, j.State, j.After)
		}
	}
}
