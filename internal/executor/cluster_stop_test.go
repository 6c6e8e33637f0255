package executor_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// Stop releases waiting tasks immediately and lets running ones finish; other nodes continue the job.
func TestClusterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, nil)
		waiting := submit(t, e, fakePlan{Tasks: 4, Park: time.Minute, Waiting: 4})
		synctest.Wait()
		running := submit(t, e, fakePlan{Tasks: 2, Work: 2 * time.Second})
		time.Sleep(time.Second)
		startNode(t, r, nil)
		before := time.Now()
		stopped := make(chan error)
		go func() { stopped <- e.Stop(t.Context()) }()
		synctest.Wait()
		if n := r.leasesByNode(waiting)["node 1"]; n != 4 {
			t.Errorf("the other node has %d of 4 waiting tasks, want all immediately", n)
		}
		if err := <-stopped; err != nil || time.Since(before) != time.Second {
			t.Errorf("%v after %v; the running tasks take a second", err, time.Since(before))
		}
		if n := r.job(running).TasksDone; n != 2 {
			t.Errorf("%d tasks are done at the stop, want those that ran", n)
		}
		time.Sleep(2 * time.Minute)
		wantAll(t, r, waiting, 4)
		wantAll(t, r, running, 2)
		if d := r.job(waiting).FinishedAt.Sub(r.job(waiting).StartedAt); d != time.Minute {
			t.Errorf("the waits took %v, want 1m", d)
		}
	})
}

// A task that does not end within the grace period is cancelled without failing its job: another node restarts it.
func TestClusterStopGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, func(c *executor.Config) { c.Workers = 3 })
		id := submit(t, e, fakePlan{Tasks: 1, Work: time.Hour})
		long := submit(t, e, fakePlan{Tasks: 2, Work: time.Hour})
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		before := time.Now()
		if err := e.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if d := time.Since(before); d != 5*time.Second {
			t.Errorf("the stop took %v, want 5s", d)
		}
		startNode(t, r, nil)
		time.Sleep(3 * time.Hour)
		wantAll(t, r, id, 1)
		wantAll(t, r, long, 2)
	})
}

// Tasks whose timer fired while all workers are busy are released immediately too.
func TestClusterStopOfWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		e, _ := startNode(t, r, oneWorker)
		id := submit(t, e, fakePlan{Tasks: 4, Park: time.Second, Waiting: 4})
		synctest.Wait()
		submit(t, e, fakePlan{Tasks: 1, Work: 10 * time.Second})
		time.Sleep(2 * time.Second)
		startNode(t, r, nil)
		go func() { _ = e.Stop(t.Context()) }()
		time.Sleep(time.Second)
		wantAll(t, r, id, 4)
		time.Sleep(10 * time.Second)
	})
}

// Stop waits for pending appends within its grace period; a lease is released when its append has finished, also later.
func TestClusterStopWaitsForAppends(t *testing.T) {
	for _, tt := range []struct{ slow, grace, took time.Duration }{
		{2 * time.Second, time.Minute, 2 * time.Second},
		{2 * time.Minute, 3 * time.Second, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newFakeCluster(t)
			r.slow = tt.slow
			e, _ := startNode(t, r, nil)
			id := submit(t, e, fakePlan{Tasks: 1})
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), tt.grace)
			defer cancel()
			before := time.Now()
			err := e.Stop(ctx)
			if d := time.Since(before); d != tt.took || (err == nil) != (tt.slow < tt.grace) {
				t.Errorf("the stop took %v and returned %v, want %v", d, err, tt.took)
			}
			time.Sleep(tt.slow)
			synctest.Wait()
			wantAll(t, r, id, 1)
			if r.out != 0 {
				t.Errorf("%d leases were not released", r.out)
			}
		})
	}
}

// Stop returns after the grace period, although the log blocks.
func TestClusterStopWhileTheLogBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		r.stuck = true
		e, _ := startNode(t, r, nil)
		for _, p := range []fakePlan{{Tasks: 1}, {Tasks: 2, Park: time.Second, Waiting: 1}, {Tasks: 2, Work: time.Second}} {
			submit(t, e, p, func(s *job.Submission) { s.Timeout = time.Hour })
		}
		time.Sleep(5 * time.Second)
		grace, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		before := time.Now()
		if err := e.Stop(grace); !errors.Is(err, context.DeadlineExceeded) || time.Since(before) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(before))
		}
		if r.out != 0 {
			t.Errorf("%d leases were not released", r.out)
		}
	})
}

// New leases are requested while resumed tasks keep a worker busy, and the other way round.
func TestClusterFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeCluster(t)
		r.latency = 5 * time.Millisecond
		e, _ := startNode(t, r, func(c *executor.Config) { c.Workers, c.Planner = 1, pulses{} })
		pulsing := submit(t, e, fakePlan{Tasks: 4, Waiting: 4})
		time.Sleep(time.Second)
		var ids []job.ID
		for range 100 {
			ids = append(ids, submit(t, e, fakePlan{Tasks: 1, Work: 10 * time.Millisecond}))
		}
		before := r.job(pulsing).Progress.Completed
		time.Sleep(time.Second)
		synctest.Wait()
		done := 0
		for _, id := range ids {
			if r.job(id).State == job.Succeeded {
				done++
			}
		}
		woken := r.job(pulsing).Progress.Completed - before
		if done < 25 || woken < 25 {
			t.Errorf("of about 100 steps %d were of new jobs and %d of resumed tasks", done, woken)
		}
		if _, err := e.Cancel(t.Context(), "acme", pulsing); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
	})
}

// pulses plans jobs of waiting tasks that are due again immediately, and other jobs like fakePlanner.
type pulses struct{ fakePlanner }

func (pulses) Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error) {
	p, err := fakePlanner{}.Replan(ctx, tenant, kind, spec)
	if plan, ok := p.(fakePlan); ok && plan.Waiting > 0 {
		return pulsesPlan{plan}, nil
	}
	return p, err
}

type pulsesPlan struct{ fakePlan }

func (p pulsesPlan) Task(int, job.Resume) job.Task { return p }

func (pulsesPlan) Step(ctx context.Context, _ time.Time, _ *job.Scratch) (job.Step, error) {
	time.Sleep(10 * time.Millisecond)
	return job.Step{Completed: 1, ResumeAt: time.Now()}, context.Cause(ctx)
}
