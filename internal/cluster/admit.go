package cluster

import (
	"errors"
	"time"

	"gather/internal/job"
)

// # Rejections known beforehand
//
// The log decides at its place whether a submission fits under the bounds. A node rejects beforehand what does not fit
// beside the jobs of its state and its own submissions on their way. Under overload that is not enough: when a job ends,
// all nodes see the same room, and all but one write a submission in vain, whose rejection must be recorded until the
// log is trimmed past it (trim.go). So a node has a credit of rejections in the log. With credit it uses all the room
// that it sees, which makes the bounds exact. Without credit it uses its share: the room divided by the number of nodes,
// and less when the credit is overdrawn. So in the long run a node writes at most rejectionsPerSecond of them, and the
// queue stays a few jobs below its bound.
const (
	rejectionBurst      = 100
	rejectionsPerSecond = 1
	// overdraft is the number of rejections without credit after which the share is divided once more by the number of
	// nodes.
	overdraft = 10
)

// demand is how much of the bounds submissions need.
type demand struct {
	jobs, tenantJobs int
	bytes, waiting   int64
}

func demandOf(a *job.Admission) demand {
	d := demand{jobs: len(a.Sizes), tenantJobs: len(a.Sizes)}
	for _, s := range a.Sizes {
		d.bytes, d.waiting = d.bytes+s.Memory, d.waiting+s.Waiting
	}
	return d
}

func (d demand) times(n int) demand {
	return demand{d.jobs * n, d.tenantJobs * n, d.bytes * int64(n), d.waiting * int64(n)}
}

// inFlightSubmissions has this node's submissions that the log has not decided about. Guarded by state.mu.
type inFlightSubmissions struct {
	demand
	tenants map[string]int
	// risky counts the submissions that do not fit into the share of this node.
	risky  int
	credit float64
	at     time.Time // of credit
}

// A reservation is one submission on its way.
type reservation struct {
	demand
	tenant          string
	risky, released bool
}

// reserve adds a submission, unless it is known not to fit. Caller holds t.mu.
func (t *state) reserve(a *job.Admission, tenant string, nodes int, retry func(n int) time.Duration, now time.Time) (*reservation, error) {
	w := &t.inFlight
	if a == nil {
		return &reservation{released: true}, nil
	}
	r := &reservation{demand: demandOf(a), tenant: tenant}
	all := demand{w.jobs + r.jobs, w.tenants[tenant] + r.jobs, w.bytes + r.bytes, w.waiting + r.waiting}
	if err := t.fits(a, tenant, all, retry); err != nil {
		return nil, err
	}
	w.refill(now)
	share := max(1, nodes) * (1 + int(max(0, -w.credit/overdraft)))
	if err := t.fits(a, tenant, all.times(share), retry); err != nil {
		if float64(w.risky) >= w.credit {
			return nil, err
		}
		r.risky = true
	}
	w.add(r, +1)
	return r, nil
}

// release removes a submission when it is decided about. Caller holds t.mu.
func (t *state) release(r *reservation) {
	if r != nil && !r.released {
		r.released = true
		t.inFlight.add(r, -1)
	}
}

func (w *inFlightSubmissions) add(r *reservation, sign int) {
	w.jobs += sign * r.jobs
	w.bytes += int64(sign) * r.bytes
	w.waiting += int64(sign) * r.waiting
	if w.tenants == nil {
		w.tenants = make(map[string]int)
	}
	if w.tenants[r.tenant] += sign * r.jobs; w.tenants[r.tenant] == 0 {
		delete(w.tenants, r.tenant)
	}
	if r.risky {
		w.risky += sign
	}
}

// refill adds the credit of the time since the last call.
func (w *inFlightSubmissions) refill(now time.Time) {
	if w.at.IsZero() {
		w.credit = rejectionBurst
	} else {
		w.credit = min(rejectionBurst, w.credit+rejectionsPerSecond*now.Sub(w.at).Seconds())
	}
	w.at = now
}

// recordOutcome takes the outcome of a submission of this node. Caller holds t.mu.
func (t *state) recordOutcome(r *reservation, d applyResult) {
	t.release(r)
	if d.seq > 0 && (errors.Is(d.err, job.ErrQueueFull) || errors.Is(d.err, job.ErrQuota)) {
		t.inFlight.credit = max(-rejectionBurst, t.inFlight.credit-1)
	}
}
