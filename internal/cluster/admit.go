package cluster

import (
	"errors"
	"time"

	"gather/internal/job"
)

// # Refusals known beforehand
//
// Whether a submission fits under the bounds is decided at its place in the log. A node refuses beforehand what does not fit
// beside the jobs that it has read of and its own submissions on their way. Under overload that is not enough: when a job ends,
// all nodes see the same room, and all but one write a submission in vain, which must be remembered until the log is trimmed
// past it (trim.go). So a node has a credit of refusals in the log. While it has credit it uses all the room that it sees, which
// makes the bounds exact. Without credit it uses its share: the room divided by the number of nodes, and less for an overdrawn
// credit. So at most refusalsPerSecond of a node are written in the long run, and the queue stays a few jobs below its bound.
const (
	refusalBurst      = 100
	refusalsPerSecond = 1
	// overdraft is by how many refusals without credit the share shrinks once more by the number of nodes.
	overdraft = 10
)

// demand is what submissions take of the bounds.
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

// onTheWay are this node's submissions that the log has not decided about. It is guarded by the table's lock.
type onTheWay struct {
	demand
	tenants map[string]int
	// risky counts those that do not fit into the node's share of the room.
	risky  int
	credit float64
	at     time.Time // of credit
}

// A reservation is one of them.
type reservation struct {
	demand
	tenant          string
	risky, released bool
}

// reserve enters a submission, unless it is known beforehand that it does not fit. Caller holds t.mu.
func (t *state) reserve(a *job.Admission, tenant string, nodes int, retry func(n int) time.Duration, now time.Time) (*reservation, error) {
	w := &t.onTheWay
	if a == nil {
		return &reservation{released: true}, nil
	}
	r := &reservation{demand: demandOf(a), tenant: tenant}
	all := demand{w.jobs + r.jobs, w.tenants[tenant] + r.jobs, w.bytes + r.bytes, w.waiting + r.waiting}
	if err := t.fits(a, tenant, all, retry); err != nil {
		return nil, err
	}
	w.earn(now)
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

// release takes a submission out once it is decided about. Caller holds t.mu.
func (t *state) release(r *reservation) {
	if r != nil && !r.released {
		r.released = true
		t.onTheWay.add(r, -1)
	}
}

func (w *onTheWay) add(r *reservation, sign int) {
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

// earn adds the credit of the time since the last call.
func (w *onTheWay) earn(now time.Time) {
	if w.at.IsZero() {
		w.credit = refusalBurst
	} else {
		w.credit = min(refusalBurst, w.credit+refusalsPerSecond*now.Sub(w.at).Seconds())
	}
	w.at = now
}

// decidedIn takes what the log decided about a submission of this node. Caller holds t.mu.
func (t *state) decidedIn(r *reservation, d applyResult) {
	t.release(r)
	if d.seq > 0 && (errors.Is(d.err, job.ErrQueueFull) || errors.Is(d.err, job.ErrQuota)) {
		t.onTheWay.credit = max(-refusalBurst, t.onTheWay.credit-1)
	}
}
