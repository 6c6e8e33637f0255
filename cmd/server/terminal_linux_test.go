package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gather/client"
	"gather/internal/cli"
)

// terminal is a process on a terminal of its own.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	shown  strings.Builder
}

// onTerminal starts the server's binary with arguments.
func onTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slave.Close() }()
	x := &terminal{t: t, master: master, cmd: exec.CommandContext(context.Background(), build(t), args...)}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, slave, slave
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.cmd.Process.Kill() })
	return x
}

// await reads until the terminal shows a text.
func (x *terminal) await(text string) {
	x.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(x.shown.String(), text) {
		n, err := x.master.Read(buf)
		x.shown.Write(buf[:n])
		if err != nil {
			x.t.Fatalf("the terminal does not show %q: %v\n%s", text, err, x.shown.String())
		}
	}
}

func (x *terminal) press(keys string) {
	x.t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// exitCode reads to the end, and returns the exit code.
func (x *terminal) exitCode() int {
	buf := make([]byte, 4096)
	for {
		n, err := x.master.Read(buf)
		x.shown.Write(buf[:n])
		if err != nil { // EIO once the process has ended
			break
		}
	}
	err := x.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// TestCtrlC: Ctrl-C in 'submit --wait' asks whether to cancel the job, which goes on unless the answer is yes.
func TestCtrlC(t *testing.T) {
	const ctrlC = "\x03"
	srv, stop := launch(t, "--data-dir", filepath.Join(t.TempDir(), "data"))
	defer stop()
	t.Setenv("GATHER_SERVER", "http://"+srv.apiListener.Addr().String())
	for answer, want := range map[string]struct {
		code  int
		state client.State
	}{
		"y\n":  {cli.ExitCancelled, client.StateCancelled},
		"\n":   {cli.ExitInterrupted, client.StateRunning},
		"\x04": {cli.ExitInterrupted, client.StateRunning}, // end of input
	} {
		x := onTerminal(t, "submit", "sleep_batch", "--durations=1h", "--wait")
		x.await("running    [-----")
		x.press(ctrlC)
		x.await("? [y/N] ")
		x.press(answer)
		code := x.exitCode()
		if code != want.code {
			t.Errorf("answer %q: exit code %d, want %d:\n%s", answer, code, want.code, x.shown.String())
		}
		_, after, _ := strings.Cut(x.shown.String(), "Cancel job ")
		id, _, _ := strings.Cut(after, "?")
		if j := decoded[client.Job](t, command(t, exitOK, "get", id))[0]; j.State != want.state {
			t.Errorf("answer %q: the job is %s, want %s", answer, j.State, want.state)
		}
	}
	// A second Ctrl-C leaves the question; the job goes on.
	x := onTerminal(t, "submit", "sleep_batch", "--durations=1h", "--wait")
	x.await("running    [-----")
	x.press(ctrlC)
	x.await("? [y/N] ")
	x.press(ctrlC)
	if code := x.exitCode(); code == 0 {
		t.Errorf("a second Ctrl-C: exit code 0")
	}
	// Without a terminal a job goes on after an interrupt.
	cmd := exec.CommandContext(t.Context(), build(t), "watch", strings.TrimSpace(command(t, exitOK, "submit", "sleep_batch", "--durations=1h", "-o", "id")))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != cli.ExitInterrupted {
		t.Errorf("an interrupted watch ended with %v, want exit code %d", err, cli.ExitInterrupted)
	}
}
