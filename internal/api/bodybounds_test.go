package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gather/internal/api"
)

// Bodies are bounded, individually and together, whether or not their length is declared.
func TestBodyBounds(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.MaxBody, c.MaxBodies = 1000, 1500 })
	big := `{"kind":"squares","numbers":[` + strings.Repeat("1,", 600) + `1]}`
	if a := s.do("POST", "/v1/jobs", big); a.status != 413 {
		t.Errorf("%d", a.status)
	}
	chunked := func(body string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/jobs", struct{ *strings.Reader }{strings.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json; charset=UTF-8")
		return req
	}
	fits := `{"kind":"squares","numbers":[` + strings.Repeat("1,", 100) + `1]}`
	exact := fits + strings.Repeat(" ", 1000-len(fits))
	for body, status := range map[string]int{big: 413, fits: 202, exact: 202, exact + " ": 413} {
		resp, err := s.Client().Do(chunked(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("chunked: %d, want %d", resp.StatusCode, status)
		}
	}
	if held := s.gauge("gather_http_body_bytes_in_flight"); held != 0 {
		t.Errorf("%v bytes are held for nothing", held)
	}
	// A body that has not arrived keeps its reservation: the next one exceeds the budget.
	release := make(chan struct{})
	slow, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/jobs", waiting{release})
	if err != nil {
		t.Fatal(err)
	}
	slow.Header.Set("Content-Type", "application/json")
	slow.ContentLength = 1000
	done := make(chan error, 1)
	go func() {
		resp, err := s.Client().Do(slow)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	s.until(func() bool { return s.gauge("gather_http_body_bytes_in_flight") > 0 })
	a := s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":[`+strings.Repeat("1,", 300)+`1]}`)
	if a.status != 503 || !strings.Contains(string(a.body), "queue-full") {
		t.Errorf("%d: %s", a.status, a.body)
	}
	if held := s.gauge("gather_http_body_bytes_in_flight"); held != 1000 {
		t.Errorf("%v bytes are held", held)
	}
	close(release)
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// waiting is a body that ends when it is released.
type waiting struct{ released chan struct{} }

func (w waiting) Read([]byte) (int, error) {
	<-w.released
	return 0, fmt.Errorf("no more: %w", context.Canceled)
}
