package executor_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// world is where the effects of tasks take place: each takes a time, and needs two more seconds to stop when it is
// cancelled. It is the planner of its plans.
type world struct {
	fakePlanner
	takes time.Duration

	mu       sync.Mutex
	inFlight int
	most     int
	begins   []time.Time
	resumes  []job.Resume
}

func (w *world) Plan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, []byte, error) {
	p, err := w.Replan(ctx, tenant, kind, spec)
	return p, spec, err
}

func (w *world) Replan(ctx context.Context, tenant, kind string, spec []byte) (job.Plan, error) {
	p, err := w.fakePlanner.Replan(ctx, tenant, kind, spec)
	if err != nil {
		return nil, err
	}
	if toy := p.(fakePlan); toy.Waiting > 0 {
		return worldPlan{toy, w}, nil
	}
	return p, nil
}

func (w *world) load() (inFlight, most int, begins []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inFlight, w.most, slices.Clone(w.begins)
}

func (w *world) planner(c *executor.Config) { c.Planner, c.Workers = w, 1 }

type worldPlan struct {
	fakePlan
	w *world
}

func (p worldPlan) Size() job.Size {
	s := p.fakePlan.Size()
	s.Effects = true
	return s
}

func (p worldPlan) Task(i int, r job.Resume) job.Task {
	p.w.mu.Lock()
	p.w.resumes = append(p.w.resumes, r)
	p.w.mu.Unlock()
	return &worldTask{plan: p, i: i, steps: len(r.Steps)}
}

// worldTask records a checkpoint in its first step, and its item after its effect.
type worldTask struct {
	plan  worldPlan
	i     int
	steps int

	started, ended, early bool
	ready                 func()
}

func (t *worldTask) Step(ctx context.Context, _ time.Time, _ *job.Scratch) (job.Step, error) {
	w := t.plan.w
	w.mu.Lock()
	defer w.mu.Unlock()
	var step job.Step
	switch {
	case !t.started:
		t.started = true
		w.inFlight++
		w.most = max(w.most, w.inFlight)
		w.begins = append(w.begins, time.Now())
		if t.steps == 0 {
			step.Partial = []byte("checkpoint")
		}
		go t.effect(ctx)
	case t.ended && ctx.Err() != nil:
		return step, context.Cause(ctx)
	case t.ended:
		step.Items.Add(int64(t.i), []byte("1"), 0)
		step.Completed, step.Partial = 1, []byte{1}
		return step, nil
	}
	step.Await = t.await
	return step, nil
}

func (t *worldTask) await(ready func()) {
	w := t.plan.w
	w.mu.Lock()
	t.ready = ready
	now := t.ended || !t.early // the first time too early: a step that changes nothing
	t.early = true
	w.mu.Unlock()
	if now {
		ready()
		ready()
	}
}

func (t *worldTask) effect(ctx context.Context) {
	w := t.plan.w
	select {
	case <-time.After(w.takes):
	case <-ctx.Done():
		time.Sleep(2 * time.Second)
	}
	w.mu.Lock()
	w.inFlight--
	t.ended = true
	ready := t.ready
	w.mu.Unlock()
	if ready != nil {
		ready()
	}
}

// Tasks that await an event hold no worker: many are under way with one worker, and another job runs beside them.
func TestAwaitHoldsNoWorker(t *testing.T) {
	w := &world{takes: 10 * time.Second}
	onBothSources(t, w.planner, func(t *testing.T, e *executor.Executor, l source) {
		*w = world{takes: 10 * time.Second}
		id := submit(t, e, fakePlan{Tasks: 4, Waiting: 4})
		time.Sleep(time.Second)
		small := submit(t, e, fakePlan{Tasks: 3})
		settle()
		want(t, l, small, job.Succeeded)
		if inFlight, _, _ := w.load(); inFlight != 4 {
			t.Errorf("%d effects are under way, want 4", inFlight)
		}
		if load := e.Work(); load.Busy != 0 || len(load.Jobs) != 1 || load.Jobs[0].Running != 0 || load.Jobs[0].Waiting != 4 {
			t.Errorf("the load is %+v, want 4 waiting tasks of one job", load)
		}
		time.Sleep(10 * time.Second)
		if j := want(t, l, id, job.Succeeded); j.Progress.Completed != 4 || string(j.Result) != "4" {
			t.Errorf("got result %s and %+v, want 4 completed", j.Result, j.Progress)
		}
	})
}

