package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// # Steps of the wall clock
//
// A server whose wall clock steps alone is built with an overlay on two packages: time.Now adds a number of seconds, which main
// reads from a file every few milliseconds. The monotonic clock is left as it is, as when the clock of a machine is set.

// clockVariable is the environment variable with the name of that file.
const clockVariable = "CRASH_CLOCK"

const (
	clockTime = `package time

import "sync/atomic"

var crashStep atomic.Int64

// SetCrashStep sets the number of seconds by which the wall clock is ahead.
func SetCrashStep(seconds int64) { crashStep.Store(seconds) }
`
	clockMain = `package main

import (
	"os"
	"strconv"
	"time"
)

func init() {
	set := func() {
		text, err := os.ReadFile(os.Getenv("` + clockVariable + `"))
		if seconds, parseErr := strconv.ParseInt(string(text), 10, 64); err == nil && parseErr == nil {
			time.SetCrashStep(seconds)
		}
	}
	set()
	go func() {
		for range time.Tick(5 * time.Millisecond) {
			set()
		}
	}()
}
`
)

// clockOverlay writes the overlay for go build, and returns the name of its file.
func clockOverlay(ctx context.Context, dir string) (string, error) {
	env := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "go", args...).Output()
		return string(bytes.TrimSpace(out)), err
	}
	goroot, err := env("env", "GOROOT")
	if err != nil {
		return "", err
	}
	server, err := env("list", "-f", "{{.Dir}}", "gather/cmd/server")
	if err != nil {
		return "", err
	}
	original := filepath.Join(goroot, "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const now = "	sec, nsec, mono := runtimeNow()\n"
	if bytes.Count(source, []byte(now)) == 0 {
		return "", fmt.Errorf("%s does not have %q: this version of Go has another time.Now", original, now)
	}
	replace := make(map[string]string)
	for name, content := range map[string][]byte{
		original: bytes.Replace(source, []byte(now), []byte(now+"	sec += crashStep.Load()\n"), 1),
		filepath.Join(goroot, "src", "time", "crash_step.go"): []byte(clockTime),
		filepath.Join(server, "crash_clock.go"):               []byte(clockMain),
	} {
		file := filepath.Join(dir, "overlay-"+filepath.Base(name))
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return "", err
		}
		replace[name] = file
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// stepClock sets the wall clock of a server by up to 40 hours forward or back while it runs, by up to an hour while it is down: a
// step forward is a downtime then, during which jobs may expire.
func (r *run) stepClock(ctx context.Context, p *process, f *fault) error {
	p.step += f.step(40 * time.Hour)
	if f.kind == clockKill {
		p.kill()
		p.step += f.step(time.Hour) - f.step(40*time.Hour)
	}
	seconds := strconv.FormatInt(int64(p.step/time.Second), 10)
	file := p.clock + ".new"
	if err := os.WriteFile(file, []byte(seconds), 0o600); err != nil {
		return err
	}
	if err := os.Rename(file, p.clock); err != nil {
		return err
	}
	if f.kind == clockKill {
		if err := r.restart(p); err != nil {
			return err
		}
	}
	return r.showsStep(ctx, p)
}

// showsStep waits until the Date of a server's responses shows the step of its clock.
func (r *run) showsStep(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("/livez"), http.NoBody)
		if err != nil {
			return err
		}
		resp, err := r.http.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		date, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil {
			return err
		}
		const late = 10 * time.Second
		if ahead := time.Until(date) - p.step; ahead.Abs() < late {
			return nil
		}
	}
}

// step returns a step of the clock within a limit in both directions.
func (f *fault) step(limit time.Duration) time.Duration {
	const lengths = 1500 * time.Millisecond // of faults
	return time.Duration(float64(limit) * (2*float64(f.length)/float64(lengths) - 1))
}
