package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"gather/bench/machine"
	"gather/bench/render"
)

// describe describes the machine, with the cost of an fsync, which bounds every durable write.
func describe() (string, error) {
	cpu := machine.Field("/proc/cpuinfo", "model name")
	memory := machine.Field("/proc/meminfo", "MemTotal")
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	p50, p99, err := machine.Fsync()
	if err != nil {
		return "", fmt.Errorf("measure fsync: %w", err)
	}
	return fmt.Sprintf("%d cores of %s, memory %s, Linux %s, %s %s/%s. Client and server share the cores. Appending 4 KiB and "+
		"fsync: p50 %s, p99 %s.", runtime.NumCPU(), cpu, memory, strings.TrimSpace(string(kernel)), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, render.Duration(p50), render.Duration(p99)), nil
}
