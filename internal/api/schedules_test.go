package api_test

import (
	"strings"
	"testing"

	"gather/internal/api"
)

// TestSchedules tests that a schedule submits jobs that show its name, and what is shown of it.
func TestSchedules(t *testing.T) {
	s := newService(t)
	const body = `{"every":"1s","overlap":"queue","catch_up":{"runs":3,"within":"30m"},"submission":{"kind":"squares","numbers":[1,100000000000000000000000],"labels":{"team":"a"}}}`
	if a := s.do("PUT", "/v1/schedules/nightly", body); a.status != 201 || a.Header.Get("Location") != "/v1/schedules/nightly" {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	var runs []api.ScheduleRun
	s.until(func() bool {
		runs = decode[api.ScheduleRunList](t, s.do("GET", "/v1/schedules/nightly/runs", "").body).Runs
		return len(runs) >= 2
	})
	for _, r := range runs {
		if r.Outcome != api.ScheduleRunOutcomeSubmitted || r.JobId == nil || r.Manual {
			t.Fatalf("got run %+v, want a submitted one", r)
		}
	}
	if a := s.do("GET", "/v1/jobs?label=schedule:nightly&label=team:a", ""); len(decode[api.JobList](t, a.body).Jobs) < 2 {
		t.Errorf("got %s, want the jobs of the schedule by its label", a.body)
	}
	one := s.do("POST", "/v1/schedules/nightly/pause", "")
	if got := decode[api.Schedule](t, one.body); !got.Paused || got.NextRunAt != nil || *got.Every != "1s" || got.CatchUp.Runs != 3 || got.CatchUp.Within != "30m0s" ||
		!strings.Contains(string(one.body), `"numbers":[1,100000000000000000000000]`) {
		t.Errorf("got %s, want the paused schedule with its submission", one.body)
	}
	j := decode[api.Job](t, s.do("POST", "/v1/schedules/nightly/run", "", "Idempotency-Key: k").body)
	if again := decode[api.Job](t, s.do("POST", "/v1/schedules/nightly/run", "", "Idempotency-Key: k").body); again.Id != j.Id || j.Labels["schedule"] != "nightly" {
		t.Errorf("run twice with a key: got jobs %s and %s with labels %v, want one with the label of the schedule", j.Id, again.Id, j.Labels)
	}
	s.do("GET", "/v1/jobs/"+j.Id.String(), "", "Prefer: wait=60")
	s.do("DELETE", "/v1/jobs/"+j.Id.String(), "")
	if a := s.do("POST", "/v1/schedules/nightly/run", "", "Idempotency-Key: k"); a.status != 410 || !strings.Contains(string(a.body), "fresh key") {
		t.Errorf("run again after the job was deleted: got %d: %s, want 410", a.status, a.body)
	}
	list := s.do("GET", "/v1/schedules", "")
	if got := decode[api.ScheduleList](t, list.body).Schedules; len(got) != 1 || got[0].LastRun == nil || !got[0].LastRun.Manual || got[0].Submission != nil {
		t.Errorf("got %s, want the schedule with its last run, without its submission", list.body)
	}
	if a := s.do("DELETE", "/v1/schedules/nightly", ""); a.status != 204 {
		t.Errorf("got %d: %s", a.status, a.body)
	}
}

// TestScheduleErrors tests that every error of a schedule is reported with its pointer.
func TestScheduleErrors(t *testing.T) {
	s := newService(t)
	const squares = `"submission":{"kind":"squares","numbers":[1]}`
	for _, c := range []struct {
		body string
		want []string
	}{
		{`[]`, []string{""}},
		{`{}`, []string{"", "/submission"}},
		{`{"cron":"* * * * *","every":"1h",` + squares + `}`, []string{""}},
		{`{"cron":"* * *",` + squares + `}`, []string{"/cron"}},
		{`{"cron":7,` + squares + `}`, []string{"/cron"}},
		{`{"cron":"@daily","time_zone":"Mars",` + squares + `}`, []string{"/time_zone"}},
		{`{"every":"1h","time_zone":"UTC",` + squares + `}`, []string{"/time_zone"}},
		{`{"every":"1ms","overlap":"drop","paused":1,"x":1,` + squares + `}`, []string{"/every", "/overlap", "/paused", "/x"}},
		{`{"every":60,"catch_up":{"runs":-1,"within":"9999h","x":1},` + squares + `}`, []string{"/catch_up/runs", "/catch_up/within", "/catch_up/x"}},
		{`{"every":60,"catch_up":3,` + squares + `}`, []string{"/catch_up"}},
		{`{"every":60,"submission":{"kind":"squares","numbers":[null],"start_after":"2030-01-01T00:00:00Z"}}`, []string{"/submission/start_after"}},
		{`{"every":60,"submission":{"kind":"squares","numbers":[null]}}`, []string{"/submission/numbers/0"}},
		{`{"every":60,"submission":{"kind":"cubes","labels":{"schedule":"x"}}}`, []string{"/submission/labels/schedule"}},
		{`{"every":60,"submission":{"kind":"cubes"}}`, []string{"/submission/kind"}},
		{`{"every":60,"submission":{"kind":"squares","numbers":[1],"group":"g"}}`, []string{"/submission"}},
		{`{"every":60,"submission":7}`, []string{"/submission"}},
	} {
		a := s.do("PUT", "/v1/schedules/x", c.body)
		if a.status != 422 {
			t.Errorf("%s: got %d, want 422: %s", c.body, a.status, a.body)
			continue
		}
		for _, pointer := range c.want {
			if !strings.Contains(string(a.body), `"pointer":"`+pointer+`"`) {
				t.Errorf("%s: got %s, want an error at %q", c.body, a.body, pointer)
			}
		}
	}
}
