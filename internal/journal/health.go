package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"gather/internal/job"
)

// health has the causes for which the journal cannot take a submission. Each cause has its own source; one is enough.
type health struct {
	mu sync.Mutex
	// causes by source; nil is well.
	causes [numCauses]error
	// now is the first of them.
	now atomic.Pointer[cause]
	// check wakes the monitor.
	check chan struct{}
}

// The sources of a cause, the gravest first.
const (
	// causeEngine: Pebble has given up. Only a restart helps.
	causeEngine = iota
	// causeDisk: an operation on the log or the manifest is being tried again.
	causeDisk
	// causeFlush: the last flush of a memtable failed.
	causeFlush
	// causeStall: the disk does not answer.
	causeStall
	// causeSpace: the disk is nearly full.
	causeSpace
	numCauses
)

// causeReasons are the words for the rejections metric.
var causeReasons = [numCauses]string{"journal-broken", "journal-disk", "journal-disk", "journal-stalled", "journal-space"}

// errSpace: see Config.MinFreeBytes.
var errSpace = errors.New("too little free disk space")

func (h *health) init() { h.check = make(chan struct{}, 1) }

// set sets a cause, or removes it with nil, and reports whether that changed anything.
func (h *health) set(source int, err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if source == causeEngine && h.causes[source] != nil {
		return false
	}
	changed = (h.causes[source] == nil) != (err == nil)
	h.causes[source] = err
	h.now.Store(nil)
	for i := range h.causes {
		if h.causes[i] != nil {
			h.now.Store(&cause{source: i, err: h.causes[i]})
			break
		}
	}
	return changed
}

// clear takes all causes back.
func (h *health) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.causes = [numCauses]error{}
	h.now.Store(nil)
}

// A cause is one of the reasons not to take a submission.
type cause struct {
	source int
	err    error
}

// current returns the gravest cause, or nil.
func (h *health) current() *cause { return h.now.Load() }

func (h *health) has(source int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.causes[source]
}

func (h *health) wake() {
	select {
	case h.check <- struct{}{}:
	default:
	}
}

// Ready returns nil, or why the journal cannot take a submission now.
func (j *Journal) Ready() error {
	if j.closed.Load() {
		return ErrClosed
	}
	if c := j.health.current(); c != nil {
		return stored(c.err)
	}
	return nil
}

// refusal returns the rejection of a submission, or nil.
func (j *Journal) refusal() error {
	if c := j.health.current(); c != nil {
		return c.rejection(j.c.RetryInterval)
	}
	return nil
}

func (c *cause) rejection(retry time.Duration) *job.Rejection {
	detail := c.err.Error()
	// Clients get the error without its path, which is for the log.
	if path, ok := errors.AsType[*fs.PathError](c.err); ok {
		detail = "the journal's disk: " + path.Err.Error()
	}
	return storage(causeReasons[c.source], detail, max(retry, time.Second))
}

// runMonitor watches the disk until ctx is done.
func (j *Journal) runMonitor(ctx context.Context) {
	t := time.NewTicker(j.c.RetryInterval)
	defer t.Stop()
	for {
		j.inspect()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-j.health.check:
		}
	}
}

// inspect checks every source that does not report by callback, and rejects the submissions that would have to wait.
func (j *Journal) inspect() {
	h := &j.health
	fault := j.fs.Err()
	if isFull(fault) {
		j.relieve()
	}
	if h.set(causeDisk, fault) {
		if err := h.has(causeDisk); err != nil {
			j.log.Error("the disk fails; submissions are refused until it works again", "error", err)
		} else {
			j.log.Info("the disk works again")
		}
	}
	var stalled error
	if since := j.queue.busySince(); !since.IsZero() {
		if d := j.h.now().Sub(since); d > j.h.stall {
			stalled = fmt.Errorf("the disk has not answered for %s", d.Round(time.Second))
		}
	}
	if h.set(causeStall, stalled) {
		j.log.Warn("the disk stalls or has recovered", "stalled", stalled)
	}
	j.inspectSpace()
	if c := h.current(); c != nil && c.source != causeSpace {
		rejection := c.rejection(j.c.RetryInterval)
		submissions, prompt := j.queue.waiting()
		for _, it := range submissions {
			j.refuse(it, rejection)
		}
		for _, it := range prompt {
			it.done(rejection)
		}
	}
}

// inspectSpace refuses submissions while less than MinFreeBytes are free, and results while less than the reserve is.
func (j *Journal) inspectSpace() {
	err := j.space()
	if j.health.set(causeSpace, err) {
		j.log.Warn("free disk space", "error", err, "free", j.met.free.Load())
	}
	low := err != nil && j.met.free.Load() < j.c.reserve()
	if j.met.held.Swap(low) != low {
		j.log.Warn("free disk space: tasks wait below the reserve", "waiting", low, "free", j.met.free.Load(), "reserve", j.c.reserve())
	}
	j.queue.hold(low)
}

// minReserve is the space for deletes, sweeps and their flushes at one time: four memtables.
const minReserve = 4 * memTableBytes

// reserve is the free space that results must leave: for deletes, cancels, the sweep and the next start.
func (c *Config) reserve() uint64 { return max(c.MinFreeBytes/2, min(c.MinFreeBytes, minReserve)) }

// checkBytes is after how many bytes of writes the free space is looked at again, beside the monitor's looks.
const checkBytes = 4 << 20

// wrote counts the bytes of a write; the writer's.
func (j *Journal) wrote(bytes int64) {
	if j.unchecked += bytes; j.unchecked >= checkBytes {
		j.unchecked = 0
		j.inspectSpace()
	}
}

// space records the free space of the disk, and returns errSpace when it is too little. A file system that does not
// report its free space has enough.
func (j *Journal) space() error {
	usage, err := j.c.FS.GetDiskUsage(j.c.Dir)
	j.met.freeKnown.Store(err == nil)
	if err != nil {
		return nil //nolint:nilerr // a file system that does not report its free space has enough
	}
	j.met.free.Store(usage.AvailBytes)
	if usage.AvailBytes < j.c.MinFreeBytes {
		return fmt.Errorf("%w: %d bytes, and %d are kept free", errSpace, usage.AvailBytes, j.c.MinFreeBytes)
	}
	return nil
}
