package machine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gather/bench/machine"
)

func TestUsageOf(t *testing.T) {
	pid := os.Getpid()
	before, err := machine.UsageOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	if before.Memory < 1<<20 || before.Files < 3 {
		t.Errorf("got %d bytes of memory and %d files, want more", before.Memory, before.Files)
	}
	// A child and a grandchild that use the CPU and the disk.
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	onDisk := fs.Type != unix.TMPFS_MAGIC
	file := filepath.Join(dir, "written")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; "+
		"dd if=/dev/zero of="+file+" bs=1M count=2 conv=fsync 2>/dev/null; echo done; read end'; true")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"running", "ended"} {
		if when == "ended" {
			_ = in.Close()
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		now, err := machine.UsageOf(pid)
		if err != nil {
			t.Fatal(err)
		}
		used := now.Sub(before)
		if used.CPU < 20*time.Millisecond {
			t.Errorf("%s: got %s of CPU, want that of the grandchild", when, used.CPU)
		}
		if used.Written < 2<<20 && onDisk {
			t.Errorf("%s: got %d bytes written, want the 2 MiB of the grandchild", when, used.Written)
		}
	}
}

func TestProcessors(t *testing.T) {
	busy, total, err := machine.Processors()
	if err != nil || busy <= 0 || total < busy {
		t.Errorf("got %s busy of %s, %v", busy, total, err)
	}
}

func TestFsync(t *testing.T) {
	if p50, p99, err := machine.Fsync(); err != nil || p50 <= 0 || p99 < p50 {
		t.Errorf("got %s and %s, %v", p50, p99, err)
	}
}
