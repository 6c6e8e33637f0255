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
	// Put stores an array; this and the other methods are as in package api.
	Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error)
	// Get describes an array.
	Get(ctx context.Context, tenant, name string) (job.Array, error)
	// List describes some.
	List(ctx context.Context, tenant, after string, limit int) ([]job.Array, error)
	// Delete removes an array.
	Delete(ctx context.Context, tenant, name string, p job.Precondition) error
	Opener
}

// Opener opens arrays.
type Opener interface {
	// Acquire opens an array for a job.
	Acquire(ctx context.Context, tenant, name string) (*array.Handle, error)
	// Open describes an array and opens its file.
	Open(ctx context.Context, tenant, name string) (job.Array, job.ArrayFile, error)
}

// Place opens stores, all on the same arrays: as another process would, or the same after a restart.
type Place interface {
	// Open opens another store.
	Open(t *testing.T, l array.Limits) Store
	// Uploads is how many uploads are kept there, arrays or not.
	Uploads(t *testing.T) int
	// DamageRecord writes something else over the record of an array.
	DamageRecord(t *testing.T, tenant, name string)
}

// Run tests places, which empty makes.
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
		{"PutAsksWhetherItMayWrite", putAsks},
		{"Preconditions", preconditions},
		{"OpenFile", openFile},
		{"DamagedRecord", damagedRecord},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, empty(t)) })
	}
	t.Run("PutRefuses", func(t *testing.T) { putRefuses(t, empty) })
}

// File is an .npy file of n float64 zeros, whose first byte of data is tag.
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

// Put uploads without an announcement.
func Put(t *testing.T, s Store, tenant, name string, data []byte) (job.Array, bool, error) {
	t.Helper()
	return s.Put(t.Context(), tenant, name, bytes.NewReader(data), job.ArrayUpload{Bytes: -1})
}

// MustPut is Put that works.
func MustPut(t *testing.T, s Store, tenant, name string, data []byte) job.Array {
	t.Helper()
	a, _, err := Put(t, s, tenant, name, data)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Acquire opens an array until the test's end, unless the function it returns is called before.
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

// failing is a reader whose line went dead.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func isInUse(err error) bool { return errors.Is(err, job.ErrArrayInUse) }
