package main

import (
	"errors"
	"log/slog"
	"testing"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/bucket"
	"gather/internal/job"
	"gather/internal/kind"
)

// A job whose array was replaced or deleted while its submission was on the way to the log fails with source-changed.
func TestArrayChangedAfterSubmission(t *testing.T) {
	store, err := array.Open(array.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	buckets, err := bucket.Open(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = buckets.Close() }()
	kinds := kind.NewRegistry(kind.DefaultLimits(), newStoredArrays(store, buckets, slog.New(slog.DiscardHandler)))
	for _, tt := range []struct {
		name   string
		change func(t *testing.T)
		want   error
	}{
		{"unchanged", func(*testing.T) {}, nil},
		{"stored again, with the same bytes", func(t *testing.T) {
			arraytest.MustPut(t, store, "acme", "x", arraytest.File(t, 100, 1))
		}, nil},
		{"replaced", func(t *testing.T) { arraytest.MustPut(t, store, "acme", "x", arraytest.File(t, 100, 2)) }, errOther},
		{"deleted", func(t *testing.T) {
			if err := store.Delete(t.Context(), "acme", "x", job.Precondition{}); err != nil {
				t.Fatal(err)
			}
		}, errGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			arraytest.MustPut(t, store, "acme", "x", arraytest.File(t, 100, 1))
			plan, spec, err := kinds.Plan(t.Context(), "acme", "array_sum", []byte(`{"array":{"source":"npy","name":"x"}}`))
			if err != nil {
				t.Fatal(err)
			}
			closePlan(t, plan)
			tt.change(t)
			plan, err = kinds.Replan(t.Context(), "acme", "array_sum", spec)
			closePlan(t, plan)
			f, failed := errors.AsType[*job.Failure](err)
			if !errors.Is(err, tt.want) || failed != (tt.want != nil) || failed && f.Reason != job.FailedSourceChanged {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

func closePlan(t *testing.T, p job.Plan) {
	t.Helper()
	if c, ok := p.(interface{ Close() error }); ok {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
