package executor_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/executor"
	"gather/internal/job"
)

// room blocks and unblocks the start of tasks, as a journal does while the disk has no room for results.
type room struct {
	mu     sync.Mutex
	closed chan struct{} // nil while there is room
}

func (r *room) get() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = make(chan struct{})
}

func (r *room) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.closed)
	r.closed = nil
}

// While there is no room for results no task starts: a running task ends its step, jobs can be cancelled, and work continues
// when there is room again.
func TestRoom(t *testing.T) {
	var r *room
	onBothSources(t, func(c *executor.Config) { r = new(room); c.Room = r.get }, func(t *testing.T, e *executor.Executor, l source) {
		long := submit(t, e, fakePlan{Tasks: 1000, Work: 100 * time.Millisecond})
		waiting := submit(t, e, fakePlan{Tasks: 1, Park: 10 * time.Second, Waiting: 1})
		time.Sleep(time.Second)
		r.close()
		settle()
		before := l.job(long).TasksDone
		queued := submit(t, e, fakePlan{Tasks: 1})
		time.Sleep(time.Minute)
		if n := l.job(long).TasksDone - before; n != 0 {
			t.Errorf("%d tasks ended without room, want 0", n)
		}
		if s := l.job(queued).State; s != job.Queued {
			t.Errorf("a job without room is %v, want %v", s, job.Queued)
		}
		if j, err := e.Cancel(t.Context(), "acme", long); err != nil || j.State != job.Cancelled {
			t.Errorf("cancel without room: %v, %v; want %v", j.State, err, job.Cancelled)
		}
		r.open()
		settle()
		want(t, l, queued, job.Succeeded)
		want(t, l, waiting, job.Succeeded)
	})
}

// Stop does not wait for room.
func TestStopWithoutRoom(t *testing.T) {
	var r *room
	full := func(c *executor.Config) {
		r = new(room)
		r.close()
		c.Room = r.get
	}
	onBothSources(t, full, func(t *testing.T, e *executor.Executor, l source) {
		id := submit(t, e, fakePlan{Tasks: 1})
		began := time.Now()
		if err := e.Stop(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("Stop: %v after %s, want nil immediately", err, time.Since(began))
		}
		want(t, l, id, job.Queued)
	})
}

// A cancel while the disk fails returns an error each time, and still stops the job.
func TestCancelOnFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeJournal(t)
		e := start(t, l, nil)
		id := submit(t, e, fakePlan{Tasks: 10, Work: time.Minute})
		time.Sleep(time.Second)
		l.mu.Lock()
		l.failing = job.ErrStorage
		l.mu.Unlock()
		for range 2 {
			if _, err := e.Cancel(t.Context(), "acme", id); !errors.Is(err, job.ErrStorage) {
				t.Errorf("cancel: %v, want %v", err, job.ErrStorage)
			}
		}
		settle()
		want(t, l, id, job.Cancelled)
	})
}
