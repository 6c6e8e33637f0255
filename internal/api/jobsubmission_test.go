package api_test

import (
	"strings"
	"testing"
	"time"

	"gather/internal/api"
)

// The submission that a job shows makes the same job again when it is posted.
func TestSubmissionShown(t *testing.T) {
	s := newService(t)
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for sent, want := range map[string]string{
		`{"kind":"squares","range":{"stop":3}}`: `{"kind":"squares","priority":"normal","retention":"24h0m0s","range":{"stop":3}}`,
		` { "numbers" : [1, 1e2, "7"] , "labels":{"b":"\"2\"","a":""},"retention":5400,"k\u0069nd":"squares", "priority":"low"} `: `{"kind":"squares","priority":"low","labels":{"a":"","b":"\"2\""},"retention":"1h30m0s","numbers":[1, 1e2, "7"]}`,
		`{"kind":"sleep_batch","count":2,"duration":"1h","timeout":"90m","start_after":"250ms"}`: `{"kind":"sleep_batch","priority":"normal","timeout":"1h30m0s","start_after":"250ms","retention":"24h0m0s",` +
			`"count":2,"duration":"1h"}`,
		`{"kind":"squares","numbers":[],"failed_retention":"48h"}`:   `{"kind":"squares","priority":"normal","retention":"24h0m0s","failed_retention":"48h0m0s","numbers":[]}`,
		`{"kind":"squares","numbers":[],"start_after":"` + at + `"}`: `{"kind":"squares","priority":"normal","start_after":"` + at + `","retention":"24h0m0s","numbers":[]}`,
	} {
		for range 2 {
			a := s.do("POST", "/v1/jobs", sent)
			j := decode[api.Job](t, a.body)
			got := s.do("GET", j.Links.Submission, "").body
			if string(got) != want+"\n" {
				t.Fatalf("POST %s\nshows\n%s, want\n%s", sent, got, want)
			}
			if body := s.do("GET", path(j, ""), "").body; !strings.Contains(string(body), `"submission":`+want) {
				t.Errorf("the job is %s, want submission %s", body, want)
			}
			sent = want
		}
	}
	large := `{"kind":"squares","numbers":[` + strings.Repeat("1,", 40_000) + `1]}`
	j := s.finished(large)
	if got := decode[api.Job](t, s.do("GET", path(j, ""), "").body); got.Submission != nil {
		t.Error("a submission of 80 kB is part of the job, want null")
	}
	if got := s.do("GET", j.Links.Submission, ""); got.status != 200 || len(got.body) < len(large) {
		t.Errorf("%d, %d bytes, want all %d", got.status, len(got.body), len(large))
	}
}

// The server's retention of failed jobs is for jobs that set no retention; a schedule keeps that of its submission.
func TestFailedRetention(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.FailedRetention = 72 * time.Hour })
	for members, want := range map[string][2]string{
		``:                         {"24h0m0s", "72h0m0s"},
		`,"retention":"1h"`:        {"1h0m0s", "1h0m0s"},
		`,"failed_retention":"2h"`: {"24h0m0s", "2h0m0s"},
		`,"retention":"1h","failed_retention":"1m"`: {"1h0m0s", "1m0s"},
	} {
		j := s.finished(`{"kind":"sleep_batch","count":1,"duration":"1h","timeout":"1ms"` + members + `}`)
		kept := j.ExpiresAt.Sub(*j.FinishedAt).String()
		if got := [2]string{j.Retention, j.FailedRetention}; got != want || j.State != api.StateFailed || kept != want[1] {
			t.Errorf("%s: %s with retentions %s, kept for %s; want failed, %s", members, j.State, got, kept, want)
		}
	}
	s.do("PUT", "/v1/schedules/s", `{"every":"1h","submission":{"kind":"squares","numbers":[1],"failed_retention":"2h"}}`)
	run := decode[api.Job](t, s.do("POST", "/v1/schedules/s/run", "").body)
	if again := decode[api.Job](t, s.do("POST", "/v1/schedules/s/run", "").body); run.FailedRetention != "2h0m0s" || again.FailedRetention != "2h0m0s" {
		t.Errorf("the jobs of the schedule have %q and %q, want 2h0m0s", run.FailedRetention, again.FailedRetention)
	}
	if shown := s.do("GET", "/v1/schedules/s", "").body; !strings.Contains(string(shown), `"failed_retention":"2h0m0s"`) {
		t.Errorf("the schedule is %s, want its retention of failed jobs", shown)
	}
}
