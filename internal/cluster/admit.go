package cluster

import (
	"errors"
	"time"

	"gather/internal/job"
)

// # Early rejection
//
// Whether a submission fits under the bounds is decided when the log is applied. Before a node writes a submission to the
// log, it rejects it if it does not fit beside the jobs of its state and its own undecided submissions. Under overload that is
// not enough: when a job ends, all nodes see the same room, and all submissions but one are rejected in the log, which must be
// recorded until the log is trimmed past them (trim.go). Therefore each node has a credit of rejections in the log. With
// credit it uses all the room that it sees, which makes the bounds exact. Without credit it uses only its share, the room
// divided by the number of nodes, and less if the credit is overdrawn. In the long run a node causes at most
// rejectionsPerSecond rejections in the log, and the queue stays a few jobs below its bound.
const (
	rejectionBurst      = 100
	rejectionsPerSecond = 1
	// overdraft is the number of rejections without credit after which the share is divided once more by the number of
	// nodes.
	overdraft = 10
)

// demand is the part of the bounds that submissions need.
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

// inFlightSubmissions sums this node's submissions that are not decided. Guarded by state.mu.
type inFlightSubmissions struct {
	demand
	tenants map[string]int
	// risky counts the submissions that exceed the share of this node.
	risky  int
	credit float64
	at     time.Time // last update of credit
}

// A reservation is the demand of one submission that is not decided.
type reservation struct {
	demand
	tenant          string
	risky, released bool
}

// reserve adds a submission to inFlight, or returns an error if it is known not to fit. Caller holds t.mu.
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

// release removes a submission from inFlight when it is decided. Caller holds t.mu.
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

// refill adds the credit for the time since the last call.
func (w *inFlightSubmissions) refill(now time.Time) {
	if w.at.IsZero() {
		w.credit = rejectionBurst
	} else {
		w.credit = min(rejectionBurst, w.credit+rejectionsPerSecond*now.Sub(w.at).Seconds())
	}
	w.at = now
}

// recordOutcome releases a submission of this node, and charges the credit if it was rejected in the log. Caller holds
// t.mu.
func (t *state) recordOutcome(r *reservation, d applyResult) {
	t.release(r)
	if d.seq > 0 && (errors.Is(d.err, job.ErrQueueFull) || errors.Is(d.err, job.ErrQuota)) {
		t.inFlight.credit = max(-rejectionBurst, t.inFlight.credit-1)
	}
}
