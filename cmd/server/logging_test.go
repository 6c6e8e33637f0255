package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logRecords returns the lines of a log in JSON.
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

// Texts of clients and of errors are cut; durations have a unit.
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

// A flood of one message for one tenant is logged a hundred times, then once a second with the number that was left out;
// other messages, tenants and levels are not affected.
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
			t.Errorf("%d records of 10000 at once, want %d", n, logBurst)
		}
		log.Info("request failed", "tenant", "b")
		log.With("tenant", "c").WithGroup("g").Info("request failed", "x", 1)
		log.Warn("request failed", "tenant", "a")
		log.Info("job failed", "tenant", "a")
		log.Debug("request failed", "tenant", "a")
		log.With("tenant", "a").Info("request failed") // left out
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
		log.Info("request failed", "tenant", "new")
		if n := count(); n != 1 {
			t.Errorf("%d records an hour later, want 1", n)
		}
	})
}
