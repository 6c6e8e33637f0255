package journaltest

import (
	"time"

	"gather/internal/job"
)

// testRetries checks that the failed attempts of tasks are kept with their number, their time and their error, also after restarts.
func testRetries(h *harness) {
	id, s := h.new("t", 5, func(j *job.Job) { j.FailedRetention = 2 * time.Hour })
	h.events(id, s)
	again := func(task, attempts int) job.Event {
		return job.TaskProgress{Task: task, Retry: &job.Retry{Attempts: attempts, After: time.Duration(attempts) * time.Minute, Error: "no answer"}}
	}
	h.want(h.append(job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{again(0, 1)}}}}), job.ErrTransition)
	all := []job.Event{s}
	for i, e := range []job.Event{
		h.started(), again(0, 1), again(1, 1), again(0, 2),
		job.TaskProgress{Task: 1, Done: true, Completed: 2, Items: block(0, 1)},
		job.TaskProgress{Task: 0, Done: true, Completed: 3, Items: block(2, 3, 4)},
		again(1, 1), h.finished(job.Failed),
	} {
		h.events(id, e)
		all = append(all, e)
		if i%2 == 0 {
			h.reopen()
		}
		h.same(h.get(id), h.apply(all...))
		h.sameLog(h.log(id, 3), all)
		retries := []int64{0, 1, 2, 3, 3, 3, 4, 4}[i]
		last := []int{-1, 0, 1, 0, 0, -1, 1, -1}[i] // the task of the last retry; -1 for none
		if j := h.get(id); j.Retries != retries || (j.Retry == nil) != (last < 0) || j.Retry != nil && j.Retry.Task != last {
			h.Fatalf("after event %d: %d retries, the last one %+v; want %d, of task %d", i, j.Retries, j.Retry, retries, last)
		}
	}
}
