package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/job"
)

// An import repeats a record that the cluster cannot store for the time being, up to its patience, and no other.
func TestImportAttempts(t *testing.T) {
	temporary := &job.Rejection{Err: job.ErrStorage, Detail: "stalled", RetryAfter: time.Second}
	array := fmt.Errorf("%w: the upload took too long", job.ErrStorage)
	final := &job.Rejection{Err: job.ErrStorage, Detail: "the log is lost"}
	for _, tt := range []struct {
		name     string
		patience time.Duration
		outcomes []error // of the attempts; the last one repeats
		want     error
		attempts int
	}{
		{"a job", importPatience, []error{temporary, temporary, nil}, nil, 3},
		{"an array", importPatience, []error{array, nil}, nil, 2},
		{"an attempt took effect although its response was lost", importPatience, []error{temporary, job.ErrExists}, nil, 2},
		{"it exists", importPatience, []error{job.ErrExists}, job.ErrExists, 1},
		{"a lost log", importPatience, []error{final}, job.ErrStorage, 1},
		{"an invalid job", importPatience, []error{job.ErrCorrupt}, job.ErrCorrupt, 1},
		{"never available", importPatience, []error{temporary}, job.ErrStorage, int(importPatience/time.Second) + 1},
		{"a data directory", 0, []error{temporary}, job.ErrStorage, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				r := newImportRunner(t.Context(), nil, &destination{patience: tt.patience}, &out)
				defer r.cancel(nil)
				attempts := 0
				err := r.attempt(func() error {
					attempts++
					return tt.outcomes[min(attempts, len(tt.outcomes))-1]
				})
				if !errors.Is(err, tt.want) || attempts != tt.attempts {
					t.Errorf("got %v after %d attempts, want %v after %d", err, attempts, tt.want, tt.attempts)
				}
				if waited := attempts > 5; strings.Contains(out.String(), "trying again: "+temporary.Error()) != waited {
					t.Errorf("got the output %q; want the reason in it if attempts take longer than %s", &out, reportInterval)
				}
			})
		})
	}
}
