package pause

import (
	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
)

// register registers the metrics, which are computed at each scrape.
func (s *Set) register(reg prometheus.Registerer) {
	for _, scope := range job.PauseScopes() {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gather_pauses", Help: "Pauses in force, by scope.", ConstLabels: prometheus.Labels{"scope": string(scope)},
		}, func() (n float64) {
			for _, p := range s.List() {
				if p.Scope == scope {
					n++
				}
			}
			return n
		}))
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_pause_oldest_age_seconds", Help: "How long the oldest pause has been in force; 0 without a pause.",
	}, func() float64 { return s.oldest().Seconds() }))
}
