package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gather/internal/cli"
)

// logger returns a logger that writes JSON, or text on a terminal. Durations have a unit, long texts are truncated.
func (c *serveCmd) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel.level, ReplaceAttr: logAttr}
	if c.LogFormat.text == "text" || c.LogFormat.text == "auto" && cli.IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// Bounds of one text in the log, in bytes, because clients control the length of paths and errors.
const (
	maxLogText  = 512
	maxLogStack = 16 << 10
)

// logAttr implements slog.HandlerOptions.ReplaceAttr.
func logAttr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value; v.Kind() {
	case slog.KindDuration:
		a.Value = slog.StringValue(v.Duration().String())
	case slog.KindString:
		most := maxLogText
		if a.Key == "stack" {
			most = maxLogStack
		}
		a.Value = slog.StringValue(truncate(v.String(), most))
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			a.Value = slog.StringValue(truncate(err.Error(), maxLogText))
		}
	default:
	}
	return a
}

// truncate shortens a text to a number of bytes.
func truncate(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + fmt.Sprintf("... (%d bytes)", len(text))
}

// Bounds of a limitedHandler: the burst and the rate (per second) of records with one message, level and tenant, and
// the number of such combinations with their own limit.
const (
	logBurst   = 100
	logRate    = rate.Limit(1)
	maxLogKeys = 1000
)

// limitedHandler limits how often one message is logged for one tenant, so that no client can fill the log or suppress
// records about others. The next record of a message has the number of suppressed ones as omitted. Debug records are
// not limited.
type limitedHandler struct {
	next   slog.Handler
	limits *logLimits
	// tenant is the tenant in WithAttrs.
	tenant string
}

type logLimits struct {
	mu   sync.Mutex
	keys map[logKey]*logLimit
}

type logKey struct {
	level           slog.Level
	message, tenant string
}

type logLimit struct {
	*rate.Limiter
	omitted int
}

func newLimitedHandler(next slog.Handler) *limitedHandler {
	return &limitedHandler{next: next, limits: &logLimits{keys: make(map[logKey]*logLimit)}}
}

// Enabled implements slog.Handler.
func (h *limitedHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *limitedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.next = h.next.WithAttrs(attrs)
	for _, a := range attrs {
		with.setTenant(a)
	}
	return &with
}

// WithGroup implements slog.Handler.
func (h *limitedHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.next = h.next.WithGroup(name)
	return &with
}

// setTenant takes the tenant from an attribute.
func (h *limitedHandler) setTenant(a slog.Attr) bool {
	if a.Key == "tenant" {
		h.tenant = a.Value.String()
	}
	return true
}

// Handle implements slog.Handler.
func (h *limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return h.next.Handle(ctx, r)
	}
	scoped := *h
	r.Attrs(scoped.setTenant)
	omitted, ok := h.limits.allow(logKey{r.Level, r.Message, scoped.tenant}, r.Time)
	if !ok {
		return nil
	}
	if omitted > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("omitted", omitted))
	}
	return h.next.Handle(ctx, r)
}

// allow reports whether a record may be logged, and how many were suppressed since the last one.
func (l *logLimits) allow(key logKey, now time.Time) (omitted int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.keys[key]
	if limit == nil {
		if len(l.keys) >= maxLogKeys {
			key = l.makeRoom(key, now)
			limit = l.keys[key]
		}
		if limit == nil {
			limit = &logLimit{Limiter: rate.NewLimiter(logRate, logBurst)}
			l.keys[key] = limit
		}
	}
	if !limit.AllowN(now, 1) {
		limit.omitted++
		return 0, false
	}
	omitted, limit.omitted = limit.omitted, 0
	return omitted, true
}

// makeRoom removes keys that have not been logged recently. If there are none, it returns the key of a limit that
// further keys share.
func (l *logLimits) makeRoom(key logKey, now time.Time) logKey {
	for k, limit := range l.keys {
		if limit.TokensAt(now) >= logBurst && limit.omitted == 0 {
			delete(l.keys, k)
		}
	}
	if len(l.keys) < maxLogKeys {
		return key
	}
	return logKey{level: key.level}
}
