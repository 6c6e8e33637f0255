package journal

import (
	"context"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// health says why the journal cannot take a submission.
type health struct {
	mu    sync.Mutex
	death error
}

func (h *health) die(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.death == nil {
		h.death = err
	}
}

func (h *health) dead() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.death
}

// Ready returns nil, or why the journal cannot take a submission now.
func (j *Journal) Ready() error {
	if j.closed.Load() {
		return ErrClosed
	}
	return j.health.dead()
}

func (j *Journal) refusal() error {
	if err := j.Ready(); err != nil {
		return storage("disk", err.Error(), j.c.RetryInterval)
	}
	return nil
}

func (j *Journal) runMonitor(ctx context.Context) { <-ctx.Done() }

type engineLogger struct{ j *Journal }

func (l engineLogger) Infof(format string, args ...any) {}
func (l engineLogger) Errorf(format string, args ...any) { l.j.log.Error(fmt.Sprintf(format, args...)) }

func (l engineLogger) Fatalf(format string, args ...any) {
	l.j.health.die(fmt.Errorf(format, args...))
}

func (j *Journal) listener() *pebble.EventListener { return nil }
