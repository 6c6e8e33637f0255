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
