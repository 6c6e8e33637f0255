package journal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	commit prometheus.Histogram
	events prometheus.Histogram
	swept  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, _ *Journal) *metrics {
	f := promauto.With(reg)
	return &metrics{
		commit: f.NewHistogram(prometheus.HistogramOpts{
			Name: "gather_journal_commit_seconds", Help: "Time from building a write until it is durable.",
			Buckets:                     []float64{50e-6, 100e-6, 250e-6, 500e-6, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}),
		events: f.NewHistogram(prometheus.HistogramOpts{
			Name: "gather_journal_batch_events", Help: "Events that one write makes durable.",
			Buckets:                     prometheus.ExponentialBuckets(1, 2, 14),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}),
		swept: f.NewCounter(prometheus.CounterOpts{
			Name: "gather_journal_jobs_swept_total", Help: "Jobs removed because their retention had passed.",
		}),
	}
}

func (m *metrics) committed(w *write, now time.Time) {
	if w.events > 0 {
		m.commit.Observe(now.Sub(w.began).Seconds())
		m.events.Observe(float64(w.events))
	}
}
