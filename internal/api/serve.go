package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"gather/internal/job"
	"gather/internal/tenant"
)

// statusClientGone stands in metrics and logs for a client that went before it was answered.
const statusClientGone = 499

// A mode is the expected duration of an answer, so that latencies of waits are not mixed with those of other requests.
type mode uint8

const (
	modePlain mode = iota
	modeWait
	modeStream
)

var modes = [...]string{modePlain: "plain", modeWait: "wait", modeStream: "stream"}

var routes = sync.Pool{New: func() any { return chi.NewRouteContext() }}

var noSniff = []string{"nosniff"}

// ServeHTTP serves a request in this order: count, request id, recover, deadline of the body, authenticate, route; and
// in the end: log, observe.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &requestState{Context: r.Context(), w: w, srv: s, started: time.Now(), pace: pace{window: s.WriteTimeout}}
	if x.requestID = r.Header.Get("X-Request-Id"); !acceptRequestID(x.requestID) {
		x.requestID = newRequestID()
	}
	x.set("X-Request-Id", x.requestID)
	x.Context = s.startTrace(x, r)
	w.Header()["X-Content-Type-Options"] = noSniff
	x.route = routes.Get().(*chi.Context)
	x.route.Reset()
	x.route.Routes = s.router
	x.route.RoutePath = routePath(r.URL)
	x.route.RouteMethod = r.Method
	if r.Method == http.MethodHead {
		x.route.RouteMethod = http.MethodGet // net/http leaves the body out
	}
	x.req = r.WithContext(x)
	s.metrics.inFlight.Inc()
	defer func() { s.finish(x, recover()) }()
	if r.ContentLength != 0 {
		x.awaitBody()
	}
	if err := s.authenticate(x); err != nil {
		s.fail(x, x.req, err)
		return
	}
	if x.unread && !takesBody(r) {
		if err := s.discardBody(x, r); err != nil {
			s.fail(x, x.req, err)
			return
		}
	}
	s.router.ServeHTTP(x, x.req)
}

// finish ends a request; cause is the value of a panic, or nil.
func (s *server) finish(x *requestState, cause any) {
	defer s.metrics.inFlight.Dec()
	aborted := false
	if cause != nil {
		if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			aborted = true
		} else {
			s.log.LogAttrs(x, slog.LevelError, "panic", slog.String("request_id", x.requestID), x.traceAttr(),
				slog.String("panic", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack())))
			if aborted = x.wrote; !aborted {
				s.fail(x, x.req, &problem{row: internalError, detail: "The server failed to handle the request. Its log has the cause under the request id."})
			} else {
				x.status = http.StatusInternalServerError
			}
		}
	}
	x.release()
	if x.mode == modeStream && !aborted {
		x.setWriteDeadline() // the deadline of its last write may have passed since
	}
	took := time.Since(x.started)
	x.endTrace()
	s.metrics.observe(x, took)
	s.logAccess(x, took)
	routes.Put(x.route)
	if aborted {
		panic(http.ErrAbortHandler)
	}
}

// logAccess logs answers that are errors, and slow ones; with an access log, every answer. The query is left out: it is the
// part of a URL in which clients send secrets.
func (s *server) logAccess(x *requestState, took time.Duration) {
	log, level, what := s.log, slog.LevelDebug, "request"
	switch {
	case x.status == http.StatusServiceUnavailable:
		level, what = slog.LevelWarn, "request failed"
	case x.status >= http.StatusInternalServerError:
		level, what = slog.LevelError, "request failed"
	case x.status >= http.StatusBadRequest:
		level, what = slog.LevelInfo, "request failed"
	case took > s.SlowRequest && x.mode == modePlain:
		level, what = slog.LevelWarn, "slow request"
	}
	if s.AccessLog != nil {
		log, level = s.AccessLog, max(level, slog.LevelInfo)
	}
	if !log.Enabled(x, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 12),
		slog.String("request_id", x.requestID),
		slog.String("method", x.req.Method),
		slog.String("path", x.req.URL.EscapedPath()),
		slog.String("route", routeOf(x.req)),
		slog.Int("status", x.status),
		slog.Duration("duration", took),
		slog.String("tenant", x.principal.Tenant),
		slog.String("client", s.clientIP(x.req)))
	if id := x.jobID(); id != (job.ID{}) {
		attrs = append(attrs, slog.String("job_id", id.String()))
	}
	if x.problem != "" {
		attrs = append(attrs, slog.String("problem", x.problem))
	}
	log.LogAttrs(x, level, what, append(attrs, x.traceAttr())...) //nolint:sloglint // what is one of a few
}

