package api_test

import (
	"strings"
	"testing"

	"gather/internal/api"
	"gather/internal/tenant"
)

// TestPauses tests that a paused kind starts nothing until it is resumed, and that running jobs continue.
func TestPauses(t *testing.T) {
	s := newService(t)
	running := s.running()
	if a := s.do("PUT", "/v1/pauses/kind/sleep_batch", `{"reason":"a move"}`); a.status != 201 {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	submit := func(body string) api.Job {
		a := s.do("POST", "/v1/jobs", body)
		if a.status != 202 {
			t.Fatalf("got %d, want 202: %s", a.status, a.body)
		}
		return decode[api.Job](t, a.body)
	}
	held := submit(`{"kind":"sleep_batch","count":1,"duration":"1ms"}`)
	s.finished(`{"kind":"squares","numbers":[1]}`) // of another kind
	j := decode[api.Job](t, s.do("GET", path(held, ""), "", "Prefer: wait=1").body)
	if j.State != api.StateQueued || j.QueuePosition != nil {
		t.Errorf("a job of a paused kind: got %s at position %v, want queued without one", j.State, j.QueuePosition)
	}
	if j := decode[api.Job](t, s.do("GET", path(running, ""), "").body); j.State != api.StateRunning {
		t.Errorf("a job that had started: got %s, want running", j.State)
	}
	list := decode[api.PauseList](t, s.do("GET", "/v1/pauses", "").body).Pauses
	if len(list) != 1 || list[0].Scope != api.PauseScopeKind || list[0].Name != "sleep_batch" || *list[0].Reason != "a move" {
		t.Errorf("got %+v, want the pause of sleep_batch", list)
	}
	if a := s.do("PUT", "/v1/pauses/kind/sleep_batch", `{"reason":"b"}`); a.status != 200 || !decode[api.Pause](t, a.body).PausedAt.Equal(list[0].PausedAt) {
		t.Errorf("paused again: got %d, %s, want 200 with the time of the first", a.status, a.body)
	}
	if a := s.do("DELETE", "/v1/pauses/kind/sleep_batch", ""); a.status != 204 {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	if j := decode[api.Job](t, s.do("GET", path(held, ""), "", "Prefer: wait=20").body); j.State != api.StateSucceeded {
		t.Errorf("after the pause: got %s, want succeeded", j.State)
	}
	for body, pointer := range map[string]string{
		`[]`: `"pointer":""`, `{"reason":7}`: `"pointer":"/reason"`, `{"why":""}`: `"pointer":"/why"`, `{"reason":"` + strings.Repeat("x", 201) + `"}`: `"pointer":"/reason"`,
		`{"reason":"a\nb"}`: `"pointer":"/reason"`,
	} {
		if a := s.do("PUT", "/v1/pauses/priority/low", body); a.status != 422 || !strings.Contains(string(a.body), pointer) {
			t.Errorf("%s: got %d, %s, want 422 at %s", body, a.status, a.body, pointer)
		}
	}
}

// TestPausesOfOthers tests what keys may do and see that are not an operator's.
func TestPausesOfOthers(t *testing.T) {
	s := newService(t, withKeys(func(k *tenant.Key) { k.Operator = true }))
	for _, p := range []string{"kind/squares", "priority/low", "tenant/acme", "tenant/other"} {
		if a := s.do("PUT", "/v1/pauses/"+p, `{"reason":"x"}`); a.status != 201 {
			t.Fatalf("%s: got %d: %s", p, a.status, a.body)
		}
	}
	if n := len(decode[api.PauseList](t, s.do("GET", "/v1/pauses", "").body).Pauses); n != 4 {
		t.Errorf("an operator sees %d pauses, want 4", n)
	}
	other := newService(t, withKeys(nil), func(_ *service, c *api.Config) { c.Pauses = s.pauseSet })
	list := decode[api.PauseList](t, other.do("GET", "/v1/pauses", "").body).Pauses
	if len(list) != 3 {
		t.Errorf("got %+v, want the pauses of the kind, the priority and the own tenant", list)
	}
	for _, p := range list {
		if p.Reason != nil {
			t.Errorf("got the reason %q, want none", *p.Reason)
		}
	}
}
