package outbound

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	retries  prometheus.Counter
	duration prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, s *Sender) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_outbound_requests_total",
			Help: "HTTP requests of jobs, by outcome: the class of the status (2xx), or the reason for which there was no response.",
		}, []string{"outcome"}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Name: "gather_outbound_retries_total", Help: "HTTP requests of jobs that were sent again after an attempt without success.",
		}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name: "gather_outbound_request_duration_seconds", Help: "Time from the sending of an HTTP request of a job to the end of its response.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
	}
	for i := 1; i <= 5; i++ {
		m.requests.WithLabelValues(statusClass(i * 100))
	}
	for _, c := range classes {
		m.requests.WithLabelValues(string(c))
	}
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("gather_outbound_in_flight_requests", "HTTP requests of jobs that are in flight.", func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(s.inFlight)
	})
	gauge("gather_outbound_in_flight_capacity_requests", "Limit of the HTTP requests of jobs that are in flight.",
		func() float64 { return float64(s.cfg.InFlight) })
	return m
}

func statusClass(status int) string { return strconv.Itoa(status/100) + "xx" }

// attempted counts an attempt.
func (m *metrics) attempted(o *Outcome, again bool) {
	outcome := string(o.Class)
	if outcome == "" {
		outcome = statusClass(o.Status)
	}
	m.requests.WithLabelValues(outcome).Inc()
	if again {
		m.retries.Inc()
	}
	m.duration.Observe(o.Duration.Seconds())
}
