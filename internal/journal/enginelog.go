package journal

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// engineLogger is the logger of Pebble.
type engineLogger struct{ j *Journal }

// Infof implements pebble.Logger.
func (l engineLogger) Infof(format string, args ...any) {
	if l.j.log.Enabled(context.Background(), slog.LevelDebug) {
		l.j.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
	}
}

// Errorf implements pebble.Logger.
func (l engineLogger) Errorf(format string, args ...any) {
	if l.j.fs.Off() {
		return // errors of a file system that is off are expected
	}
	l.j.log.Error("pebble", "error", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. It marks the engine as failed and returns, although Pebble expects it to end the process:
// nothing more is written, submissions are rejected, and Ready reports that a restart is needed. Jobs can still be read, and
// an orchestrator restarts the process at a time of its choice. Pebble calls it for errors of its own state and for missing
// tables; errors of the log and the manifest are retried by package retryfs.
func (l engineLogger) Fatalf(format string, args ...any) {
	if l.j.fs.Off() {
		return
	}
	l.j.markFailed(fmt.Errorf(format, args...))
}

// markFailed records that Pebble has failed; nothing is written from then on.
func (j *Journal) markFailed(err error) {
	if j.health.set(issueEngine, fmt.Errorf("the storage engine has failed, a restart is needed: %w", err)) {
		j.log.Error("the storage engine has failed; nothing is written until a restart", "error", err)
		j.health.check.Notify()
	}
}

// emptyFlush is the text of Pebble's error for a flush without data, which Pebble does not export.
const emptyFlush = "pebble: empty table"

// listener returns the callbacks for Pebble's events. They must not call Pebble, which holds locks during some of them.
func (j *Journal) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if !j.fs.Off() {
				j.met.background.Add(1)
				j.log.Warn("pebble will try again", "error", err)
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			if j.fs.Off() {
				return // a file that was never written is missing
			}
			j.met.background.Add(1)
			j.log.Error("the data directory is damaged", "error", info.Details)
		},
		FlushEnd: func(info pebble.FlushInfo) {
			err := info.Err
			if err != nil && err.Error() == emptyFlush {
				err = nil
			}
			if j.health.set(issueFlush, err) {
				j.health.check.Notify()
			}
		},
	}
}