// clientIP is the address of the connection or, when that is a trusted proxy, the last address in X-Forwarded-For that is
// not one.
func (s *server) clientIP(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	ip := peer.Addr().Unmap()
	if len(s.TrustedProxies) == 0 || !s.trusted(ip) {
		return ip.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, h := range slices.Backward(hops) {
		hop, err := netip.ParseAddr(strings.TrimSpace(h))
		if err != nil {
			break
		}
		if ip = hop.Unmap(); !s.trusted(ip) {
			break
		}
	}
	return ip.String()
}

func (s *server) trusted(ip netip.Addr) bool {
	for _, p := range s.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// open are the paths that need no API key, and the beginnings of such; everything else does.
var open = struct{ paths, beginnings []string }{
	[]string{"/", "/livez", "/readyz", "/openapi.yaml", "/openapi.json", "/docs"}, []string{"/docs/", "/problems/"},
}

func isOpen(path string) bool {
	return slices.Contains(open.paths, path) ||
		slices.ContainsFunc(open.beginnings, func(b string) bool { return strings.HasPrefix(path, b) })
}

// authenticate finds whose request it is, and refuses requests without a key or, to a server without keys, of a foreign
// page.
func (s *server) authenticate(x *requestState) error {
	if s.Tenants == nil {
		x.principal = tenant.Principal{Tenant: tenant.Default}
		if path := x.req.URL.Path; path == "/livez" || path == "/readyz" {
			return nil // probes of load balancers have any Host
		}
		return s.Hosts.check(x.req)
	}
	if isOpen(x.req.URL.Path) {
		return nil
	}
	scheme, key, _ := strings.Cut(x.req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return &problem{row: unauthenticated, detail: "Send your API key as: Authorization: Bearer gather_..."}
	}
	principal, ok := s.Tenants.Authenticate(strings.TrimSpace(key))
	if !ok {
		return &problem{row: unauthenticated, detail: "Invalid API key."}
	}
	x.principal = principal
	return nil
}

// errRevoked ends a wait or a stream whose API key was revoked after its request was accepted.
var errRevoked = &problem{row: unauthenticated, detail: "The API key was revoked."}

// revoked reports whether the API key of the request was revoked since.
func (x *requestState) revoked() bool {
	select {
	case <-x.principal.Revoked:
		return true
	default:
		return false
	}
}

// mayWrite refuses keys that may only read.
func (x *requestState) mayWrite() error {
	if x.principal.ReadOnly {
		return &problem{row: forbidden, detail: "This API key is read-only. Use another one to submit, cancel or delete."}
	}
	return nil
}

func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/docs/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Location", "../docs") // relative, for proxies that add a prefix to the path
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	s.fail(w, r, &problem{row: noSuchResource, detail: "No resource has this path. /docs lists the operations."})
}

var routedMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}

func (s *server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	allow := make([]string, 0, len(routedMethods)+1)
	for _, m := range routedMethods {
		if s.router.Match(chi.NewRouteContext(), m, routePath(r.URL)) {
			allow = append(allow, m)
			if m == http.MethodGet {
				allow = append(allow, http.MethodHead)
			}
		}
	}
	if len(allow) == 0 { // the router has neither the method nor the path
		s.notFound(w, r)
		return
	}
	list := strings.Join(allow, ", ")
	exchangeOf(r.Context()).set("Allow", list)
	s.fail(w, r, &problem{row: methodNotAllowed, detail: "Allowed methods: " + list + "."})
}

// routeOf is the pattern of the route that was taken, of a closed set.
func routeOf(r *http.Request) string {
	if r.Pattern == "" {
		return unmatched
	}
	return r.Pattern
}
