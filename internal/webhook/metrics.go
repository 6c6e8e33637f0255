package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"gather/internal/job"
)

type metrics struct{ attempts *prometheus.CounterVec }

// outcomes are the values of the label outcome.
var outcomes = map[job.DeliveryState]string{job.DeliveryDone: "delivered", job.DeliveryPending: "retry", job.DeliveryFailed: "failed"}

func newMetrics(reg prometheus.Registerer, d *Deliverer) *metrics {
	f := promauto.With(reg)
	m := &metrics{attempts: f.NewCounterVec(prometheus.CounterOpts{
		Name: "gather_webhook_attempts_total",
		Help: "Attempts of deliveries to webhooks: delivered, retry if another one follows, or failed if it was the last.",
	}, []string{"outcome"})}
	for _, o := range outcomes {
		m.attempts.WithLabelValues(o)
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_webhook_pending_deliveries",
		Help: "Deliveries to webhooks that wait for an attempt; in a cluster the deliveries of this node.",
	}, func() float64 {
		n := 0
		for _, r := range d.cfg.Store.DeliveryReceivers() {
			n += r.Pending
		}
		return float64(n)
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_webhook_oldest_pending_age_seconds",
		Help: "Time since the end of the job, or the last manual retry, of the oldest pending delivery; 0 without one.",
	}, func() float64 {
		now := d.cfg.Now()
		age := time.Duration(0)
		for _, r := range d.cfg.Store.DeliveryReceivers() {
			age = max(age, now.Sub(r.Oldest))
		}
		return age.Seconds()
	})
	return m
}

// attempted counts an attempt by the state of its delivery after it.
func (m *metrics) attempted(after job.DeliveryState) {
	m.attempts.WithLabelValues(outcomes[after]).Inc()
}
