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
		return // of a file system without power
	}
	l.j.log.Error("pebble", "error", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. Pebble expects it to end the process. Pebble calls it for errors of its own state,
// for tables that have vanished, and for errors of the log and the manifest, which package retryfs retries. The journal
// stops using Pebble instead: nothing more is written, submissions are rejected, and Ready reports that a restart is
// needed, so that running jobs can still be read, and an orchestrator restarts the process at a time of its choice.
func (l engineLogger) Fatalf(format string, args ...any) {
	if l.j.fs.Off() {
		return
	}
	l.j.die(fmt.Errorf(format, args...))
}

// die stops the use of Pebble.
func (j *Journal) die(err error) {
	if j.health.set(causeEngine, fmt.Errorf("the storage engine has failed, a restart is needed: %w", err)) {
		j.log.Error("the storage engine has failed; nothing is written until a restart", "error", err)
		j.health.wake()
	}
}

// emptyFlush is the error of Pebble for a flush without data. Pebble exports no name for it.
const emptyFlush = "pebble: empty table"

// listener takes the events of Pebble. Some come with its locks held, and none may call it.
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
			if j.health.set(causeFlush, err) {
				j.health.wake()
			}
		},
	}
}
