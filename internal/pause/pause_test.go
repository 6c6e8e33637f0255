package pause_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"gather/internal/job"
	"gather/internal/journal/journaltest"
	"gather/internal/pause"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, docs pause.Documents, reg prometheus.Registerer, apply func(job.Pauses)) *pause.Set {
	t.Helper()
	s, err := pause.Open(t.Context(), pause.Config{
		Documents: docs, Apply: apply, Logger: slog.New(slog.DiscardHandler), Registerer: reg, Wall: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSet tests that pauses are applied on every node and after a restart, and the metrics.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		docs := new(journaltest.Volatile)
		var here, there job.Pauses
		reg := prometheus.NewRegistry()
		a := open(t, docs, reg, func(p job.Pauses) { here = p })
		b := open(t, docs, prometheus.NewRegistry(), func(p job.Pauses) { there = p })
		j := &job.Job{Kind: "squares", Tenant: "acme", Priority: job.Low}
		if here.Holds(j) || here == nil {
			t.Errorf("got %v at the start, want an empty set that was applied", here)
		}
		p, created, err := a.Pause(t.Context(), job.Pause{Scope: job.PausePriority, Name: "low", Reason: "a move"})
		if err != nil || !created || !p.At.Equal(time.Now()) || !here.Holds(j) {
			t.Errorf("got %+v, %t, %v, holds %t, want a new pause that holds", p, created, err, here.Holds(j))
		}
		synctest.Wait()
		if !there.Holds(j) {
			t.Error("the pause does not hold on the other node")
		}
		time.Sleep(2 * time.Hour)
		again, created, err := b.Pause(t.Context(), job.Pause{Scope: job.PausePriority, Name: "low", Reason: "still"})
		if err != nil || created || !again.At.Equal(p.At) {
			t.Errorf("paused again: got %+v, %t, %v, want the time of the first", again, created, err)
		}
		synctest.Wait()
		if list := a.List(); len(list) != 1 || list[0] != again {
			t.Errorf("got %+v, want %+v", list, again)
		}
		want := `
# HELP gather_pause_oldest_age_seconds How long the oldest pause has been in force; 0 without a pause.
# TYPE gather_pause_oldest_age_seconds gauge
gather_pause_oldest_age_seconds 7200
# HELP gather_pauses Pauses in force, by scope.
# TYPE gather_pauses gauge
gather_pauses{scope="kind"} 0
gather_pauses{scope="priority"} 1
gather_pauses{scope="tenant"} 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		a.Close()
		a = open(t, docs, prometheus.NewRegistry(), func(p job.Pauses) { here = p })
		if !here.Holds(j) {
			t.Error("the pause does not hold after a restart")
		}
		for _, want := range []bool{true, false} {
			if existed, err := a.Resume(t.Context(), again); existed != want || err != nil {
				t.Errorf("resume: got %t, %v, want %t", existed, err, want)
			}
		}
		synctest.Wait()
		if here.Holds(j) || there.Holds(j) {
			t.Error("a pause holds after it was ended")
		}
		a.Close()
		b.Close()
	})
}

// TestUnreadable tests that a pause of a later version holds no jobs, and hides no other.
func TestUnreadable(t *testing.T) {
	docs := new(journaltest.Volatile)
	for name, value := range map[string]string{
		"pause/kind/a": `{"format":2,"colour":"red"}`, "pause/kind/b": `{"format":1,"scope":"kind","name":"b","at":"2026-11-26T12:00:00Z"}`, "pause/kind/c": `{`,
	} {
		if _, err := docs.PutDocument(t.Context(), name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, docs, prometheus.NewRegistry(), func(job.Pauses) {})
	defer s.Close()
	if list := s.List(); len(list) != 1 || list[0].Name != "b" {
		t.Errorf("got %+v, want only b", list)
	}
}

// TestDecodePause tests which values are rejected, and how.
func TestDecodePause(t *testing.T) {
	for value, want := range map[string]error{
		`{"format":2}`: job.ErrVersion, `{"format":1}`: job.ErrCorrupt, `{"format":0,"scope":"kind","name":"a"}`: job.ErrCorrupt, `[]`: job.ErrCorrupt, ``: job.ErrCorrupt,
		`{"format":1,"scope":"label","name":"a"}`: job.ErrCorrupt, `{"format":1,"scope":"kind","name":"a","more":1}`: job.ErrCorrupt,
	} {
		if _, err := job.DecodePause([]byte(value)); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", value, err, want)
		}
	}
}

func FuzzDecodePause(f *testing.F) {
	f.Add([]byte(`{"format":1,"scope":"kind","name":"squares","reason":"x","at":"2026-11-26T12:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := job.DecodePause(data)
		if err != nil {
			return
		}
		if again, err := job.DecodePause(p.Encode()); err != nil || again != p {
			t.Fatalf("got %+v, %v, want %+v", again, err, p)
		}
	})
}
