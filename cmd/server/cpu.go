package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// availableCPUs is the number of CPUs that the process may use, by its affinity and the quota of its cgroup. It is read
// before newServer increases GOMAXPROCS.
var availableCPUs = runtime.GOMAXPROCS(0)

// registerCPU registers the metrics of the CPUs that the process may use.
func registerCPU(reg prometheus.Registerer) {
	f := promauto.With(reg)
	f.NewGauge(prometheus.GaugeOpts{
		Name: "gather_cpus", Help: "CPUs that the process may use, by its affinity and the quota of its cgroup.",
	}).Set(float64(availableCPUs))
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "gather_cpu_throttled_seconds_total",
		Help: "Time for which the kernel stopped the process because the CPU quota of its cgroup was used up; 0 without a quota.",
	}, func() float64 { return throttledSeconds("/") })
}

// throttledSeconds reads cpu.stat of the process's cgroup, version 2 or 1, below a root directory; 0 without one.
func throttledSeconds(root string) float64 {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(groups)) {
		// A line is "hierarchy:controllers:path"; version 2 has hierarchy 0 and no controllers.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			var dir string
			switch {
			case fields[0] == "0":
				dir = "."
			case controller == "cpu":
				dir = fields[1]
			default:
				continue
			}
			// In a container the path is relative to the namespace, whose root is mounted.
			for _, path := range []string{fields[2], "/"} {
				stat, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup", dir, path, "cpu.stat"))
				if err != nil {
					continue
				}
				if v, ok := parseThrottled(string(stat)); ok {
					return v
				}
			}
		}
	}
	return 0
}

// parseThrottled returns the throttled time of a cpu.stat in seconds; false if it has none.
func parseThrottled(stat string) (float64, bool) {
	for line := range strings.Lines(stat) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		unit := map[string]float64{"throttled_usec": 1e6, "throttled_time": 1e9}[name]
		if v, err := strconv.ParseUint(value, 10, 64); err == nil && unit > 0 {
			return float64(v) / unit, true
		}
	}
	return 0, false
}
