package arraytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"gather/internal/array"
	"gather/internal/fields"
	"gather/internal/job"
)

func putGetDelete(t *testing.T, p Place) {
	s := p.Open(t, array.Limits{})
	data := File(t, 1000, 1)
	a, created, err := Put(t, s, "acme", "readings.v2", data)
	sum := sha256.Sum256(data)
	if err != nil || !created || a.Name != "readings.v2" || a.DType != "float64" || len(a.Shape) != 1 || a.Shape[0] != 1000 ||
		a.Bytes != int64(len(data)) || a.SHA256 != hex.EncodeToString(sum[:]) || a.InUse || a.CreatedAt.IsZero() {
		t.Fatalf("%+v, %v, %v", a, created, err)
	}
	if _, created, err := Put(t, s, "acme", "readings.v2", File(t, 10, 2)); err != nil || created {
		t.Fatalf("again: %v, %v", created, err)
	}
	MustPut(t, s, "acme", "a", File(t, 1, 0))
	MustPut(t, s, "other", "readings.v2", File(t, 7, 0))
	MustPut(t, s, "a.b", "x", File(t, 7, 0))
	MustPut(t, s, "a", "b.x", File(t, 7, 0))
	for _, s := range []Store{s, p.Open(t, array.Limits{})} {
		if a, err := s.Get(t.Context(), "acme", "readings.v2"); err != nil || a.Shape[0] != 10 {
			t.Errorf("%+v, %v", a, err)
		}
		if list, err := s.List(t.Context(), "acme", "", 10); err != nil || len(list) != 2 || list[0].Name != "a" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := s.List(t.Context(), "acme", "a", 1); err != nil || len(list) != 1 || list[0].Name != "readings.v2" {
			t.Errorf("%+v, %v", list, err)
		}
		for _, name := range []string{"", "*", ">", "a b", "x"} {
			if _, err := s.Get(t.Context(), "nobody", name); !errors.Is(err, job.ErrArrayNotFound) {
				t.Errorf("another tenant's %q: %v", name, err)
			}
			if _, err := s.Acquire(t.Context(), "acme", name); !errors.Is(err, job.ErrArrayNotFound) {
				t.Errorf("acquire %q: %v", name, err)
			}
		}
		if list, err := s.List(t.Context(), "nobody", "", 10); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
	}
	if err := s.Delete(t.Context(), "acme", "readings.v2", job.Precondition{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "acme", "readings.v2", job.Precondition{}); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("twice: %v", err)
	}
	other := p.Open(t, array.Limits{})
	if _, err := other.Get(t.Context(), "acme", "readings.v2"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("after a restart: %v", err)
	}
	if list, err := other.List(t.Context(), "acme", "", 1); err != nil || len(list) != 1 || list[0].Name != "a" {
		t.Errorf("%+v, %v", list, err)
	}
	if n := p.Uploads(t); n != 4 {
		t.Errorf("%d uploads are left", n)
	}
}

func inUse(t *testing.T, p Place) {
	s := p.Open(t, array.Limits{})
	MustPut(t, s, "acme", "x", File(t, 100, 7))
	_, end1 := Acquire(t, s, "acme", "x")
	h2, end2 := Acquire(t, s, "acme", "x")
	for range 2 {
		if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); !isInUse(err) {
			t.Errorf("delete: %v", err)
		}
		if _, _, err := Put(t, s, "acme", "x", File(t, 1, 0)); !isInUse(err) {
			t.Errorf("replace: %v", err)
		}
		if a, _ := s.Get(t.Context(), "acme", "x"); !a.InUse {
			t.Error("not reported as in use")
		}
		one := make([]byte, 1)
		if _, err := h2.ReadAt(one, h2.Header.Offset); err != nil || one[0] != 7 {
			t.Errorf("read %v, %v", one, err)
		}
		end1()
	}
	if n := p.Uploads(t); n != 1 {
		t.Errorf("%d uploads are left", n)
	}
	end2()
	if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Acquire(t.Context(), "acme", "x"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("acquire: %v", err)
	}
}

// A rejected upload leaves no files, and the existing array stays.
func putRejects(t *testing.T, empty func(t *testing.T) Place) {
	good := File(t, 100, 1)
	broken := errors.New("the connection was lost")
	for _, tt := range []struct {
		name string
		as   string
		r    io.Reader
		o    job.ArrayUpload
		want error // nil is *fields.Errors
	}{
		{"cut off", "x", bytes.NewReader(good[:len(good)-1]), job.ArrayUpload{Bytes: -1}, nil},
		{"too long", "x", bytes.NewReader(append(bytes.Clone(good), 0)), job.ArrayUpload{Bytes: -1}, nil},
		{"no npy", "x", bytes.NewReader([]byte("PK\x03\x04")), job.ArrayUpload{Bytes: -1}, nil},
		{"empty", "x", bytes.NewReader(nil), job.ArrayUpload{Bytes: -1}, nil},
		{"checksum", "x", bytes.NewReader(good), job.ArrayUpload{Bytes: -1, SHA256: "00"}, nil},
		{"declared too large", "x", bytes.NewReader(good), job.ArrayUpload{Bytes: 10_001}, job.ErrTooLarge},
		{"too large", "x", bytes.NewReader(File(t, 2000, 0)), job.ArrayUpload{Bytes: -1}, job.ErrTooLarge},
		{"quota", "x", bytes.NewReader(File(t, 1200, 0)), job.ArrayUpload{Bytes: -1}, job.ErrQuota},
		{"broken line", "x", io.MultiReader(bytes.NewReader(good[:300]), failing{broken}), job.ArrayUpload{Bytes: -1}, broken},
		{"name outside", "../x", bytes.NewReader(good), job.ArrayUpload{Bytes: -1}, nil},
		{"hidden name", ".x", bytes.NewReader(good), job.ArrayUpload{Bytes: -1}, nil},
		{"no name", "", bytes.NewReader(good), job.ArrayUpload{Bytes: -1}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := empty(t)
			s := p.Open(t, array.Limits{MaxBytes: 10_000, TenantBytes: 10_000})
			before := MustPut(t, s, "acme", "x", File(t, 100, 9))
			_, _, err := s.Put(t.Context(), "acme", tt.as, tt.r, tt.o)
			var v *fields.Errors
			if tt.want == nil && !errors.As(err, &v) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if n := p.Uploads(t); n != 1 {
				t.Errorf("%d uploads are left", n)
			}
			if after, err := s.Get(t.Context(), "acme", "x"); err != nil || after.SHA256 != before.SHA256 {
				t.Errorf("%+v, %v", after, err)
			}
			MustPut(t, s, "acme", "y", File(t, 1000, 0)) // the quota was released
		})
	}
}

