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
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// # Steps of the wall clock
//
// A server whose wall clock steps alone is built with an overlay on two packages: time.Now adds a number of seconds, which package os
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
	clockOS = `package os

import "time"

func init() {
	name := Getenv("` + clockVariable + `")
	if name == "" {
		return
	}
	set := func() {
		text, err := ReadFile(name)
		if err != nil {
			return
		}
		seconds, sign := int64(0), int64(1)
		for _, c := range text {
			if c == '-' {
				sign = -1
			} else {
				seconds = 10*seconds + int64(c-'0')
			}
		}
		time.SetCrashStep(sign * seconds)
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

// A wallClock is that of a server, with a step from the real one.
type wallClock struct {
	file string
	step time.Duration
}

// variable is for the environment of the server.
func (c *wallClock) variable() string { return clockVariable + "=" + c.file }

// set sets the step.
func (c *wallClock) set(step time.Duration) error {
	c.step = step
	seconds := strconv.FormatInt(int64(step/time.Second), 10)
	if err := os.WriteFile(c.file+".new", []byte(seconds), 0o600); err != nil {
		return err
	}
	return os.Rename(c.file+".new", c.file)
}

// clockOverlay writes the overlay for go build, and returns the name of its file.
func clockOverlay(ctx context.Context, dir string) (string, error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	packages := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	original := filepath.Join(packages, "time", "time.go")
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
		filepath.Join(packages, "time", "crash_step.go"): []byte(clockTime),
		filepath.Join(packages, "os", "crash_clock.go"):  []byte(clockOS),
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
	step := f.step(40 * time.Hour)
	if f.kind == clockKill {
		if err := r.kill(p); err != nil {
			return err
		}
		step = f.step(time.Hour)
	}
	if err := p.clock.set(p.clock.step + step); err != nil {
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
		if ahead := time.Until(date) - p.clock.step; ahead.Abs() < late {
			return nil
		}
	}
}

// step returns a step of the clock within a limit in both directions.
func (f *fault) step(limit time.Duration) time.Duration {
	const lengths = 1500 * time.Millisecond // of faults
	return time.Duration(float64(limit) * (2*float64(f.length)/float64(lengths) - 1))
}
