package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// workerNice is how much the workers give way to the threads that serve requests and write the journal.
const workerNice = 10

// lowerPriority gives the calling goroutine, a worker, a thread of its own with lower priority, so that on a busy
// machine the kernel runs goroutines that answer clients first. Without it a worker keeps its CPU for milliseconds.
func lowerPriority() {
	runtime.LockOSThread()                                             // never unlocked: the thread ends with the worker
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), workerNice) // a hint; refused, it changes nothing
}
