package main

import (
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gather/internal/api"
)

// newRegistry returns a registry with the metrics of the process and the Go runtime.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsGC, collectors.MetricsMemory, collectors.MetricsScheduler)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{
		Name: "gather_build_info", Help: "Always 1; the labels describe the build.",
	}, []string{"version", "goversion", "goarch"}).WithLabelValues(version(), runtime.Version(), runtime.GOARCH).Set(1)
	registerCPU(reg)
	return reg
}

// opsHandler serves /metrics and profiles on a separate listener, and protects them from web pages. Beyond loopback
// /metrics accepts any Host, because a scraper may use any name of the server in its network.
func opsHandler(reg *prometheus.Registry, log *slog.Logger, hosts *api.Hosts) http.Handler {
	metrics := promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry: reg, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), EnableOpenMetrics: true,
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
	if hosts.Loopback {
		metrics = hosts.Protect(metrics)
	}
	profiles := http.NewServeMux()
	profiles.HandleFunc("GET /debug/pprof/", pprof.Index)
	profiles.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	profiles.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	profiles.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("/debug/pprof/", hosts.Protect(profiles))
	return withoutBody(mux)
}

// withoutBody rejects requests with a body, for which the server would wait without a deadline.
func withoutBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
			w.Header().Set("Connection", "close")
			http.Error(w, "a request body is not allowed here", http.StatusRequestEntityTooLarge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// buildVersion is set by the linker for a release.
var buildVersion string

// version returns the release, the revision recorded by the Go toolchain, or "devel".
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}
