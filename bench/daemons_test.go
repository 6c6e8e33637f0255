package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// running reports whether a process runs; one that has ended may still wait for its parent.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// startShell runs a script and returns what it printed.
func startShell(t *testing.T, d *daemons, script string) string {
	t.Helper()
	if err := d.run(exec.CommandContext(t.Context(), "sh", "-c", script), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(d.procs[len(d.procs)-1].log)
		if err != nil || time.Now().After(end) {
			t.Fatalf("the script printed nothing, %v", err)
		}
		if line, ok := strings.CutSuffix(string(text), "\n"); ok {
			return line
		}
	}
}

func TestDaemonsEnd(t *testing.T) {
	for name, script := range map[string]string{
		"with the child of a process": "sleep 1000 & echo $!; wait",
		"with what it leaves behind":  "sleep 1000 & echo $!",
	} {
		t.Run(name, func(t *testing.T) {
			d, err := newDaemons()
			if err != nil {
				t.Fatal(err)
			}
			child, err := strconv.Atoi(startShell(t, d, script))
			if err != nil {
				t.Fatal(err)
			}
			if !running(child) {
				t.Errorf("process %d does not run", child)
			}
			d.stop()
			for end := time.Now().Add(time.Minute); running(child); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("process %d runs after the end", child)
				}
			}
			if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
				t.Errorf("the directory is still there: %v", err)
			}
		})
	}
}

func TestDaemonsFail(t *testing.T) {
	d, err := newDaemons()
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop()
	fails := exec.CommandContext(t.Context(), "sh", "-c", "echo out of luck >&2; exit 3")
	if _, err := d.output(fails); err == nil || !strings.Contains(err.Error(), "exit status 3:\nout of luck") {
		t.Errorf("got %v, want the exit code and the output", err)
	}
	if out, err := d.output(exec.CommandContext(t.Context(), "echo", "fine")); err != nil || string(out) != "fine\n" {
		t.Errorf("got %q, %v; want %q", out, err, "fine\n")
	}
	if err := d.run(exec.CommandContext(t.Context(), "sh", "-c", "echo no port; exit 1"), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	err = d.listening(t.Context(), "127.0.0.1:"+strconv.Itoa(ports[0]))
	if err == nil || !strings.Contains(err.Error(), "sh ended:\nno port") {
		t.Errorf("got %v, want the output of the process that ended", err)
	}
}

func TestMissing(t *testing.T) {
	if got := needs("sh")(); got != "" {
		t.Errorf("sh: got %q", got)
	}
	if got, want := needs("no-such-program")(), "no-such-program is not installed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s := &suite{python: filepath.Join(t.TempDir(), "python")}
	if err := os.WriteFile(s.python, []byte("#!/bin/sh\n[ \"$2\" = 'import dask' ]\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := s.lacks("dask"); got != "" {
		t.Errorf("dask: got %q", got)
	}
	if got, want := s.lacks("dask", "celery"), s.python+" has no module celery"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFinished(t *testing.T) {
	for _, c := range []struct {
		response string
		want     int
		fails    bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"finished\":7}", 7, false},
		{"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 0, true},
	} {
		client, server := net.Pipe()
		w := reader(c.response)
		w.Conn = client
		go func() { _, _ = server.Read(make([]byte, 1000)) }() // ends with the pipe
		got, err := finished(w)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%q: got %d, %v; want %d, error: %t", c.response, got, err, c.want, c.fails)
		}
		_ = client.Close()
	}
}

// TestPython runs a program that takes longer than its limit, and one with a wrong result.
func TestPython(t *testing.T) {
	root := t.TempDir()
	s := &suite{python: filepath.Join(root, "python"), root: root}
	program := "#!/bin/sh\n[ $3 != 9 ] || sleep 1000\necho '{\"seconds\": 0.5, \"memory\": 7, \"result\": 5}'\n"
	if err := os.WriteFile(s.python, []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	p := allPrograms()[0] // whose result is n
	if got, err := s.python3(t.Context(), p, 5, time.Minute); err != nil || got != (programCost{500 * time.Millisecond, 7}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := s.python3(t.Context(), p, 4, time.Minute); err == nil || !strings.Contains(err.Error(), "result is 5, want 4") {
		t.Errorf("a wrong result: got %v", err)
	}
	if _, err := s.python3(t.Context(), p, 9, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