// A job with effects ends when they have stopped: after a cancel, a timeout, or the failure of one task.
func TestEndAwaitsEffects(t *testing.T) {
	for _, tt := range []struct {
		name    string
		plan    fakePlan
		sub     func(*job.Submission)
		end     func(t *testing.T, e *executor.Executor, id job.ID)
		outcome job.State
	}{
		{"cancel", fakePlan{Tasks: 4, Waiting: 4}, func(*job.Submission) {}, func(t *testing.T, e *executor.Executor, id job.ID) {
			if j, err := e.Cancel(t.Context(), "acme", id); err != nil || j.State != job.Cancelling {
				t.Errorf("got %v, %v; want cancelling", j.State, err)
			}
		}, job.Cancelled},
		{"timeout", fakePlan{Tasks: 4, Waiting: 4}, func(s *job.Submission) { s.Timeout = time.Second }, nil, job.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{}
			onBothSources(t, w.planner, func(t *testing.T, e *executor.Executor, l source) {
				*w = world{takes: time.Hour}
				id := submit(t, e, tt.plan, tt.sub)
				time.Sleep(time.Second)
				if tt.end != nil {
					tt.end(t, e, id)
				}
				time.Sleep(time.Second)
				if inFlight, _, _ := w.load(); inFlight != 4 {
					t.Errorf("%d effects are under way, want 4", inFlight)
				}
				if j := l.job(id); j.State.Terminal() {
					t.Errorf("the job is %v while it has effects", j.State)
				}
				time.Sleep(1500 * time.Millisecond)
				if inFlight, _, _ := w.load(); inFlight != 0 {
					t.Errorf("%d effects are under way, want 0", inFlight)
				}
				want(t, l, id, tt.outcome)
				next := submit(t, e, fakePlan{Tasks: 1})
				settle()
				want(t, l, next, job.Succeeded)
			})
		})
	}
}

// Effects begin when the submission is durable, and never if it is refused; other jobs start before.
func TestEffectsAfterDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{takes: time.Second}
		l := newFakeJournal(t)
		l.slow = time.Second
		e := start(t, l, w.planner)
		before := time.Now()
		submit(t, e, fakePlan{Tasks: 1, Waiting: 1})
		settle()
		if _, _, begins := w.load(); len(begins) != 1 || begins[0].Sub(before) != time.Second {
			t.Errorf("effects began at %v, want one after 1s", begins)
		}
		l.mu.Lock()
		l.slow, l.fail = 0, &job.Rejection{Err: job.ErrStorage}
		l.mu.Unlock()
		s := job.Submission{Tenant: "acme", Kind: "toy", Spec: fakePlan{Tasks: 1, Waiting: 1}.spec(), Priority: job.Normal}
		if _, err := e.Submit(t.Context(), []job.Submission{s}, nil, false); !errors.Is(err, job.ErrStorage) {
			t.Errorf("got %v, want %v", err, job.ErrStorage)
		}
		settle()
		if _, _, begins := w.load(); len(begins) != 1 {
			t.Errorf("%d effects, want 1: that of the refused job did not happen", len(begins))
		}
	})
}

// A stop cancels effects, and the next executor resumes the tasks with their checkpoints. In a cluster another node has the
// task when its effect has stopped.
func TestStopWithEffects(t *testing.T) {
	w := &world{}
	onBothSources(t, w.planner, func(t *testing.T, e *executor.Executor, l source) {
		*w = world{takes: time.Hour}
		id := submit(t, e, fakePlan{Tasks: 3, Waiting: 3})
		settle()
		none, cancel := context.WithCancel(t.Context())
		cancel()
		_ = e.Stop(none)
		time.Sleep(3 * time.Second)
		if inFlight, _, _ := w.load(); inFlight != 0 {
			t.Errorf("%d effects after the stop, want 0", inFlight)
		}
		w.mu.Lock()
		w.takes, w.resumes = time.Second, nil
		w.mu.Unlock()
		l.next(t, w.planner)
		time.Sleep(5 * time.Second)
		if j := want(t, l, id, job.Succeeded); j.Progress.Completed != 3 {
			t.Errorf("got %+v, want 3 completed", j.Progress)
		}
		for _, r := range w.resumes {
			if len(r.Steps) != 1 || string(r.Steps[0].Partial) != "checkpoint" || r.Job == nil || r.Job.ID != id {
				t.Errorf("resumed with the steps %+v of job %v, want the checkpoint of %v", r.Steps, r.Job, id)
			}
		}
	})
}
