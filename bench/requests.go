package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gather/bench/machine"
	"gather/bench/render"
)

//go:embed requests.py
var requestsScript []byte

// upstream answers each request with its path, in a process that prints its address.
func upstream(out io.Writer) error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	})}
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = s.Close()
	}()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// startUpstream starts the process and returns its URL.
func (s *suite) startUpstream(ctx context.Context) (url string, stop func(), err error) {
	cmd := exec.CommandContext(ctx, s.self, "upstream")
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", nil, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	return "http://" + strings.TrimSpace(address), func() {
		_ = in.Close()
		_ = cmd.Wait()
	}, err
}

// cost is what many requests took.
type cost struct {
	Seconds, CPU float64
	Bytes        int64
	Succeeded    int
}

// requestConcurrency bounds the requests in flight of all clients.
const requestConcurrency = 100

// requests measures many GET requests to a server on loopback, against what people write them with.
func requests(ctx context.Context, s *suite) (render.Table, error) {
	t := render.Table{
		Header: []string{"GET requests, 100 at a time", "time", "against gather", "CPU", "peak memory"},
		Note: "To a small Go server in a process of its own, without a delay; the median of alternating rounds. gather: from POST to the last " +
			"item, read as a stream, each item on disk. The Python clients: a semaphore and gather, without the start of the interpreter. " +
			"hey keeps no response.",
	}
	url, stop, err := s.startUpstream(ctx)
	if err != nil {
		return t, err
	}
	defer stop()
	n := s.times(10_000, 500)
	clients := []struct {
		name string
		run  func(ctx context.Context, url string, n int) (cost, error)
	}{
		{"gather, http_batch", s.gatherRequests},
		{"aiohttp", func(ctx context.Context, url string, n int) (cost, error) {
			return s.pythonRequests(ctx, "aiohttp", url, n)
		}},
		{"httpx", func(ctx context.Context, url string, n int) (cost, error) {
			return s.pythonRequests(ctx, "httpx", url, n)
		}},
		{"hey", heyRequests},
	}
	costs := make([][]cost, len(clients))
	for range s.times(5, 1) {
		for i, c := range clients {
			got, err := c.run(ctx, url, n)
			if errors.Is(err, exec.ErrNotFound) {
				continue // left out
			}
			if err == nil && got.Succeeded != n {
				err = fmt.Errorf("%d of %d requests succeeded", got.Succeeded, n)
			}
			if err != nil {
				return t, fmt.Errorf("%s: %w", c.name, err)
			}
			costs[i] = append(costs[i], got)
		}
	}
	row := func(name string, all []cost, base float64) float64 {
		var seconds, cpu, memory []float64
		for _, c := range all {
			seconds, cpu, memory = append(seconds, c.Seconds), append(cpu, c.CPU), append(memory, float64(c.Bytes))
		}
		took := median(seconds)
		if base == 0 {
			base = took
		}
		t.Row(name, duration(took), render.Ratio(took, base), duration(median(cpu)), fmt.Sprintf("%.0f MB", median(memory)/1e6))
		return took
	}
	base := 0.0
	for i, c := range clients {
		name := fmt.Sprintf("%s requests by %s", render.Number(float64(n)), c.name)
		if len(costs[i]) == 0 {
			t.Row(name, "not installed", "", "", "")
			continue
		}
		if took := row(name, costs[i], base); i == 0 {
			base = took
		}
	}
	many := s.times(100_000, 1000)
	got, err := s.gatherRequests(ctx, url, many)
	if err == nil && got.Succeeded != many {
		err = fmt.Errorf("%d of %d requests succeeded", got.Succeeded, many)
	}
	if err == nil {
		row(fmt.Sprintf("%s requests by gather, http_batch", render.Number(float64(many))), []cost{got}, base)
	}
	return t, err
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// gatherRequests sends the requests with a fresh server.
func (s *suite) gatherRequests(ctx context.Context, url string, n int) (c cost, err error) {
	t, err := start(ctx, s.server, "--http-allow=127.0.0.1")
	if err != nil {
		return c, err
	}
	defer t.stop()
	before, err := machine.UsageOf(t.cmd.Process.Pid)
	if err != nil {
		return c, err
	}
	began := time.Now()
	j, err := t.send(request("POST", "/v1/jobs", fmt.Sprintf(`{"kind":"http_batch","request":{"url":"%s/{i}"},"range":{"stop":%d},`+
		`"concurrency":%d,"response_headers":[]}`, url, n, requestConcurrency)), 202)
	if err != nil {
		return c, err
	}
	w, err := dial(t.api)
	if err != nil {
		return c, err
	}
	defer func() { _ = w.Close() }()
	items := &itemCounter{}
	if _, err := w.roundTrip(request("GET", "/v1/jobs/"+j.ID+"/events", "", "Accept: application/x-ndjson"), items); err != nil {
		return c, err
	}
	c.Seconds, c.Succeeded = time.Since(began).Seconds(), items.n
	after, err := machine.UsageOf(t.cmd.Process.Pid)
	if err == nil {
		c.Bytes, err = t.peakMemory()
	}
	c.CPU = after.Sub(before).CPU.Seconds()
	return c, err
}

// itemCounter counts the items with status 200 in a stream of lines.
type itemCounter struct {
	rest []byte
	n    int
}

// Write implements io.Writer.
func (c *itemCounter) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	rest := c.rest
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			c.rest = append(c.rest[:0], rest...)
			return len(p), nil
		}
		rest = after
		if bytes.Contains(line, []byte(`"value":{"status":200,`)) {
			c.n++
		}
	}
}

// pythonRequests sends the requests with a library of Python. Its error wraps exec.ErrNotFound if that is missing.
func (s *suite) pythonRequests(ctx context.Context, library, url string, n int) (c cost, err error) {
	if exec.CommandContext(ctx, s.python, "-c", "import "+library).Run() != nil {
		return c, exec.ErrNotFound
	}
	dir, err := os.MkdirTemp("", "gather-bench-")
	if err != nil {
		return c, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	script := filepath.Join(dir, "requests_bench.py")
	if err := os.WriteFile(script, requestsScript, 0o600); err != nil {
		return c, err
	}
	var problem bytes.Buffer
	cmd := exec.CommandContext(ctx, s.python, script, library, url, strconv.Itoa(n), strconv.Itoa(requestConcurrency))
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return c, fmt.Errorf("%w: %s", err, problem.String())
	}
	return c, json.Unmarshal(out, &c)
}

// heyRequests sends the requests with hey.
func heyRequests(ctx context.Context, url string, n int) (c cost, err error) {
	cmd := exec.CommandContext(ctx, "hey", "-n", strconv.Itoa(n), "-c", strconv.Itoa(requestConcurrency), url+"/1")
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return c, err
	}
	c.Seconds = time.Since(began).Seconds()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.CPU, c.Bytes = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), usage.Maxrss<<10
	}
	for line := range strings.Lines(string(out)) { // "  [200]	10000 responses"
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "[200]"); ok {
			c.Succeeded, err = strconv.Atoi(strings.Fields(text)[0])
		}
	}
	return c, err
}
