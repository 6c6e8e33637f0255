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

type queueStats struct {
	queued, running int
	oldest          time.Duration
}

// jobCounts holds the job counts of one scrape.
type jobCounts struct {
	now   time.Time
	stats map[queueKey]*queueStats
	// tasks could run now and wait for a worker; delayed jobs start in the future.
	tasks, delayed int
	// dependent jobs wait for other jobs to succeed.
	dependent int
	// paused jobs could start but for a pause.
	paused int
	// admitted jobs hold bytes of memory, and reserve room for items that wait. A job whose end has been appended is no longer
	// admitted, while its end is on its way to disk and clients see it as unfinished.
	admitted        int
	bytes, reserved int64
	// follower is true on a node that leaves these counts to the leader, which has them for the whole cluster.
	follower bool
}

func newJobCounts(kinds []string, now time.Time) *jobCounts {
	t := &jobCounts{now: now, stats: make(map[queueKey]*queueStats)}
	for _, k := range kinds {
		for _, p := range job.Priorities() {
			t.stats[queueKey{k, p}] = &queueStats{}
		}
	}
	return t
}

// addQueued counts a job that has not started, and its tasks. A kind that is unknown to this version has no stats.
func (t *jobCounts) addQueued(j *job.Job, tasks int) {
	if f := t.stats[queueKey{j.Kind, j.Priority}]; f != nil {
		f.queued++
		f.oldest = max(f.oldest, t.now.Sub(j.Due()))
	}
	t.tasks += max(1, tasks)
}

// addRunning counts a job that has started, and those of its tasks that wait for a worker.
func (t *jobCounts) addRunning(j *job.Job, tasks int) {
	if f := t.stats[queueKey{j.Kind, j.Priority}]; f != nil {
		f.running++
	}
	t.tasks += max(0, tasks)
}

// countJobs implements taskSource.
func (d localDispatcher) countJobs(kinds []string, now time.Time) *jobCounts {
	e := d.Executor
	t := newJobCounts(kinds, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.jobs {
		switch {
		case x.queued:
			t.addQueued(&x.job, x.size.Tasks-x.nextTask)
		case x.waits:
			t.dependent++
		case x.delayed:
			t.delayed++
		case e.isPaused(x):
			t.paused++
		default:
			t.addRunning(&x.job, x.size.Tasks-x.nextTask)
		}
	}
	t.admitted, t.bytes, t.reserved = len(e.jobs), e.bytes, e.waiting
	for p := range e.queue.priorities {
		t.tasks += e.queue.priorities[p].timerReady.n
	}
	return t
}

// countJobs implements taskSource. Only the leader has counts of the whole cluster.
func (d *clusterDispatcher) countJobs(kinds []string, now time.Time) *jobCounts {
	t := newJobCounts(kinds, now)
	d.e.mu.Lock()
	pauses := d.e.pauses
	d.e.mu.Unlock()
	here := make(map[job.ID]int) // tasks that do not wait for a worker
	for _, one := range d.e.nodeJobs(math.MaxInt) {
		here[one.ID] = one.Running + one.Waiting
	}
	leader := d.cluster.Unfinished(func(j *job.Job, size job.Size) {
		t.admitted++
		t.bytes += size.Memory
		t.reserved += size.Waiting
		switch {
		case j.State != job.Queued:
			t.addRunning(j, size.Tasks-j.TasksDone-here[j.ID])
		case j.Waits != 0:
			t.dependent++
		case j.StartAfter.After(now):
			t.delayed++
		case pauses.Holds(j):
			t.paused++
		default:
			t.addQueued(j, size.Tasks)
		}
	})
	if !leader {
		t = newJobCounts(kinds, now)
		t.follower = true
	}
	return t
}
