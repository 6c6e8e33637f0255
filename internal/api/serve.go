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

// statusClientGone is the status in metrics and logs when the client disconnected before the response.
const statusClientGone = 499

// A mode classifies responses by their expected duration, so that the latencies of waits and streams are separate.
type mode uint8

const (
	modePlain mode = iota
	modeWait
	modeStream
)

var modes = [...]string{modePlain: "plain", modeWait: "wait", modeStream: "stream"}

var routes = sync.Pool{New: func() any { return chi.NewRouteContext() }}

var noSniff = []string{"nosniff"}

// ServeHTTP serves a request: count, request id, recover, body deadline, authenticate, route; finally log and observe.
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
		x.route.RouteMethod = http.MethodGet // net/http omits the body
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

// finish completes a request; cause is the value of a panic, or nil.
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
				s.fail(x, x.req, &problem{entry: internalError, detail: "The server failed to handle the request. Its log has the cause under the request id."})
			} else {
				x.status = http.StatusInternalServerError
			}
		}
	}
	x.releaseBody()
	if x.mode == modeStream && !aborted {
		x.setWriteDeadline() // the last write deadline may have passed
	}
	x.endEncoding(aborted)
	took := time.Since(x.started)
	x.endTrace()
	s.metrics.observe(x, took)
	s.logAccess(x, took)
	routes.Put(x.route)
	if aborted {
		panic(http.ErrAbortHandler)
	}
}

// logAccess logs errors and slow requests; with an access log, every request. It omits the query, the part of a URL in
// which clients send secrets.
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
	log.LogAttrs(x, level, what, append(attrs, x.traceAttr())...) //nolint:sloglint // a constant
}

// clientIP returns the address of the connection or, behind trusted proxies, the last address in X-Forwarded-For that
// is not a trusted proxy.
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

// publicPaths are the paths, and prefixes of paths, that need no API key.
var publicPaths = struct{ paths, prefixes []string }{
	[]string{"/", "/livez", "/readyz", "/openapi.yaml", "/openapi.json", "/docs", "/ui"}, []string{"/docs/", "/problems/", "/ui/"},
}

func isPublic(path string) bool {
	return slices.Contains(publicPaths.paths, path) ||
		slices.ContainsFunc(publicPaths.prefixes, func(b string) bool { return strings.HasPrefix(path, b) })
}

// authenticate sets the principal of a request. It rejects requests without a valid key or, on a server without keys,
// from a foreign host or page.
func (s *server) authenticate(x *requestState) error {
	if s.Tenants == nil {
		x.principal = tenant.Principal{Tenant: tenant.Default, Operator: true}
		if path := x.req.URL.Path; path == "/livez" || path == "/readyz" {
			return nil // probes of load balancers have any Host
		}
		return s.Hosts.check(x.req)
	}
	if isPublic(x.req.URL.Path) {
		return nil
	}
	scheme, key, _ := strings.Cut(x.req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return &problem{entry: unauthenticated, detail: "Send your API key as: Authorization: Bearer gather_..."}
	}
	principal, ok := s.Tenants.Authenticate(strings.TrimSpace(key))
	if !ok {
		return &problem{entry: unauthenticated, detail: "Invalid API key."}
	}
	x.principal = principal
	return nil
}

// errRevoked ends a wait or a stream whose API key was revoked after the request was accepted.
var errRevoked = &problem{entry: unauthenticated, detail: "The API key was revoked."}

// revoked reports whether the request's API key has been revoked since.
func (x *requestState) revoked() bool {
	select {
	case <-x.principal.Revoked:
		return true
	default:
		return false
	}
}

func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	other := map[string]string{"/docs/": "../docs", "/ui": "ui/"}[r.URL.Path]
	if other != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		_ = requestStateOf(r.Context()).redirect(http.StatusPermanentRedirect, other)
		return
	}
	s.fail(w, r, &problem{entry: noSuchResource, detail: "No resource has this path. /docs lists the operations."})
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
	if len(allow) == 0 { // the path does not exist either
		s.notFound(w, r)
		return
	}
	list := strings.Join(allow, ", ")
	requestStateOf(r.Context()).set("Allow", list)
	s.fail(w, r, &problem{entry: methodNotAllowed, detail: "Allowed methods: " + list + "."})
}

// routeOf returns the pattern of the request's route.
func routeOf(r *http.Request) string {
	if r.Pattern == "" {
		return unmatched
	}
	return r.Pattern
}
