package api

import (
	"net/http"

	"gather/internal/job"
)

// getStats implements GET /v1/stats.
func (s *server) getStats(x *requestState) error {
	tenant := x.principal.Tenant
	stats, err := s.Jobs.Stats(x, tenant)
	if err != nil {
		return err
	}
	nodes, err := s.Nodes.Nodes(x)
	if err != nil {
		return err
	}
	bounds := s.Executor.Bounds(tenant)
	v := Stats{At: s.Wall().UTC(), Since: stats.Since.UTC(), Nodes: int64(len(nodes))}
	v.Jobs.Queued, v.Jobs.Delayed, v.Jobs.Running = int64(stats.Queued), int64(stats.Delayed), int64(stats.Running)
	v.Totals.Accepted, v.Totals.Succeeded = stats.Accepted, stats.Succeeded
	v.Totals.Failed, v.Totals.Cancelled = stats.Failed, stats.Cancelled
	v.Latency.Wait, v.Latency.Duration = latencyOf(stats.Wait), latencyOf(stats.Duration)
	for i := range nodes {
		v.Workers += int64(nodes[i].Workers)
		v.WorkersBusy += int64(nodes[i].Busy)
		v.WaitingItems += nodes[i].Waiting
		if nodes[i].Self {
			v.Node = nodes[i].ID
		}
	}
	v.Bounds.Jobs, v.Bounds.Bytes, v.Bounds.WaitingItems = boundOf(bounds.Jobs), boundOf(bounds.Bytes), boundOf(bounds.WaitingItems)
	v.Bounds.Streams = Bound{Used: s.streams.Load(), Limit: s.MaxStreams}
	if bounds.TenantJobs.Limit > 0 {
		own := boundOf(bounds.TenantJobs)
		v.Bounds.TenantJobs = &own
	}
	x.Header()["Cache-Control"] = privateNoCache
	return x.writeJSON(http.StatusOK, v)
}

// latencyOf returns quantiles in seconds; nil for none.
func latencyOf(l job.Latency) *Latency {
	if l.Count == 0 {
		return nil
	}
	return &Latency{Count: int64(l.Count), P50: l.P50.Seconds(), P95: l.P95.Seconds()}
}

func boundOf(u job.Usage) Bound { return Bound{Limit: u.Limit, Used: u.Used} }
