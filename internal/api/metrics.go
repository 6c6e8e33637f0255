package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"gather/internal/job"
)

// unmatched is the route label of requests without a route.
const unmatched = "unmatched"

// metrics are the metrics of the API. Labels are closed sets: route patterns, methods of the contract or "other",
// statuses.
type metrics struct {
	requests *prometheus.CounterVec
	inFlight prometheus.Gauge
	// rejections counts the requests that the API itself rejects, by reason. The executor counts its own rejections.
	rejections map[string]prometheus.Counter
	// routes has the metrics of each route and method, to avoid a label lookup per request.
	routes map[routeKey]*routeMetrics
	other  *routeMetrics
	// compressed counts compressed responses by coding.
	compressed map[string]prometheus.Counter
}

type routeKey struct{ method, route string }

type routeMetrics struct {
	key       routeKey
	durations [len(modes)]prometheus.Observer
	// codes has the counter of status i+100 after its first use.
	codes [500]atomic.Pointer[prometheus.Counter]
}

// startCodes are the statuses whose counters start at 0, for all methods and for some: the rate of a counter that
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

func newMetrics(reg prometheus.Registerer, s *server) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "gather_http_requests_total",
			Help: "HTTP requests served, by route pattern and status; 499: the client disconnected before the response.",
		}, []string{"method", "route", "code"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "gather_http_requests_in_flight",
			Help: "HTTP requests being served, including waits and streams.",
		}),
		rejections: make(map[string]prometheus.Counter),
		routes:     make(map[routeKey]*routeMetrics),
		compressed: make(map[string]prometheus.Counter),
	}
	rejections := f.NewCounterVec(prometheus.CounterOpts{
		Name: "gather_http_requests_rejected_total",
		Help: "Requests rejected before they reached the executor, by reason: rate, the tenant's rate limit; bodies, uploads and readers, a memory limit; streams, the limit of open streams.",
	}, []string{"reason"})
	for _, reason := range []string{rejectedRate, rejectedBodies, rejectedUploads, rejectedReaders, rejectedStreams} {
		m.rejections[reason] = rejections.WithLabelValues(reason)
	}
	compressed := f.NewCounterVec(prometheus.CounterOpts{
		Name: "gather_http_responses_compressed_total", Help: "Responses that were compressed, by content coding.",
	}, []string{"coding"})
	for _, c := range codings {
		m.compressed[c] = compressed.WithLabelValues(c)
	}
	durations := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "gather_http_request_duration_seconds",
		Help:    "Time from the request to the end of the response. Mode: plain; wait, with Prefer: wait; stream.",
		Buckets: requestBuckets,
	}, []string{"method", "route", "mode"})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_http_streams_open",
		Help: "Open requests that wait for a job or stream its events or results.",
	}, func() float64 { return float64(s.streams.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_http_streams_limit",
		Help: "The limit of open waits and streams.",
	}, func() float64 { return float64(s.MaxStreams) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gather_http_body_bytes_in_flight",
		Help: "Bytes of request bodies being read and processed.",
	}, func() float64 { return float64(s.bodies.inUse()) })
	add := func(method, route string) *routeMetrics {
		r := &routeMetrics{key: routeKey{method, route}}
		// Other modes are created on first use.
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
	for key := range s.operations() {
		route := key.route
		if route != "/" {
			route = strings.TrimSuffix(route, "/") // as chi reports patterns
		}
		add(key.method, route)
	}
	return m
}

// lazyObserver creates its histogram on the first observation.
type lazyObserver struct {
	vec  *prometheus.HistogramVec
	key  routeKey
	mode string
}

func (l lazyObserver) Observe(v float64) {
	l.vec.WithLabelValues(l.key.method, l.key.route, l.mode).Observe(v)
}

// The reasons of gather_http_requests_rejected_total.
const (
	rejectedRate    = "rate"
	rejectedBodies  = "bodies"
	rejectedUploads = "uploads"
	rejectedReaders = "readers"
	rejectedStreams = "streams"
)

// countRejection counts an error if it is a rejection of this package.
func (m *metrics) countRejection(err error) {
	if r, ok := errors.AsType[*job.Rejection](err); ok && m.rejections[r.Reason] != nil {
		m.rejections[r.Reason].Inc()
	}
}

// observe records a served request.
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
