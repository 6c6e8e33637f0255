package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logRecords parses a JSON log.
func logRecords(t *testing.T, text string) (records []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		records = append(records, r)
	}
	return records
}

// Texts of clients and of errors are truncated; durations have a unit.
func TestLogAttributes(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	for _, format := range []string{"json", "text"} {
		var b bytes.Buffer
		log := (&serveCmd{LogFormat: logFormat{text: format}}).logger(&b)
		log.With("a", long).Info("x", "path", long, "error", errors.New(long), "stack", long, "duration", 1500*time.Microsecond)
		if n := b.Len(); n > 50_000 || n < maxLogStack {
			t.Errorf("%s: the line has %d bytes", format, n)
		}
		if text := b.String(); !strings.Contains(text, "1.5ms") || strings.Count(text, "... (200000 bytes)") != 4 {
			t.Errorf("%s: %s", format, text)
		}
	}
}

// A flood of one message for one tenant is logged a hundred times, then once a second with the number of suppressed
// records; other messages, tenants and levels are not affected.
func TestLimitedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		raw := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
		log := slog.New(newLimitedHandler(raw.Handler()))
		count := func() (n int) {
			n = strings.Count(b.String(), "\n")
			b.Reset()
			return n
		}
		for range 10_000 {
			log.Info("request failed", "tenant", "a")
		}
		if n := count(); n != logBurst {
			t.Errorf("%d records of 10000, want %d", n, logBurst)
		}
		log.Info("request failed", "tenant", "b")
		log.With("tenant", "c").WithGroup("g").Info("request failed", "x", 1)
		log.Warn("request failed", "tenant", "a")
		log.Info("job failed", "tenant", "a")
		log.Debug("request failed", "tenant", "a")
		log.With("tenant", "a").Info("request failed") // suppressed
		if n := count(); n != 5 {
			t.Errorf("%d records about others, want 5", n)
		}
		for range 60 {
			time.Sleep(time.Second)
			for range 10 {
				log.Info("request failed", "tenant", "a")
			}
		}
		records := logRecords(t, b.String())
		if len(records) != 60 || records[0]["omitted"] != 9901.0 || records[59]["omitted"] != 9.0 {
			t.Errorf("%d records in a minute, the first %v, the last %v; want 60 with 9901 and 9 omitted", len(records), records[0], records[len(records)-1])
		}
		b.Reset()
		for i := range 5 * maxLogKeys {
			log.Info("request failed", "tenant", fmt.Sprint("tenant ", i))
		}
		if n := count(); n > maxLogKeys+logBurst {
			t.Errorf("%d records about as many tenants, want at most %d", n, maxLogKeys+logBurst)
		}
		time.Sleep(time.Hour)
		for range logBurst {
			log.Info("request failed", "tenant", "new")
			log.Info("request failed", "tenant", "other")
		}
		if n := count(); n != 2*logBurst {
			t.Errorf("%d records about two tenants an hour later, want %d", n, 2*logBurst)
		}
		for range 2 * logBurst {
			log.Debug("request", "tenant", "a")
		}
		if n := count(); n != 2*logBurst {
			t.Errorf("%d debug records, want %d", n, 2*logBurst)
		}
	})
}

// A flood of failed requests does not fill the log of a server; an access log has every request, including successful
// ones.
func TestFailedRequestsInLog(t *testing.T) {
	const requests = 1000
	for _, access := range []bool{false, true} {
		t.Run(fmt.Sprintf("access log %t", access), func(t *testing.T) {
			c := parsed(t, "--listen", "127.0.0.1:0", "--metrics-listen", "", "--min-free-disk", "0", "--data-dir", t.TempDir(),
				"--log-format", "json", fmt.Sprintf("--access-log=%t", access))
			if err := c.validate(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var b bytes.Buffer
			srv, err := newServer(ctx, c, c.logger(&b))
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- srv.run(ctx) }()
			for _, path := range []string{"/nowhere", "/livez"} {
				for range requests {
					r := httptest.NewRequest(http.MethodGet, path, nil)
					r.Host = "localhost"
					srv.api.Handler.ServeHTTP(httptest.NewRecorder(), r)
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			failed, other := strings.Count(b.String(), `"path":"/nowhere"`), strings.Count(b.String(), `"path":"/livez"`)
			if access && (failed != requests || other != requests) {
				t.Errorf("got %d records of failed requests and %d of others, want %d each", failed, other, requests)
			}
			if !access && (failed < logBurst || failed == requests || other > 0) {
				t.Errorf("got %d records of failed requests and %d of others, want at least %d, not all %d, and 0", failed, other, logBurst, requests)
			}
		})
	}
}
