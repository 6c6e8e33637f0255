package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// service is a running server on a port of loopback that it chose.
type service struct {
	cmd *exec.Cmd
	dir string
	url string
}

// startService returns when the server serves.
func startService(ctx context.Context, path string, args ...string) (*service, error) {
	dir, err := os.MkdirTemp("", "gather-sums-")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append(args,
		"--listen=127.0.0.1:0", "--metrics-listen=", "--log-format=json", "--data-dir="+filepath.Join(dir, "data"))...)
	s := &service{cmd: cmd, dir: dir}
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	log := bufio.NewReader(stderr)
	var seen bytes.Buffer
	for s.url == "" {
		line, err := log.ReadBytes('\n')
		seen.Write(line)
		if err != nil {
			s.stop()
			return nil, fmt.Errorf("the server ended:\n%s", &seen)
		}
		var msg struct{ Msg, API string }
		if json.Unmarshal(line, &msg) == nil && msg.Msg == "serving" {
			s.url = "http://" + msg.API
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the process
	return s, nil
}

// stop ends the server and removes its data.
func (s *service) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait()
	kill.Stop()
	_ = os.RemoveAll(s.dir)
}

// store uploads an array.
func (s *service) store(ctx context.Context, f file) error {
	body, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url+"/v1/arrays/"+f.name, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-npy")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode > http.StatusCreated {
		return fmt.Errorf("store %s: got status %d: %.300s", f.name, resp.StatusCode, text)
	}
	return nil
}

// finished has the fields of a finished job that are used here.
type finished struct {
	ID      string          `json:"id"`
	State   string          `json:"state"`
	Result  json.RawMessage `json:"result"`
	Details struct {
		Hex string `json:"hex"`
	} `json:"details"`
}

// client keeps one connection, as a client that submits job after job does.
var client = &http.Client{Transport: &http.Transport{}}

// sum submits a sum and returns when the answer with its result, which is on disk by then, was read. fields are those
// of the job beside its kind, as JSON.
func (s *service) sum(ctx context.Context, fields string) (finished, time.Duration, error) {
	kind := "array_sum"
	if strings.Contains(fields, `"ops"`) {
		kind = "array_reduce"
	}
	return s.run(ctx, kind, fields)
}

// run is sum for a kind.
func (s *service) run(ctx context.Context, kind, fields string) (finished, time.Duration, error) {
	body := `{"kind":"` + kind + `",` + fields + `}`
	began := time.Now()
	f, err := s.send(ctx, http.MethodPost, "/v1/jobs", body)
	for err == nil && (f.State == "queued" || f.State == "running") {
		f, err = s.send(ctx, http.MethodGet, "/v1/jobs/"+f.ID, "")
	}
	took := time.Since(began)
	if err == nil && f.State != "succeeded" {
		err = fmt.Errorf("it %s", f.State)
	}
	if err != nil {
		return f, took, fmt.Errorf("%s: %w", body, err)
	}
	return f, took, nil
}

// send sends a request that waits for the end of a job.
func (s *service) send(ctx context.Context, method, path, body string) (f finished, err error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return f, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "wait=60")
	resp, err := client.Do(req)
	if err != nil {
		return f, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return f, err
	}
	if err = json.Unmarshal(data, &f); err != nil || resp.StatusCode > http.StatusAccepted {
		return f, fmt.Errorf("got status %d: %.300s", resp.StatusCode, data)
	}
	return f, nil
}
