package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"gather/internal/chunked"
	"gather/internal/exactsum"
	"gather/internal/extrema"
	"gather/internal/fields"
	"gather/internal/mapping"
	"gather/internal/npy"
)

// A file that is truncated while an assembly kernel reads it is an error, and does not end the process.
func TestTruncatedUnderKernels(t *testing.T) {
	const size = 8 << 20
	view := func(p []byte) []float64 {
		return unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(p))), len(p)/8)
	}
	adder := exactsum.NewAdder()
	for name, kernel := range map[string]func(x []float64){
		"sum":     func(x []float64) { adder.Float64s(new(exactsum.Accumulator), x) },
		"squares": func(x []float64) { adder.Squares64(new(exactsum.Squares), x) },
		"columns": func(x []float64) { adder.ColumnsFloat64(make([]exactsum.Accumulator, 64), x, len(x)/64, 64) },
		"extrema": func(x []float64) { extrema.Of(x) },
	} {
		t.Run(name, func(t *testing.T) {
			data := make([]byte, size)
			for i := range view(data) {
				view(data)[i] = math.Sqrt(float64(i)) // many bits
			}
			for range 20 {
				path := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				m, err := mapping.New(f, size)
				if errors.Is(err, mapping.ErrUnsupported) {
					t.Skip("files cannot be mapped here:", err)
				}
				if err != nil {
					t.Fatal(err)
				}
				err = m.View(0, size, func(p []byte) error {
					if err := os.Truncate(path, size/2); err != nil {
						return err
					}
					kernel(view(p))
					return nil
				})
				if !errors.Is(err, mapping.ErrTruncated) {
					t.Errorf("got error %v, want %v", err, mapping.ErrTruncated)
				}
				if err := m.View(0, size/2, func(p []byte) error {
					kernel(view(p))
					return nil
				}); err != nil {
					t.Errorf("the half that is left: got error %v, want none", err)
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// mappedFile is a file in place, which is truncated in each of its views if cut is set.
type mappedFile struct {
	*os.File
	mapped *mapping.File
	cut    bool
}

func (f mappedFile) View(_ context.Context, lo, hi int64, use func(p []byte) error) error {
	return f.mapped.View(lo, hi, func(p []byte) error {
		if f.cut && hi > lo {
			if err := f.Truncate(hi / 2); err != nil {
				return err
			}
		}
		return use(p)
	})
}

// A worker whose kernel met a truncated file sums the next array correctly: nothing of the faulty sum is left in it.
func TestWorkerAfterFault(t *testing.T) {
	const n = 1 << 17
	open := func(cut bool) *chunked.Array {
		var data bytes.Buffer
		if _, err := npy.WriteHeader(&data, npy.Type{Kind: 'f', Size: 8}, []int64{n}); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			data.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.Sqrt(float64(i)))))
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err == nil {
			_, err = f.Write(data.Bytes())
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := mapping.New(f, int64(data.Len()))
		if errors.Is(err, mapping.ErrUnsupported) {
			t.Skip("files cannot be mapped here:", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		h, err := npy.ParseHeader(bytes.NewReader(data.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		var errs fields.Errors
		a := chunked.ParseArray([]byte(`{"source":"npy","name":"a","chunks":-1}`), chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) {
			return chunked.Stored{Header: h, Reader: mappedFile{f, m, cut}}, nil
		}}, &errs)
		if err := errs.Err(); err != nil {
			t.Fatal(err)
		}
		return a
	}
	sum := func(w *chunked.Worker, a *chunked.Array) (string, error) {
		var errs fields.Errors
		spec, _ := fields.Read([]byte(`{}`), &errs)
		r, _ := chunked.ParseReduction(spec, a)
		p, err := chunked.NewPlan(a, r, chunked.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		reducer := p.NewReducer()
		for task := range p.Tasks() {
			partial, err := p.Run(t.Context(), w, task, nil, nil)
			if err == nil {
				err = reducer.Add(task, partial)
			}
			if err != nil {
				return "", err
			}
		}
		result, err := reducer.Result()
		if err != nil {
			t.Fatal(err)
		}
		return string(result.AppendJSON(nil)), nil
	}
	want, err := sum(chunked.NewWorker(), open(false))
	if err != nil {
		t.Fatal(err)
	}
	w := chunked.NewWorker()
	if _, err := sum(w, open(true)); !errors.Is(err, mapping.ErrTruncated) {
		t.Fatalf("a truncated array: got error %v, want %v", err, mapping.ErrTruncated)
	}
	if got, err := sum(w, open(false)); err != nil || got != want {
		t.Errorf("the next array: got %s, %v, want %s", got, err, want)
	}
}
