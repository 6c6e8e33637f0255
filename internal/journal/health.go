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
	"gather/internal/notify"
)

// health holds the issues that prevent the journal from accepting submissions, at most one of each source.
type health struct {
	mu sync.Mutex
	// issues holds the error of each source; nil for none.
	issues [numIssues]error
	// worst is the issue of the first source that has one.
	worst atomic.Pointer[healthIssue]
	// check wakes the monitor.
	check notify.Signal
}

// The sources of issues, the most severe first.
const (
	// issueEngine: Pebble has failed, and a restart is needed.
	issueEngine = iota
	// issueDisk: an operation on the log or the manifest fails and is being retried.
	issueDisk
	// issueFlush: the last flush of a memtable failed.
	issueFlush
	// issueStall: a write has not finished in time.
	issueStall
	// issueSpace: the disk is nearly full.
	issueSpace
	numIssues
)

// issueReasons holds the reasons that the rejections metric has as labels, by source.
var issueReasons = [numIssues]string{"journal-broken", "journal-disk", "journal-disk", "journal-stalled", "journal-space"}

// errSpace means that less than Config.MinFreeBytes are free.
var errSpace = errors.New("too little free disk space")

func (h *health) init() { h.check = notify.New() }

// set sets the issue of a source, or clears it with nil, and reports whether the source was healthy before and is not now, or
// the reverse.
func (h *health) set(source int, err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if source == issueEngine && h.issues[source] != nil {
		return false
	}
	changed = (h.issues[source] == nil) != (err == nil)
	h.issues[source] = err
	h.worst.Store(nil)
	for i := range h.issues {
		if h.issues[i] != nil {
			h.worst.Store(&healthIssue{source: i, err: h.issues[i]})
			break
		}
	}
	return changed
}

// clear removes all issues.
func (h *health) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.issues = [numIssues]error{}
	h.worst.Store(nil)
}

// A healthIssue is a reason to reject submissions.
type healthIssue struct {
	source int
	err    error
}

// current returns the most severe issue; nil when the journal is healthy.
func (h *health) current() *healthIssue { return h.worst.Load() }

func (h *health) issue(source int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.issues[source]
}

// Ready returns nil if the journal accepts submissions, otherwise a job.ErrStorage with the reason.
func (j *Journal) Ready() error {
	if j.closed.Load() {
		return ErrClosed
	}
	if c := j.health.current(); c != nil {
		return storageError(c.err)
	}
	return nil
}

// rejection returns the error for a submission while the journal is unhealthy, otherwise nil.
func (j *Journal) rejection() error {
	if c := j.health.current(); c != nil {
		return c.rejection(j.c.RetryInterval)
	}
	return nil
}

func (c *healthIssue) rejection(retry time.Duration) *job.Rejection {
	detail := c.err.Error()
	// Clients get the error without the path of the file.
	if path, ok := errors.AsType[*fs.PathError](c.err); ok {
		detail = "the journal's disk: " + path.Err.Error()
	}
	return newRejection(issueReasons[c.source], detail, max(retry, time.Second))
}

// runMonitor checks the disk periodically, and when woken, until ctx is done.
func (j *Journal) runMonitor(ctx context.Context) {
	j.inspect()
	notify.Every(ctx, j.c.RetryInterval, j.health.check, j.inspect)
}

// inspect updates the issues that are not reported by callbacks, and rejects the submissions that would have to wait.
func (j *Journal) inspect() {
	h := &j.health
	fault := j.fs.Err()
	if isFull(fault) {
		j.releaseBallast()
	}
	if h.set(issueDisk, fault) {
		if err := h.issue(issueDisk); err != nil {
			j.log.Error("the disk fails; submissions are rejected until it works again", "error", err)
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
	if h.set(issueStall, stalled) {
		j.log.Warn("the disk stalls or has recovered", "stalled", stalled)
	}
	j.inspectSpace()
	if c := h.current(); c != nil && c.source != issueSpace {
		rejection := c.rejection(j.c.RetryInterval)
		submissions, prompt := j.queue.waiting()
		for _, req := range submissions {
			j.reject(req, rejection)
		}
		for _, req := range prompt {
			req.done(rejection)
		}
	}
}

// inspectSpace rejects submissions while less than MinFreeBytes are free, and holds results while less than the reserve is
// free.
func (j *Journal) inspectSpace() {
	err := j.space()
	if j.health.set(issueSpace, err) {
		j.log.Warn("free disk space", "error", err, "free", j.met.free.Load())
	}
	low := err != nil && j.met.free.Load() < j.c.reserve()
	if j.met.held.Swap(low) != low {
		j.log.Warn("free disk space: tasks wait below the reserve", "waiting", low, "free", j.met.free.Load(), "reserve", j.c.reserve())
	}
	j.queue.setHeld(low)
}

// minReserve is the space that concurrent deletes, sweeps and their flushes need: four memtables.
const minReserve = 4 * memTableBytes

// reserve returns the free space that results must leave for deletes, cancels, the sweep and the next start.
func (c *Config) reserve() uint64 { return max(c.MinFreeBytes/2, min(c.MinFreeBytes, minReserve)) }

// checkBytes is the number of written bytes after which the writer checks the free space, in addition to the monitor.
const checkBytes = 4 << 20

// countWritten counts the bytes of a write, and checks the free space every checkBytes. The writer calls it.
func (j *Journal) countWritten(bytes int64) {
	if j.unchecked += bytes; j.unchecked >= checkBytes {
		j.unchecked = 0
		j.inspectSpace()
	}
}

// space records the free space of the disk, and returns errSpace if it is below MinFreeBytes. It returns nil for a file system
// that does not report its free space.
func (j *Journal) space() error {
	usage, err := j.c.FS.GetDiskUsage(j.c.Dir)
	j.met.freeKnown.Store(err == nil)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	j.met.free.Store(usage.AvailBytes)
	if usage.AvailBytes < j.c.MinFreeBytes {
		return fmt.Errorf("%w: %d bytes, and %d are kept free", errSpace, usage.AvailBytes, j.c.MinFreeBytes)
	}
	return nil
}
