package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestThrottledSeconds reads cpu.stat of cgroup v2, v1, and a container's cgroup namespace.
func TestThrottledSeconds(t *testing.T) {
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   float64
	}{
		"v2":             {"0::/system.slice/gather.service\n", map[string]string{"system.slice/gather.service": "usage_usec 9\nthrottled_usec 1500000\n"}, 1.5},
		"v2 namespace":   {"0::/../../other\n", map[string]string{".": "nr_throttled 4\nthrottled_usec 250000\n"}, 0.25},
		"v1":             {"4:memory:/a\n3:cpu,cpuacct:/a\n0::/\n", map[string]string{"cpu,cpuacct/a": "nr_throttled 1\nthrottled_time 2000000000\n"}, 2},
		"v1 namespace":   {"3:cpu:/docker/x\n", map[string]string{"cpu": "throttled_time 500000000\n"}, 0.5},
		"no quota":       {"0::/\n", map[string]string{".": "usage_usec 9\n"}, 0},
		"no cgroup":      {"", nil, 0},
		"not a cgroup":   {"nonsense\n", nil, 0},
		"not a number":   {"0::/\n", map[string]string{".": "throttled_usec many\n"}, 0},
		"another's file": {"4:memory:/\n", map[string]string{"memory": "throttled_usec 7\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write := func(file, text string) {
				t.Helper()
				file = filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("proc/self/cgroup", c.groups)
			for dir, text := range c.files {
				write(filepath.Join("sys/fs/cgroup", dir, "cpu.stat"), text)
			}
			if got := throttledSeconds(root); got != c.want {
				t.Errorf("got %v s, want %v s", got, c.want)
			}
		})
	}
}
