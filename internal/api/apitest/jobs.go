package apitest

import (
	"sync"
	"sync/atomic"
)

// A knownJob is a job that the server accepted.
type knownJob struct{ id, tenant string }

// knownJobs are the latest jobs of a run.
type knownJobs struct {
	mu    sync.Mutex
	list  []*knownJob
	total atomic.Int64
}

// maxKnown is the number of jobs kept.
const maxKnown = 200

func (k *knownJobs) add(j *knownJob) {
	k.total.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.list = append(k.list, j); len(k.list) > maxKnown {
		k.list = k.list[1:]
	}
}

// pick returns a random job, or nil.
func (k *knownJobs) pick(g *generator) *knownJob {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) == 0 {
		return nil
	}
	return pick(g.Rand, k.list)
}
