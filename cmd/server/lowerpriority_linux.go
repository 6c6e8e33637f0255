package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// workerNice is the nice value of workers, below the threads that serve requests and write the journal.
	workerNice = 10
	// workerSlice is the time slice that workers request of the kernel. A thread with a shorter slice, as all others have, preempts
	// a worker when it wakes up.
	workerSlice = 20 * time.Millisecond
)

// lowerPriority moves the calling worker goroutine to its own thread with lower priority, so that on a busy machine the
// kernel runs goroutines that serve clients first. Otherwise a worker keeps its CPU for milliseconds. It returns the function
// that the worker calls between two steps.
func lowerPriority() (yield func()) {
	runtime.LockOSThread() // never unlocked: the thread ends with the worker
	// An optimization: errors are ignored.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), workerNice)
	if attr, err := unix.SchedGetAttr(0, 0); err == nil {
		attr.Runtime = uint64(workerSlice) // Linux 6.12 and later
		_ = unix.SchedSetAttr(0, attr, 0)
	}
	y := &yielder{now: time.Now, yield: func() {
		// Not a raw system call: the Go scheduler, and a garbage collection that has to stop all goroutines, may go on without
		// this thread until it runs again.
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}}
	return y.step
}
