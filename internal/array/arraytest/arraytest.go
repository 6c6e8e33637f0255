// Package arraytest has the conformance suite of the stores of uploaded arrays: a directory, and a cluster.
package arraytest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"gather/internal/array"
	"gather/internal/job"
	"gather/internal/npy"
)

// Store is a store under test.
type Store interface {
	// Put stores an array. All methods are documented in package api.
	Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error)
	// Get returns an array.
	Get(ctx context.Context, tenant, name string) (job.Array, error)
	// List returns a page of arrays.
	List(ctx context.Context, tenant, after string, limit int) ([]job.Array, error)
	// Delete removes an array.
	Delete(ctx context.Context, tenant, name string, p job.Precondition) error
	Opener
}

// Opener opens arrays.
type Opener interface {
	// Acquire opens an array for a job.
	Acquire(ctx context.Context, tenant, name string) (*array.Handle, error)
	// Open returns an array and opens its file.
	Open(ctx context.Context, tenant, name string) (job.Array, job.ArrayFile, error)
}

// Place opens stores on the same arrays, like several processes or restarts.
type Place interface {
	// Open opens another store.
	Open(t *testing.T, l array.Limits) Store
	// Uploads returns the number of stored uploads, including those without an array.
	Uploads(t *testing.T) int
	// DamageRecord overwrites the record of an array.
	DamageRecord(t *testing.T, tenant, name string)
}

// Run runs the suite on places created by empty.
func Run(t *testing.T, empty func(t *testing.T) Place) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, p Place)
	}{
		{"PutGetDelete", putGetDelete},
		{"InUse", inUse},
		{"PutEnds", putEnds},
		{"Ranges", ranges},
		{"ConcurrentPuts", concurrentPuts},
		{"ConcurrentDeletes", concurrentDeletes},
		{"PutAsksWhetherItMayWrite", putCallsReady},
		{"Preconditions", preconditions},
		{"OpenFile", openFile},
		{"DamagedRecord", damagedRecord},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, empty(t)) })
	}
	t.Run("PutRefuses", func(t *testing.T) { putRejects(t, empty) })
}

// File returns an .npy file of n float64 zeros, with tag as the first byte of its data.
func File(t *testing.T, n int64, tag byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := npy.WriteHeader(&b, npy.Type{Kind: 'f', Size: 8}, []int64{n}); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 8*n)
	if n > 0 {
		data[0] = tag
	}
	return append(b.Bytes(), data...)
}

// Put uploads without a declared length.
func Put(t *testing.T, s Store, tenant, name string, data []byte) (job.Array, bool, error) {
	t.Helper()
	return s.Put(t.Context(), tenant, name, bytes.NewReader(data), job.ArrayUpload{Bytes: -1})
}

// MustPut is Put that must succeed.
func MustPut(t *testing.T, s Store, tenant, name string, data []byte) job.Array {
	t.Helper()
	a, _, err := Put(t, s, tenant, name, data)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Acquire opens an array until the end of the test, or until the returned function is called.
func Acquire(t *testing.T, s Store, tenant, name string) (*array.Handle, func()) {
	t.Helper()
	h, err := s.Acquire(t.Context(), tenant, name)
	if err != nil {
		t.Fatal(err)
	}
	open := true
	end := func() {
		if open {
			open = false
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(end)
	return h, end
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func isInUse(err error) bool { return errors.Is(err, job.ErrArrayInUse) }
