package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// target is a measured server process, on ports of loopback that it chose.
type target struct {
	cmd      *exec.Cmd
	dir      string
	api, ops string
}

// start runs a server and returns when it serves. Both the real server and this program's own (serve.go) log where.
func start(ctx context.Context, path string, args ...string) (*target, error) {
	dir, err := os.MkdirTemp("", "gather-bench-")
	if err != nil {
		return nil, err
	}
	return startIn(ctx, dir, path, args...)
}

// startIn starts a server with its data in a directory that the target then owns.
func startIn(ctx context.Context, dir, path string, args ...string) (*target, error) {
	cmd := exec.CommandContext(ctx, path, append(args,
		"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--log-format=json", "--data-dir="+filepath.Join(dir, "data"))...)
	t := &target{cmd: cmd, dir: dir}
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	log := bufio.NewReader(stderr)
	var seen bytes.Buffer
	for t.api == "" {
		line, err := log.ReadBytes('\n')
		seen.Write(line)
		if err != nil {
			t.stop()
			return nil, fmt.Errorf("the server ended:\n%s", &seen)
		}
		var msg struct {
			Msg     string `json:"msg"`
			API     string `json:"api"`
			Metrics string `json:"metrics"`
		}
		if json.Unmarshal(line, &msg) == nil && msg.Msg == "serving" {
			t.api, t.ops = msg.API, msg.Metrics
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the process
	return t, nil
}

// stop ends the server and removes its data.
func (t *target) stop() {
	t.end(syscall.SIGTERM)
	_ = os.RemoveAll(t.dir)
}

// end ends the server and leaves its data.
func (t *target) end(signal syscall.Signal) {
	if t.cmd.ProcessState != nil {
		return
	}
	_ = t.cmd.Process.Signal(signal)
	kill := time.AfterFunc(30*time.Second, func() { _ = t.cmd.Process.Kill() })
	_ = t.cmd.Wait()
	kill.Stop()
}

// metric reads a metric without labels.
func (t *target) metric(name string) (float64, error) {
	w, err := dial(t.ops)
	if err != nil {
		return 0, err
	}
	defer func() { _ = w.Close() }()
	var body bytes.Buffer
	if _, err := w.roundTrip(request("GET", "/metrics", ""), &body); err != nil {
		return 0, err
	}
	for line := range strings.Lines(body.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// drained waits until every job has ended and returns how long that took.
func (t *target) drained(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for {
		n, err := t.metric("gather_admitted_jobs")
		if err != nil || n == 0 {
			return time.Since(began), err
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%g jobs have not ended: %w", n, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// peakMemory returns the peak resident memory of the process, in bytes.
func (t *target) peakMemory() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("the kernel does not tell VmHWM")
}

// jobView has the fields of a job that the scenarios read.
type jobView struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Result   any    `json:"result"`
	Progress struct {
		Completed int64 `json:"completed"`
	} `json:"progress"`
}

// get sends a GET request on a connection of its own and returns the body.
func (t *target) get(path string, want int) ([]byte, error) {
	w, err := dial(t.api)
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	var body bytes.Buffer
	status, err := w.roundTrip(request("GET", path, ""), &body)
	if err == nil && status != want {
		err = fmt.Errorf("%s: got status %d, want %d: %.300s", path, status, want, &body)
	}
	return body.Bytes(), err
}

// sizeOf returns the size of all files of a directory; a file that is removed meanwhile counts nothing.
func sizeOf(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				total += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// send sends one request on a connection of its own and reads a job. Any other status than the expected ones is an error.
func (t *target) send(req []byte, want ...int) (jobView, error) {
	var v jobView
	w, err := dial(t.api)
	if err != nil {
		return v, err
	}
	defer func() { _ = w.Close() }()
	var body bytes.Buffer
	status, err := w.roundTrip(req, &body)
	if err != nil {
		return v, err
	}
	if !slices.Contains(want, status) {
		return v, fmt.Errorf("got status %d, want %d: %.300s", status, want, body.String())
	}
	return v, json.Unmarshal(body.Bytes(), &v)
}
