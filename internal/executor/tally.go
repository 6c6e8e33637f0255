package executor

import (
	"math"
	"time"

	"gather/internal/job"
)

type queueKey struct {
	kind     string
	priority job.Priority
}

type queueFigures struct {
	queued, running int
	oldest          time.Duration
}

// A tally is what the jobs are counted to.
type tally struct {
	now     time.Time
	figures map[queueKey]*queueFigures
	// tasks could run now and wait for a worker; delayed jobs have a start that has not come.
	tasks, delayed int
	// admitted jobs hold bytes, and reserved items that may wait.
	admitted        int
	bytes, reserved int64
	// silent: another node reports all of this, for the whole cluster.
	silent bool
}

func newTally(kinds []string, now time.Time) *tally {
	t := &tally{now: now, figures: make(map[queueKey]*queueFigures)}
	for _, k := range kinds {
		for _, p := range job.Priorities() {
			t.figures[queueKey{k, p}] = &queueFigures{}
		}
	}
	return t
}

// queued counts a job that waits for its first turn, and its tasks. A kind that this version does not know has no figures.
func (t *tally) queued(j *job.Job, tasks int) {
	if f := t.figures[queueKey{j.Kind, j.Priority}]; f != nil {
		f.queued++
		f.oldest = max(f.oldest, t.now.Sub(due(j)))
	}
	t.tasks += max(1, tasks)
}

// running counts a job that had its first turn, and those of its tasks that wait for a worker.
func (t *tally) running(j *job.Job, tasks int) {
	if f := t.figures[queueKey{j.Kind, j.Priority}]; f != nil {
		f.running++
	}
	t.tasks += max(0, tasks)
}

// tally implements mode.
func (a alone) tally(kinds []string, now time.Time) *tally {
	e := a.Executor
	t := newTally(kinds, now)
	e.mu.Lock()
	for _, r := range e.runs {
		switch {
		case r.fresh:
			t.queued(&r.job, r.size.Tasks-r.nextTask)
		case r.delayed:
			t.delayed++
		default:
			t.running(&r.job, r.size.Tasks-r.nextTask)
		}
	}
	t.admitted, t.bytes, t.reserved = len(e.runs), e.bytes, e.waiting
	for p := range e.queue.classes {
		t.tasks += e.queue.classes[p].woken.n
	}
	e.mu.Unlock()
	return t
}

// tally implements mode. What it counts in the whole cluster is left out on all nodes but the chief.
func (s *shared) tally(kinds []string, now time.Time) *tally {
	t := newTally(kinds, now)
	here := make(map[job.ID]int) // tasks that do not wait for a worker
	for _, one := range s.e.nodeJobs(math.MaxInt) {
		here[one.ID] = one.Running + one.Parked
	}
	chief := s.cluster.Unfinished(func(j *job.Job, size job.Size) {
		t.admitted++
		t.bytes += size.Memory
		t.reserved += size.Waiting
		switch {
		case j.State != job.Queued:
			t.running(j, size.Tasks-j.TasksDone-here[j.ID])
		case j.StartAfter.After(now):
			t.delayed++
		default:
			t.queued(j, size.Tasks)
		}
	})
	if !chief {
		t = newTally(kinds, now)
		t.silent = true
	}
	return t
}
