package kind_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/kind"
	"gather/internal/npy"
)

// flaky is an array of four bytes, the only one, of which the first reads fail.
type flaky struct{ failures int }

// Open implements kind.Arrays.
func (f *flaky) Open(context.Context, string, chunked.Ref, []byte) (kind.Opened, error) {
	h := npy.Header{Type: npy.Type{Kind: 'u', Size: 1}, Shape: []int64{4}}
	return kind.Opened{Stored: chunked.Stored{Header: h, Reader: f}, Pin: []byte("{}"), Close: func() error { return nil }}, nil
}

// ReadAt implements io.ReaderAt.
func (f *flaky) ReadAt(p []byte, off int64) (int, error) {
	if f.failures--; f.failures >= 0 {
		return 0, fmt.Errorf("%w%s", job.ErrSource, strings.Repeat("é", job.MaxRetryError))
	}
	return copy(p, []byte{1, 2, 3, 4}[off:]), nil
}

func TestTaskRetry(t *testing.T) {
	for name, c := range map[string]struct {
		retry    string
		failures int
		recorded int // failed attempts that are in the log
		waits    int // between attempts
		fails    bool
	}{
		"no retry":            {"", 1, 0, 0, true},
		"null":                {`,"retry":null`, 1, 0, 0, true},
		"one attempt":         {`,"retry":{"attempts":1}`, 1, 0, 0, true},
		"defaults":            {`,"retry":{}`, 3, 0, 3, false},
		"the last attempt":    {`,"retry":{"attempts":3,"backoff":"1h"}`, 2, 0, 2, false},
		"too few attempts":    {`,"retry":{"attempts":3}`, 3, 0, 2, true},
		"after a restart":     {`,"retry":{"attempts":3}`, 1, 1, 1, false},
		"too few, restarted":  {`,"retry":{"attempts":3}`, 1, 2, 0, true},
		"without a wait":      {`,"retry":{"backoff":0}`, 3, 0, 3, false},
		"fewer after restart": {`,"retry":{"attempts":2}`, 0, 2, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := kind.NewRegistry(kind.DefaultLimits(), &flaky{failures: c.failures})
				p, _, err := r.Plan(t.Context(), "acme", "array_sum", []byte(`{"array":{"source":"npy","name":"x"}`+c.retry+`}`))
				if err != nil {
					t.Fatal(err)
				}
				resume := job.Resume{Started: time.Now()}
				for i := range c.recorded {
					resume.Steps = append(resume.Steps, job.TaskProgress{Retry: &job.Retry{Attempts: i + 1, After: time.Hour}})
				}
				task := p.Task(0, resume)
				var step job.Step
				waits := 0
				for {
					step, err = task.Step(t.Context(), time.Now(), new(job.Scratch))
					if err != nil || step.ResumeAt.IsZero() {
						break
					}
					if step.Retry == nil { // until the recorded time
						if d := step.ResumeAt.Sub(resume.Started); d != time.Hour || c.recorded == 0 {
							t.Fatalf("it waits until %s after the start of the job, want 1h after a restart", d)
						}
					} else {
						waits++
						if got := *step.Retry; got.Attempts != waits+c.recorded || got.After != step.ResumeAt.Sub(resume.Started) ||
							!strings.Contains(got.Error, job.ErrSource.Error()) || len(got.Error) > job.MaxRetryError || !strings.HasSuffix(got.Error, "é") {
							t.Errorf("attempt %d: got %+v, want its number, its time and its error", waits, got)
						}
					}
					time.Sleep(time.Until(step.ResumeAt))
				}
				if waits != c.waits || errors.Is(err, job.ErrSource) != c.fails || !c.fails && (err != nil || step.Completed != 1) {
					t.Errorf("%d waits, then %+v, %v; want %d, failed: %v", waits, step, err, c.waits, c.fails)
				}
				if c.fails && waits > 0 && !strings.HasSuffix(err.Error(), fmt.Sprintf(" (%d attempts)", waits+1)) {
					t.Errorf("the error is %v, want the number of attempts", err)
				}
			})
		})
	}
}

// The member retry has the same bounds in all kinds that have it, and is an error in others.
func TestTaskRetryErrors(t *testing.T) {
	const array = `{"array":{"source":"ones","shape":[2]},`
	for _, c := range []struct{ kind, spec, pointer string }{
		{"array_sum", array + `"retry":4}`, "/retry"},
		{"array_sum", array + `"retry":{"attempts":0}}`, "/retry/attempts"},
		{"array_sum", array + `"retry":{"attempts":101}}`, "/retry/attempts"},
		{"array_sum", array + `"retry":{"backoff":"2h"}}`, "/retry/backoff"},
		{"array_sum", array + `"retry":{"max_backoff":"soon"}}`, "/retry/max_backoff"},
		{"array_sum", array + `"retry":{"unsafe":true}}`, "/retry/unsafe"},
		{"array_reduce", array + `"ops":["sum"],"retry":{"attempts":1.5}}`, "/retry/attempts"},
		{"squares", `{"numbers":[1],"retry":{}}`, "/retry"},
		{"sleep_batch", `{"count":1,"duration":"1s","retry":null}`, "/retry"},
		{"squares", `{"numbers":[1],"on_item_error":"fail"}`, "/on_item_error"},
	} {
		err := kind.NewRegistry(kind.DefaultLimits(), nil).Validate(t.Context(), "acme", c.kind, []byte(c.spec))
		if invalid, ok := errors.AsType[*fields.Errors](err); !ok || len(invalid.List) != 1 || invalid.List[0].Pointer != c.pointer {
			t.Errorf("%s %s: got %v, want one error at %s", c.kind, c.spec, err, c.pointer)
		}
	}
}
