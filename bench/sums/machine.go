package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/cpu"

	"gather/bench/machine"
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
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), machine.Field("/proc/cpuinfo", "model name"), level,
		machine.Field("/proc/cpuinfo", "cache size"), machine.Field("/proc/meminfo", "MemTotal"), strings.TrimSpace(string(kernel)), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, about.Text), nil
}
