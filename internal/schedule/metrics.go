package schedule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	runs map[Outcome]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Scheduler) *metrics {
	f := promauto.With(reg)
	m := &metrics{runs: make(map[Outcome]prometheus.Counter)}
	runs := f.NewCounterVec(prometheus.CounterOpts{
		Name: "gather_schedule_runs_total", Help: "Ticks of schedules by outcome, and runs by request, which are submitted; on a cluster counted by the node that decides.",
	}, []string{"outcome"})
	for _, o := range Outcomes() {
		m.runs[o] = runs.WithLabelValues(string(o))
	}
	for state, paused := range map[string]bool{"active": false, "paused": true} {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gather_schedules", Help: "Schedules, by state.", ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(s.countPaused(paused)) })
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_schedule_late_seconds", Help: "How late the most overdue tick of a schedule is that has no outcome yet; 0 without one.",
	}, func() float64 { return s.late().Seconds() })
	return m
}

func (s *Scheduler) countPaused(paused bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.known {
		if k.Schedule != nil && k.Paused == paused {
			n++
		}
	}
	return n
}

// late returns how long the most overdue tick has been due.
func (s *Scheduler) late() (most time.Duration) {
	now := s.c.Wall()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.known {
		if k.Schedule != nil && !k.Paused && !k.next.IsZero() {
			most = max(most, now.Sub(k.next))
		}
	}
	return most
}
