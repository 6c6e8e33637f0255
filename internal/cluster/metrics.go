package cluster

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
)

type metrics struct {
	append      prometheus.Histogram
	records     prometheus.Counter
	bytes       prometheus.Counter
	rejected    *prometheus.CounterVec
	leases      *prometheus.CounterVec
	redelivered prometheus.Counter
	restored    prometheus.Counter
	rebuilds    prometheus.Counter
	snapshots   *prometheus.CounterVec
	restores    *prometheus.CounterVec
	disconnects prometheus.Counter
}

// newMetrics returns the metrics, and registers them unless reg is nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "gather_cluster_" + name, Help: help})
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gather_cluster_" + name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	m := &metrics{
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "gather_cluster_log_append_seconds",
			Help:    "Time from sending a write to the cluster's log until a quorum has it.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		records:     counter("log_records_total", "Proposals that this node wrote to the cluster's log."),
		bytes:       counter("log_bytes_total", "Bytes that this node wrote to the cluster's log."),
		rejected:    vec("log_rejected_proposals_total", "Proposals of all nodes that were rejected when the log was applied.", "reason", "transition", "bound", "key"),
		leases:      vec("leases_total", "Leases of tasks that this node was given.", "queue", taskQueues[:]...),
		redelivered: counter("leases_redelivered_total", "Leases of tasks that were leased before, to this node or another."),
		restored:    counter("leases_requeued_total", "Lost tasks that this node, as leader, queued again."),
		rebuilds:    counter("replica_rebuilds_total", "Times that the replica of this node was rebuilt, because the log was trimmed past it."),
		snapshots:   vec("snapshots_total", "Snapshots that this node, as leader, wrote, failed to write or found damaged.", "outcome", "written", "failed", "damaged"),
		restores:    vec("snapshot_restores_total", "Snapshots from which this node restored its replica, or which it could not use.", "outcome", "restored", "failed"),
		disconnects: counter("disconnects_total", "Connections to NATS that were lost."),
	}
	if reg != nil {
		reg.MustRegister(m.append, m.records, m.bytes, m.rejected, m.leases, m.redelivered, m.restored, m.rebuilds, m.snapshots, m.restores, m.disconnects)
	}
	return m
}

// watch registers the metrics that are computed at each scrape.
func (m *metrics) watch(reg prometheus.Registerer, c *Cluster) error {
	if reg == nil {
		return nil
	}
	gauge := func(name, help string, f func() float64) error {
		return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gather_cluster_" + name, Help: help}, f))
	}
	flag := func(on bool) float64 {
		if on {
			return 1
		}
		return 0
	}
	return errors.Join(
		gauge("connected", "1 while this node is connected to NATS.", func() float64 { return flag(c.nc.IsConnected()) }),
		gauge("log_lost", "1 when the cluster's log has lost messages that this node has applied: it does not participate, and keeps its replica.", func() float64 { return flag(c.logLost.Load()) }),
		gauge("streams_at_risk", "Streams of the cluster that its NATS servers may lose, by their configuration and the servers' version.", func() float64 { return float64(c.atRisk.Load()) }),
		gauge("nodes", "Live nodes, by their heartbeats.", func() float64 { return float64(len(c.members.live())) }),
		gauge("leader", "1 on the leader: the node that maintains the cluster and reports the metrics of all nodes.", func() float64 { return flag(c.isLeader()) }),
		gauge("diverged_nodes", "Live nodes whose state differs from this node's after the same message of the log.", func() float64 { return float64(c.diverged.Load()) }),
		gauge("log_lag_messages", "Messages of the cluster's log that this node has not applied.", func() float64 { return float64(c.lag.Load()) }),
		gauge("clock_skew_seconds", "How far this machine's clock is ahead of the clock of the NATS server that leads the cluster's log.", func() float64 {
			return c.clock.Skew().Seconds()
		}),
		gauge("log_age_seconds", "Age of the oldest message of the cluster's log.", func() float64 { return c.logAge(time.Time{}) }),
		gauge("log_size_bytes", "Size of the cluster's log.", func() float64 {
			_, _, size := c.logSize()
			return float64(size)
		}),
		gauge("snapshot_size_bytes", "Size of the newest snapshot, on the leader; 0 without one.", func() float64 {
			if m := c.newestSnapshot.Load(); m != nil {
				return float64(m.bytes())
			}
			return 0
		}),
		gauge("log_untrimmed_seconds", "Time span of the cluster's log that is no longer needed and has not been trimmed yet.", func() float64 {
			return c.logAge(c.needed().begun)
		}),
		gauge("log_rejections", "Rejected submissions that stand in the cluster's log. Each trim of the log repeats them.", func() float64 {
			c.appliedMu.Lock()
			defer c.appliedMu.Unlock()
			return float64(len(c.rejected))
		}),
		gauge("log_pending_bytes", "Bytes that wait to be written to the cluster's log.", func() float64 { return float64(c.writer.pendingBytes()) }),
		gauge("leases_held", "Leases of this node: of tasks that run, or wait on a timer.", func() float64 {
			c.leases.mu.Lock()
			defer c.leases.mu.Unlock()
			return float64(len(c.leases.held))
		}),
	)
}

func (m *metrics) appended(d time.Duration, records, bytes int) {
	m.append.Observe(d.Seconds())
	m.records.Add(float64(records))
	m.bytes.Add(float64(bytes))
}

func (m *metrics) reject(err error) {
	reason := "transition"
	var prior *job.DuplicateKeyError
	var bound *job.Rejection
	switch {
	case errors.As(err, &prior), errors.Is(err, job.ErrKeyReused):
		reason = "key"
	case errors.As(err, &bound):
		reason = "bound"
	}
	m.rejected.WithLabelValues(reason).Inc()
}

func (m *metrics) leased(queue string) { m.leases.WithLabelValues(queue).Inc() }