// A context that ends stops an upload, before and during it.
func putEnds(t *testing.T, p Place) {
	s := p.Open(t, array.Limits{})
	data := File(t, 1<<20, 0) // 8 MiB
	gone := errors.New("gone")
	for _, after := range []int{0, 3 << 20, 7 << 20} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := &leaving{Reader: bytes.NewReader(data), left: after, leave: func() { cancel(gone) }}
		_, _, err := s.Put(ctx, "acme", "x", r, job.ArrayUpload{Bytes: -1})
		if !errors.Is(err, gone) || p.Uploads(t) != 0 {
			t.Errorf("after %d bytes: %v, %d uploads are left", after, err, p.Uploads(t))
		}
	}
}

// leaving is a client that disconnects after a part of its body.
type leaving struct {
	io.Reader
	left  int
	leave func()
}

func (l *leaving) Read(p []byte) (int, error) {
	if l.left <= 0 {
		l.leave()
	}
	n, err := l.Reader.Read(p)
	l.left -= n
	return n, err
}

// Every range has the uploaded bytes, with concurrent readers and in another store.
func ranges(t *testing.T, p Place) {
	data := File(t, 3<<17, 0) // 3 MiB
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(data[128:])
	MustPut(t, p.Open(t, array.Limits{}), "acme", "x", data)
	h, _ := Acquire(t, p.Open(t, array.Limits{}), "acme", "x")
	size := int64(len(data))
	check := func(off, n int64) {
		b := make([]byte, n)
		got, err := h.ReadAtContext(t.Context(), b, off)
		want := data[min(off, size):min(off+n, size)]
		if got != len(want) || !bytes.Equal(b[:got], want) || (int64(got) < n) != errors.Is(err, io.EOF) || err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes at %d: %d, %v", n, off, got, err)
		}
	}
	for _, r := range [][2]int64{{0, 0}, {0, 1}, {0, size}, {0, size + 1}, {size - 1, 1}, {size - 1, 2}, {size, 1}, {size + 5, 1}, {1<<19 - 1, 2}, {1 << 19, 1 << 19}} {
		check(r[0], r[1])
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for range 50 {
				check(rnd.Int64N(size), rnd.Int64N(1<<20))
			}
		})
	}
	wg.Wait()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.ReadAtContext(gone, make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}

// Concurrent uploads of one name: one of them stays, complete.
func concurrentPuts(t *testing.T, p Place) {
	s := p.Open(t, array.Limits{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, _, err := Put(t, s, "acme", "x", File(t, int64(1000+i), byte(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	h, _ := Acquire(t, s, "acme", "x")
	one := make([]byte, 1)
	if _, err := h.ReadAt(one, h.Header.Offset); err != nil || int64(one[0]) != h.Header.Shape[0]-1000 {
		t.Errorf("tag %d, shape %v, %v", one[0], h.Header.Shape, err)
	}
	if n := p.Uploads(t); n != 1 {
		t.Errorf("%d uploads are left", n)
	}
}

// One of several concurrent deletes succeeds.
func concurrentDeletes(t *testing.T, p Place) {
	s := p.Open(t, array.Limits{})
	MustPut(t, s, "acme", "x", File(t, 1000, 1))
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.Delete(t.Context(), "acme", "x", job.Precondition{}) })
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, job.ErrArrayNotFound) {
			t.Error(err)
		}
	}
	if done != 1 || p.Uploads(t) != 0 {
		t.Errorf("%d deleted it, %d uploads are left", done, p.Uploads(t))
	}
}

// A store that rejects writes rejects an upload, before and during it.
func putCallsReady(t *testing.T, p Place) {
	full := errors.New("the disk is full")
	for _, may := range []int{0, 1, 2} {
		calls := 0
		s := p.Open(t, array.Limits{Ready: func() error {
			if calls++; calls > may {
				return full
			}
			return nil
		}})
		_, _, err := Put(t, s, "acme", "x", File(t, 3<<20, 1)) // 24 MiB
		if !errors.Is(err, job.ErrStorage) || !errors.Is(err, full) || p.Uploads(t) != 0 {
			t.Errorf("after %d: %v, %d uploads are left", may, err, p.Uploads(t))
		}
	}
}
