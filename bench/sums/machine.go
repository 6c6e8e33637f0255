package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/cpu"
)

// machine describes the machine and the versions of the contenders.
func (l *lab) machine() (string, error) {
	about, err := l.numpyAndDask.call(request{Op: "about"})
	if err != nil {
		return "", err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	level := "pure Go"
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ:
		level = "AVX-512"
	case cpu.X86.HasAVX2:
		level = "AVX2"
	}
	return fmt.Sprintf("Measured on %s: %d cores of %s (%s, %s of cache), memory %s, Linux %s; %s %s/%s, gonum 0.17.0, %s.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), field("/proc/cpuinfo", "model name"), level,
		field("/proc/cpuinfo", "cache size"), field("/proc/meminfo", "MemTotal"), strings.TrimSpace(string(kernel)), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, about.Text), nil
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
