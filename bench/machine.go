package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"gather/bench/render"
)

// machine describes the machine, with the cost of an fsync, which bounds every durable write.
func machine() (string, error) {
	cpu := field("/proc/cpuinfo", "model name")
	memory := field("/proc/meminfo", "MemTotal")
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	p50, p99, err := fsyncCost()
	if err != nil {
		return "", fmt.Errorf("measure fsync: %w", err)
	}
	return fmt.Sprintf("%d cores of %s, memory %s, Linux %s, %s %s/%s. Client and server share the cores. Appending 4 KiB and "+
		"fsync: p50 %s, p99 %s.", runtime.NumCPU(), cpu, memory, strings.TrimSpace(string(kernel)), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, render.Duration(p50), render.Duration(p99)), nil
}

// field returns the value of "name: value" in a file of /proc.
func field(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// fsyncCost measures an fsync on the file system of the servers' data.
func fsyncCost() (p50, p99 time.Duration, err error) {
	dir, err := os.MkdirTemp("", "gather-bench-")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	block := make([]byte, 4096)
	took := make([]time.Duration, 200)
	for i := range took {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], nil
}
