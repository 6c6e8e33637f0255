package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// During the drain delay /readyz is 503 and everything else continues. The delay ends early when a listener fails.
func TestDrainDelay(t *testing.T) {
	c := parsed(t, "--listen", "127.0.0.1:0", "--metrics-listen", "", "--min-free-disk", "0", "--data-dir", t.TempDir(), "--drain-delay", "1h")
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	srv, err := newServer(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.run(ctx) }()
	url := "http://" + srv.apiListener.Addr().String()
	defer http.DefaultClient.CloseIdleConnections()
	send := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Prefer", "wait=30")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if status, text := send(http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Fatalf("before the stop: got %d %s, want 200", status, text)
	}
	cancel()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		status, text := send(http.MethodGet, "/readyz", "")
		if status == http.StatusServiceUnavailable {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the stop began: got %d %s, want 503", status, text)
		}
	}
	const want = `"values":[1,4]`
	if status, text := send(http.MethodPost, "/v1/jobs", `{"kind":"squares","numbers":[1,2]}`); !strings.Contains(text, want) {
		t.Errorf("during the delay: got %d %s, want a job with %s", status, text, want)
	}
	if err := srv.apiListener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "use of closed network connection") {
		t.Errorf("got %v, want the error of the listener", err)
	}
}
