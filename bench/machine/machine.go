// Package machine reads from /proc what a measurement reports about the machine and its processes.
package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Field returns the value of "name: value" in a file of /proc, or "unknown".
func Field(file, name string) string {
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

// Fsync measures appending 4 KiB with fsync on the file system of temporary files.
func Fsync() (p50, p99 time.Duration, err error) {
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

// tick is the unit of CPU times in /proc.
const tick = 10 * time.Millisecond

// Processors returns the busy and the total time of all CPUs since the start of the machine.
func Processors() (busy, total time.Duration, err error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(line) {
		if i == 0 || i > 8 { // the name of the line; guests are part of user
			continue
		}
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		total += time.Duration(ticks) * tick
		if i != 4 && i != 5 { // idle and iowait
			busy += time.Duration(ticks) * tick
		}
	}
	if total == 0 {
		return 0, 0, errors.New("/proc/stat has no line of all CPUs")
	}
	return busy, total, nil
}

// Usage is what processes and all that they started have used since their start.
type Usage struct {
	CPU     time.Duration
	Written int64 // bytes, handed to block devices
	Memory  int64 // bytes, resident at the moment; pages that processes share count in each
	Files   int   // open descriptors
}

// Sub returns the usage between two moments; Memory and Files are the current ones.
func (u Usage) Sub(before Usage) Usage {
	u.CPU -= before.CPU
	u.Written -= before.Written
	return u
}

// process is a line of /proc.
type process struct {
	parent int
	cpu    time.Duration // with children that have ended
	memory int64
}

// UsageOf sums over the processes and their descendants. A process that ends meanwhile counts by its parent.
func UsageOf(pids ...int) (Usage, error) {
	all, err := processes()
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for pid, p := range all {
		if !descends(all, pid, pids) {
			continue
		}
		u.CPU += p.cpu
		u.Memory += p.memory
		written, err := strconv.ParseInt(Field(fmt.Sprintf("/proc/%d/io", pid), "write_bytes"), 10, 64)
		if err == nil {
			u.Written += written
		}
		if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			u.Files += len(files)
		}
	}
	return u, nil
}

// descends reports whether one of the roots is pid or an ancestor of it.
func descends(all map[int]process, pid int, roots []int) bool {
	for range len(all) {
		if slices.Contains(roots, pid) {
			return true
		}
		p, ok := all[pid]
		if !ok || p.parent == 0 {
			return false
		}
		pid = p.parent
	}
	return false
}

// processes reads all processes.
func processes() (map[int]process, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The name may have spaces and parentheses: the fields begin after the last one, with the third.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 22 {
			return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
		}
		number := func(i int) int64 {
			v, e := strconv.ParseInt(fields[i-3], 10, 64)
			err = errors.Join(err, e)
			return v
		}
		ticks := number(14) + number(15) + number(16) + number(17)
		p := process{parent: int(number(4)), cpu: time.Duration(ticks) * tick, memory: number(24) * int64(os.Getpagesize())}
		if err != nil {
			return nil, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		all[pid] = p
	}
	return all, nil
}
