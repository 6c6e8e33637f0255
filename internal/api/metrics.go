package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
)

// unmatched is the route of requests that no route took.
const unmatched = "unmatched"

// metrics has the metrics of the API. Labels are closed sets: routes by their pattern, methods of the contract (any
// other is "other"), statuses.
type metrics struct {
	requests *prometheus.CounterVec
	inFlight prometheus.Gauge
	// rejections has a counter for each reason for which the API itself rejects requests. The executor counts its own
	// rejections.
	rejections map[string]prometheus.Counter
	// routes has the children of each route and method, so that a request looks up no labels.
	routes map[routeKey]*routeMetrics
	other  *routeMetrics
}

type routeKey struct{ method, route string }

type routeMetrics struct {
	key       routeKey
	durations [len(modes)]prometheus.Observer
	// codes has the counter of status i+100, once there was one.
	codes [500]atomic.Pointer[prometheus.Counter]
}

// startCodes are the statuses that exist from the start, as 0, for every method and for some: the rate of a counter that
// appears with its first request misses that request.
var (
	startCodes       = []int{200, 400, 404, 500, 503}
	methodStartCodes = map[string][]int{
		http.MethodPost: {202, 422, 429}, http.MethodPut: {201}, http.MethodDelete: {204},
	}
)

var requestBuckets = []float64{
	.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60, 300, 1800,
}

func newMetrics(reg prometheus.Registerer, s *server) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_http_requests_total",
			Help: "HTTP requests answered, by route pattern and status; 499 is a client that went before.",
		}, []string{"method", "route", "code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gather_http_requests_in_flight",
			Help: "HTTP requests being served, including those that wait or stream.",
		}),
		rejections: make(map[string]prometheus.Counter),
		routes:     make(map[routeKey]*routeMetrics),
	}
	rejections := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gather_http_requests_rejected_total",
		Help: "Requests refused before the executor saw them. Reason: rate, of the tenant; bodies, uploads and readers, no memory for one more; streams, as many as may be are open.",
	}, []string{"reason"})
	for _, reason := range []string{refusedRate, refusedBodies, refusedUploads, refusedReaders, refusedStreams} {
		m.rejections[reason] = rejections.WithLabelValues(reason)
	}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gather_http_request_duration_seconds",
		Help: "Time from the request to the end of the response. Mode: plain; wait, with Prefer: wait; stream.",

		Buckets: requestBuckets,
	}, []string{"method", "route", "mode"})
	streams := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_http_streams_open",
		Help: "Requests that wait for a job or follow one.",
	}, func() float64 { return float64(s.streams.Load()) })
	limit := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_http_streams_limit",
		Help: "How many requests may wait or follow at the same time.",
	}, func() float64 { return float64(s.MaxStreams) })
	bodies := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_http_body_bytes_in_flight",
		Help: "Bytes of request bodies that are being read and accepted.",
	}, func() float64 { return float64(s.bodies.inUse()) })
	for _, c := range []prometheus.Collector{m.requests, m.inFlight, rejections, durations, streams, limit, bodies} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("api metrics: %w", err)
		}
	}
	add := func(method, route string) *routeMetrics {
		r := &routeMetrics{key: routeKey{method, route}}
		// Modes that a route does not have are made when they happen.
		r.durations[modePlain] = durations.WithLabelValues(method, route, modes[modePlain])
		for i := range modes {
			if r.durations[i] == nil {
				r.durations[i] = lazyObserver{durations, r.key, modes[i]}
			}
		}
		for _, codes := range [][]int{startCodes, methodStartCodes[method]} {
			for _, code := range codes {
				r.code(m.requests, code)
			}
		}
		m.routes[r.key] = r
		return r
	}
	m.other = add("other", unmatched)
	err := chi.Walk(s.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		add(method, route)
		return nil
	})
	return m, err
}

// lazyObserver makes its histogram with its first observation.
type lazyObserver struct {
	vec  *prometheus.HistogramVec
	key  routeKey
	mode string
}

func (l lazyObserver) Observe(v float64) {
	l.vec.WithLabelValues(l.key.method, l.key.route, l.mode).Observe(v)
}

// The reasons of rejections, as in the rejections of this package.
const (
	refusedRate    = "rate"
	refusedBodies  = "bodies"
	refusedUploads = "uploads"
	refusedReaders = "readers"
	refusedStreams = "streams"
)

// refuse counts an error if it is a refusal of this package's.
func (m *metrics) refuse(err error) {
	if r, ok := errors.AsType[*job.Rejection](err); ok && m.rejections[r.Reason] != nil {
		m.rejections[r.Reason].Inc()
	}
}

// observe counts an answered request.
func (m *metrics) observe(x *requestState, took time.Duration) {
	r := m.routes[routeKey{x.req.Method, x.req.Pattern}]
	if r == nil {
		r = m.other
		if x.req.Method == http.MethodHead && x.req.Pattern != "" {
			r = m.routes[routeKey{http.MethodGet, x.req.Pattern}]
		}
	}
	r.durations[x.mode].Observe(took.Seconds())
	r.code(m.requests, x.status).Inc()
}

func (r *routeMetrics) code(requests *prometheus.CounterVec, code int) prometheus.Counter {
	if code < 100 || code >= 100+len(r.codes) {
		code = http.StatusInternalServerError
	}
	if c := r.codes[code-100].Load(); c != nil {
		return *c
	}
	c := requests.WithLabelValues(r.key.method, r.key.route, strconv.Itoa(code))
	r.codes[code-100].Store(&c)
	return c
}
