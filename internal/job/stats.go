package job

import (
	"slices"
	"sync"
	"time"
)

// Stats are counts of one tenant's jobs.
type Stats struct {
	// Since is the time from which the totals count.
	Since time.Time
	// Queued, Delayed and Running count unfinished jobs; Delayed jobs have a start in the future, or wait for other jobs.
	Queued, Delayed, Running int
	// Accepted counts the jobs that became durable, the others the jobs that ended, by final state.
	Accepted, Succeeded, Failed, Cancelled int64
	// Wait is the time from submission, or from the requested start if later, to the start of a job; Duration the time to
	// its end.
	Wait, Duration Latency
}

// A Latency has quantiles of the last latencySamples durations that are at most latencyWindow old. Count 0 means that there are none.
type Latency struct {
	Count    int
	P50, P95 time.Duration
}

// A Usage is the used part of a bound. Limit 0 is no bound.
type Usage struct{ Used, Limit int64 }

// Bounds are the bounds of admission. They count the jobs of all tenants, except TenantJobs, the quota of one tenant.
type Bounds struct {
	Jobs, Bytes, WaitingItems, TenantJobs Usage
}

const (
	latencySamples = 1024
	latencyWindow  = 5 * time.Minute
)

// A Meter counts the jobs of each tenant as their changes become durable. It is safe for concurrent use. The zero value
// counts from its first use.
type Meter struct {
	mu      sync.Mutex
	since   time.Time
	tenants map[string]*tenantMeter
}

type tenantMeter struct {
	queued, running, held                  int
	starts                                 map[ID]time.Time // of queued jobs with a requested start
	accepted, succeeded, failed, cancelled int64
	wait, duration                         samples
}

// begin starts the totals at the first use. Caller holds m.mu.
func (m *Meter) begin() {
	if m.tenants == nil {
		m.tenants, m.since = make(map[string]*tenantMeter), time.Now()
	}
}

// of returns the counts of a tenant. Caller holds m.mu.
func (m *Meter) of(tenant string) *tenantMeter {
	m.begin()
	t := m.tenants[tenant]
	if t == nil {
		t = &tenantMeter{starts: make(map[ID]time.Time)}
		m.tenants[tenant] = t
	}
	return t
}

// Observe counts a durable change of a job. before is nil for a new job.
func (m *Meter) Observe(before, after *Job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.of(after.Tenant)
	if before == nil {
		t.accepted++
	} else {
		t.add(before, -1)
	}
	t.add(after, +1)
	now := time.Now()
	due := after.Due()
	if !after.StartedAt.IsZero() && (before == nil || before.StartedAt.IsZero()) {
		t.wait.add(now, max(0, after.StartedAt.Sub(due)))
	}
	if !after.State.Terminal() || before != nil && before.State.Terminal() {
		return
	}
	switch after.State {
	case Succeeded:
		t.succeeded++
	case Failed:
		t.failed++
	default:
		t.cancelled++
	}
	// A job that is cancelled before its start has come has taken no time.
	t.duration.add(now, max(0, after.FinishedAt.Sub(due)))
}

// Restore counts an unfinished job that was accepted before the totals count.
func (m *Meter) Restore(j *Job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(j.Tenant).add(j, +1)
}

// Reset forgets the unfinished jobs; the totals stay.
func (m *Meter) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin()
	for _, t := range m.tenants {
		t.queued, t.running, t.held = 0, 0, 0
		clear(t.starts)
	}
}

// Stats returns the counts of a tenant at a time of the jobs' clock.
func (m *Meter) Stats(tenant string, now time.Time) Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.of(tenant)
	s := Stats{
		Since: m.since, Queued: t.queued, Running: t.running,
		Accepted: t.accepted, Succeeded: t.succeeded, Failed: t.failed, Cancelled: t.cancelled,
		Wait: t.wait.latency(time.Now()), Duration: t.duration.latency(time.Now()),
	}
	s.Delayed = t.held
	for _, start := range t.starts {
		if start.After(now) {
			s.Delayed++
		}
	}
	s.Queued -= s.Delayed
	return s
}

// add adds a job to the counts of unfinished jobs, or subtracts it with sign -1.
func (t *tenantMeter) add(j *Job, sign int) {
	switch {
	case j.State == Queued:
		t.queued += sign
		if j.Waits != 0 {
			t.held += sign
		} else if sign < 0 {
			delete(t.starts, j.ID)
		} else if j.StartAfter.After(j.CreatedAt) {
			t.starts[j.ID] = j.StartAfter
		}
	case !j.State.Terminal():
		t.running += sign
	}
}

// samples is a ring of the last durations.
type samples struct {
	ring []sample
	next int
}

type sample struct {
	at time.Time // on the monotonic clock
	d  time.Duration
}

func (s *samples) add(now time.Time, d time.Duration) {
	if len(s.ring) < latencySamples {
		s.ring = append(s.ring, sample{now, d})
		return
	}
	s.ring[s.next] = sample{now, d}
	s.next = (s.next + 1) % latencySamples
}

func (s *samples) latency(now time.Time) Latency {
	recent := make([]time.Duration, 0, len(s.ring))
	for _, one := range s.ring {
		if now.Sub(one.at) <= latencyWindow {
			recent = append(recent, one.d)
		}
	}
	n := len(recent)
	if n == 0 {
		return Latency{}
	}
	slices.Sort(recent)
	return Latency{Count: n, P50: recent[(n-1)/2], P95: recent[(n-1)*95/100]}
}
