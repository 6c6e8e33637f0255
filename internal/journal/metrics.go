package journal

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	commit prometheus.Histogram
	events prometheus.Histogram
	swept  prometheus.Counter
	// background counts the failures that Pebble reported.
	background atomic.Uint64
	// free is the last measured free space, in bytes.
	free      atomic.Uint64
	freeKnown atomic.Bool
	// held is true while results wait for free space.
	held atomic.Bool
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		commit: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "gather_journal_commit_seconds",
			Help:    "Time from building a write until it is durable.",
			Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		events: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "gather_journal_batch_events",
			Help:    "Events that one write makes durable.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 14),
		}),
		swept: f.NewCounter(prometheus.CounterOpts{
			Name: "gather_journal_jobs_swept_total",
			Help: "Jobs removed because their retention had passed.",
		}),
	}
}

func (m *metrics) committed(w *write, now time.Time) {
	if w.events > 0 {
		m.commit.Observe(now.Sub(w.began).Seconds())
		m.events.Observe(float64(w.events))
	}
}

// A gauge is a metric that is read at each scrape; it is left out while its value is NaN.
type gauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *snapshot) float64
}

// A snapshot is the state that the gauges of one scrape read.
type snapshot struct {
	j *Journal
	p *pebble.Metrics
}

// collector collects the gauges of the journal and of Pebble.
type collector struct {
	j      *Journal
	gauges []gauge
}

func newGauge(kind prometheus.ValueType, name, help string, value func(s *snapshot) float64) gauge {
	return gauge{desc: prometheus.NewDesc(name, help, nil, nil), kind: kind, value: value}
}

// watch registers the metrics that are read from the open journal.
func (m *metrics) watch(reg prometheus.Registerer, j *Journal) error {
	if reg == nil {
		return nil
	}
	const g, c = prometheus.GaugeValue, prometheus.CounterValue
	return reg.Register(&collector{j: j, gauges: []gauge{
		newGauge(g, "gather_journal_ready", "Whether a submission can be taken: 1 or 0.", func(s *snapshot) float64 {
			if s.j.Ready() == nil {
				return 1
			}
			return 0
		}),
		newGauge(g, "gather_journal_pending_bytes", "Estimated bytes that wait for the disk.", func(s *snapshot) float64 {
			return float64(s.j.queue.pending())
		}),
		newGauge(g, "gather_journal_pending_limit_bytes", "Bytes that may wait for the disk.", func(s *snapshot) float64 {
			return float64(s.j.c.MaxPendingBytes)
		}),
		newGauge(g, "gather_journal_active_jobs", "Unfinished jobs, which are held in memory.", func(s *snapshot) float64 {
			return float64(max(0, s.j.jobs.len()-s.j.queue.endedJobs()))
		}),
		newGauge(g, "gather_journal_active_groups", "Groups with unfinished jobs.", func(s *snapshot) float64 {
			return float64(s.j.groups.unfinished())
		}),
		newGauge(g, "gather_journal_finished_jobs", "Finished jobs that are kept.", func(s *snapshot) float64 {
			return float64(s.j.counts.finished())
		}),
		newGauge(c, "gather_journal_failures_total", "Disk operations that failed, retries included.", func(s *snapshot) float64 {
			return float64(s.j.fs.Failures() + m.background.Load())
		}),
		newGauge(g, "gather_journal_disk_bytes", "Bytes that the journal uses on disk.", func(s *snapshot) float64 {
			return float64(s.p.DiskSpaceUsage())
		}),
		newGauge(g, "gather_journal_disk_free_bytes", "Free bytes of the disk; missing when the file system does not report it.", func(*snapshot) float64 {
			if !m.freeKnown.Load() {
				return math.NaN()
			}
			return float64(m.free.Load())
		}),
		newGauge(g, "gather_journal_disk_min_free_bytes", "With fewer free bytes than this no submission is taken.", func(s *snapshot) float64 {
			return float64(s.j.c.MinFreeBytes)
		}),
		newGauge(g, "gather_journal_results_held", "Whether tasks wait because free disk space is kept for deletes: 1 or 0.", func(*snapshot) float64 {
			if m.held.Load() {
				return 1
			}
			return 0
		}),
		newGauge(c, "gather_journal_log_written_bytes_total", "Bytes written to the write-ahead log.", func(s *snapshot) float64 {
			return float64(s.p.WAL.BytesWritten)
		}),
		newGauge(c, "gather_journal_flushed_bytes_total", "Bytes written by flushes of the memtable.", func(s *snapshot) float64 {
			return float64(s.p.Levels[0].TableBytesFlushed)
		}),
		newGauge(c, "gather_journal_compactions_total", "Compactions that have ended.", func(s *snapshot) float64 {
			return float64(s.p.Compact.Count)
		}),
		newGauge(g, "gather_journal_compaction_debt_bytes", "Bytes still to be compacted, as estimated.", func(s *snapshot) float64 {
			return float64(s.p.Compact.EstimatedDebt)
		}),
		newGauge(g, "gather_journal_memtable_bytes", "Bytes of memory held by memtables.", func(s *snapshot) float64 {
			return float64(s.p.MemTable.Size)
		}),
		newGauge(g, "gather_journal_cache_bytes", "Bytes of memory held by the block cache.", func(s *snapshot) float64 {
			return float64(s.p.BlockCache.Size)
		}),
		newGauge(c, "gather_journal_cache_hits_total", "Blocks found in the block cache.", func(s *snapshot) float64 {
			return float64(s.p.BlockCache.Hits)
		}),
		newGauge(c, "gather_journal_cache_misses_total", "Blocks read from disk.", func(s *snapshot) float64 {
			return float64(s.p.BlockCache.Misses)
		}),
	}})
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range c.gauges {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector. A closed journal has no metrics.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	j := c.j
	j.readers.RLock()
	defer j.readers.RUnlock()
	if j.closed.Load() {
		return
	}
	s := &snapshot{j: j, p: j.db.Metrics()}
	for _, g := range c.gauges {
		if v := g.value(s); !math.IsNaN(v) {
			ch <- prometheus.MustNewConstMetric(g.desc, g.kind, v)
		}
	}
}
