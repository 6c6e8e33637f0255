package executor_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestWriteDelays tests how long the start and the results of a job may wait for other writes; its end never waits.
func TestWriteDelays(t *testing.T) {
	for _, c := range []struct {
		name string
		plan fakePlan
		want []string
	}{
		{"results", fakePlan{Tasks: 2, Work: time.Minute}, []string{"job.Submitted 0s", "job.Started 2ms", "job.TaskProgress 2ms", "job.Finished 0s"}},
		{"of an array", fakePlan{Tasks: 2, Work: time.Minute, Bytes: 1}, []string{"job.Submitted 0s", "job.Started 10ms", "job.TaskProgress 10ms", "job.Finished 0s"}},
		{"of one task", fakePlan{Tasks: 1}, []string{"job.Submitted 0s", "job.Finished 0s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newFakeJournal(t)
				e := start(t, l, shortWorker)
				submit(t, e, c.plan)
				time.Sleep(time.Hour)
				l.mu.Lock()
				defer l.mu.Unlock()
				if !slices.Equal(l.delays, c.want) {
					t.Errorf("batches: got %q, want %q", l.delays, c.want)
				}
			})
		})
	}
}
