package executor

import (
	"sync"
	"time"

	"gather/internal/job"
)

// Bounds returns the bounds of admission and how much of them is used: by the jobs of all tenants and nodes and, of the
// quota, by one tenant.
func (e *Executor) Bounds(tenant string) job.Bounds {
	u := e.source.usage(time.Now())
	b := job.Bounds{
		Jobs:         job.Usage{Used: u.jobs, Limit: int64(e.cfg.MaxJobs)},
		Bytes:        job.Usage{Used: u.bytes, Limit: e.cfg.MaxBytes},
		WaitingItems: job.Usage{Used: u.waiting, Limit: e.cfg.MaxWaiting},
		TenantJobs:   job.Usage{Used: u.tenants[tenant]},
	}
	if e.cfg.TenantJobs != nil {
		b.TenantJobs.Limit = int64(e.cfg.TenantJobs(tenant))
	}
	return b
}

// usage sums the sizes of admitted jobs.
type usage struct {
	jobs, bytes, waiting int64
	tenants              map[string]int64 // jobs by tenant
}

// usage implements taskSource.
func (d localDispatcher) usage(time.Time) usage {
	e := d.Executor
	e.mu.Lock()
	defer e.mu.Unlock()
	u := usage{jobs: int64(len(e.jobs)), bytes: e.bytes, waiting: e.waiting, tenants: make(map[string]int64, len(e.tenants))}
	for tenant, n := range e.tenants {
		u.tenants[tenant] = int64(n)
	}
	return u
}

// usageAge is how old the usage of a cluster may be: it takes a visit of every job.
const usageAge = time.Second

// cachedUsage is the last usage of a cluster.
type cachedUsage struct {
	mu sync.Mutex
	at time.Time
	usage
}

// usage implements taskSource.
func (d *clusterDispatcher) usage(now time.Time) usage {
	c := &d.used
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && now.Sub(c.at) < usageAge {
		return c.usage
	}
	u := usage{tenants: make(map[string]int64)}
	d.cluster.Unfinished(func(j *job.Job, s job.Size) {
		u.jobs++
		u.bytes += s.Memory
		u.waiting += s.Waiting
		u.tenants[j.Tenant]++
	})
	c.at, c.usage = now, u
	return u
}
