package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// workerNice is the nice value of workers, below the threads that serve requests and write the journal.
const workerNice = 10

// lowerPriority moves the calling worker goroutine to its own thread with lower priority, so that on a busy machine the
// kernel runs goroutines that serve clients first. Otherwise a worker keeps its CPU for milliseconds.
func lowerPriority() {
	runtime.LockOSThread()                                             // never unlocked: the thread ends with the worker
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), workerNice) // an optimization: errors are ignored
}
