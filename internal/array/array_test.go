package array_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gather/internal/array"
	"gather/internal/job"
	"gather/internal/npy"
)

// file is an .npy file of n float64 zeros, whose first byte of data is tag.
func file(t *testing.T, n int64, tag byte) []byte {
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

func open(t *testing.T, cfg array.Config) *array.Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "arrays")
	}
	s, err := array.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *array.Store, tenant, name string, data []byte) (job.Array, bool, error) {
	t.Helper()
	return s.Put(t.Context(), tenant, name, bytes.NewReader(data), job.ArrayUpload{Bytes: -1})
}

func mustPut(t *testing.T, s *array.Store, tenant, name string, data []byte) job.Array {
	t.Helper()
	a, _, err := put(t, s, tenant, name, data)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPutGetDelete(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "arrays")
	s := open(t, array.Config{Dir: dir})
	data := file(t, 1000, 1)
	a, created, err := put(t, s, "acme", "readings", data)
	sum := sha256.Sum256(data)
	if err != nil || !created || a.DType != "float64" || len(a.Shape) != 1 || a.Shape[0] != 1000 ||
		a.Bytes != int64(len(data)) || a.SHA256 != hex.EncodeToString(sum[:]) || a.InUse {
		t.Fatalf("%+v, %v, %v", a, created, err)
	}
	if _, created, err := put(t, s, "acme", "readings", file(t, 10, 2)); err != nil || created {
		t.Fatalf("again: %v, %v", created, err)
	}
	mustPut(t, s, "acme", "a", file(t, 1, 0))
	mustPut(t, s, "other", "readings", file(t, 7, 0))

	// Another process finds the same.
	for _, s := range []*array.Store{s, open(t, array.Config{Dir: dir})} {
		if a, err := s.Get(t.Context(), "acme", "readings"); err != nil || a.Shape[0] != 10 {
			t.Errorf("%+v, %v", a, err)
		}
		if list, err := s.List(t.Context(), "acme", "", 10); err != nil || len(list) != 2 || list[0].Name != "a" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, _ := s.List(t.Context(), "acme", "a", 1); len(list) != 1 || list[0].Name != "readings" {
			t.Errorf("%+v", list)
		}
		if _, err := s.Get(t.Context(), "nobody", "readings"); !errors.Is(err, job.ErrArrayNotFound) {
			t.Errorf("another tenant's: %v", err)
		}
	}
	if err := s.Delete(t.Context(), "acme", "readings"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "acme", "readings"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("twice: %v", err)
	}
	if _, err := open(t, array.Config{Dir: dir}).Get(t.Context(), "acme", "readings"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestInUse(t *testing.T) {
	s := open(t, array.Config{})
	mustPut(t, s, "acme", "x", file(t, 100, 7))
	h1, err := s.Acquire(t.Context(), "acme", "x")
	if err != nil {
		t.Fatal(err)
	}
	h2, err := s.Acquire(t.Context(), "acme", "x")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Delete(t.Context(), "acme", "x"); !errors.Is(err, job.ErrArrayInUse) {
			t.Errorf("delete: %v", err)
		}
		if _, _, err := put(t, s, "acme", "x", file(t, 1, 0)); !errors.Is(err, job.ErrArrayInUse) {
			t.Errorf("replace: %v", err)
		}
		if a, _ := s.Get(t.Context(), "acme", "x"); !a.InUse {
			t.Error("not told to be in use")
		}
		one := make([]byte, 1)
		if _, err := h2.ReadAt(one, h2.Header.Offset); err != nil || one[0] != 7 {
			t.Errorf("read %v, %v", one, err)
		}
		if h1 != nil {
			if err := h1.Close(); err != nil {
				t.Error(err)
			}
			h1 = nil
		}
	}
	if err := h2.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "acme", "x"); err != nil {
		t.Error(err)
	}
	if _, err := s.Acquire(t.Context(), "acme", "x"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("acquire: %v", err)
	}
}

// What is refused leaves nothing behind, and what was there stays.
func TestPutRefuses(t *testing.T) {
	good := file(t, 100, 1)
	broken := errors.New("the line went dead")
	for _, tt := range []struct {
		name string
		as   string
		r    io.Reader
		o    job.ArrayUpload
		want error // nil is a ValidationError
	}{
		{"cut off", "x", bytes.NewReader(good[:len(good)-1]), job.ArrayUpload{Bytes: -1}, nil},
		{"too long", "x", bytes.NewReader(append(bytes.Clone(good), 0)), job.ArrayUpload{Bytes: -1}, nil},
		{"no npy", "x", bytes.NewReader([]byte("PK\x03\x04")), job.ArrayUpload{Bytes: -1}, nil},
		{"empty", "x", bytes.NewReader(nil), job.ArrayUpload{Bytes: -1}, nil},
		{"checksum", "x", bytes.NewReader(good), job.ArrayUpload{Bytes: -1, SHA256: "00"}, nil},
		{"announced too large", "x", bytes.NewReader(good), job.ArrayUpload{Bytes: 10_001}, job.ErrTooLarge},
		{"too large", "x", bytes.NewReader(file(t, 2000, 0)), job.ArrayUpload{Bytes: -1}, job.ErrTooLarge},
		{"quota", "x", bytes.NewReader(file(t, 1200, 0)), job.ArrayUpload{Bytes: -1}, job.ErrQuota},
		{"broken line", "x", io.MultiReader(bytes.NewReader(good[:300]), failing{broken}), job.ArrayUpload{Bytes: -1}, broken},
		{"name", "../x", bytes.NewReader(good), job.ArrayUpload{Bytes: -1}, nil},
		{"name", ".x", bytes.NewReader(good), job.ArrayUpload{Bytes: -1}, nil},
		{"name", "", bytes.NewReader(good), job.ArrayUpload{Bytes: -1}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, array.Config{Dir: dir, MaxBytes: 10_000, TenantBytes: 10_000})
			before := mustPut(t, s, "acme", "x", file(t, 100, 9))
			_, _, err := s.Put(t.Context(), "acme", tt.as, tt.r, tt.o)
			var v *job.ValidationError
			if tt.want == nil && !errors.As(err, &v) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if files, _ := os.ReadDir(filepath.Join(dir, "t-acme")); len(files) != 2 {
				t.Errorf("left behind: %v", files)
			}
			if after, err := s.Get(t.Context(), "acme", "x"); err != nil || after.SHA256 != before.SHA256 {
				t.Errorf("%+v, %v", after, err)
			}
			mustPut(t, s, "acme", "y", file(t, 1000, 0)) // the quota was given back
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A context that ends stops an upload.
func TestPutEnds(t *testing.T) {
	s := open(t, array.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, _, err := s.Put(ctx, "acme", "x", bytes.NewReader(file(t, 10, 0)), job.ArrayUpload{Bytes: -1}); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// What a crash left of an upload is removed, and a damaged array is told to who uses it.
func TestOpenAfterACrash(t *testing.T) {
	dir := t.TempDir()
	mustPut(t, open(t, array.Config{Dir: dir}), "acme", "x", file(t, 100, 1))
	for _, name := range []string{"0190.npy", "y.json.new"} {
		if err := os.WriteFile(filepath.Join(dir, "t-acme", name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, array.Config{Dir: dir})
	if list, _ := s.List(t.Context(), "acme", "", 10); len(list) != 1 {
		t.Errorf("%+v", list)
	}
	if files, _ := os.ReadDir(filepath.Join(dir, "t-acme")); len(files) != 2 {
		t.Errorf("left: %v", files)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "t-acme", "*.npy"))
	if err := os.Truncate(files[0], 500); err != nil {
		t.Fatal(err)
	}
	s = open(t, array.Config{Dir: dir})
	if _, err := s.Acquire(t.Context(), "acme", "x"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a truncated array: %v", err)
	}
	mustPut(t, s, "acme", "x", file(t, 100, 1))
	h, err := s.Acquire(t.Context(), "acme", "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// Uploads of one name at the same time: one of them stays, whole.
func TestConcurrentPuts(t *testing.T) {
	s := open(t, array.Config{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, _, err := put(t, s, "acme", "x", file(t, int64(1000+i), byte(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	h, err := s.Acquire(t.Context(), "acme", "x")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	one := make([]byte, 1)
	if _, err := h.ReadAt(one, h.Header.Offset); err != nil || int64(one[0]) != h.Header.Shape[0]-1000 {
		t.Errorf("tag %d, shape %v, %v", one[0], h.Header.Shape, err)
	}
}

// A store that may not write refuses an upload, before it and in the middle of it.
func TestPutAsksWhetherItMayWrite(t *testing.T) {
	full := errors.New("the disk is full")
	for _, may := range []int{0, 1, 2} {
		dir, asked := t.TempDir(), 0
		s := open(t, array.Config{Dir: dir, Ready: func() error {
			if asked++; asked > may {
				return full
			}
			return nil
		}})
		if _, _, err := put(t, s, "acme", "x", file(t, 3<<20, 1)); !errors.Is(err, job.ErrStorage) || !errors.Is(err, full) { // 24 MiB
			t.Errorf("after %d: %v", may, err)
		}
		if files, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(files) != 0 {
			t.Errorf("left behind: %v", files)
		}
	}
}

// A change whose directory cannot be synced is reported and stands, now and after a start; a crash that takes it back
// finds the files of before.
func TestDirectoryIsNotSynced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir, TenantBytes: 3000})
	mustPut(t, s, "acme", "x", file(t, 100, 1))
	broken := errors.New("the disk is broken")
	s.SetSync(func(string) error { return broken })
	before, err := os.ReadFile(filepath.Join(dir, "t-acme", "x.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := put(t, s, "acme", "x", file(t, 50, 2)); !errors.Is(err, job.ErrStorage) || !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, _, err := put(t, s, "other", "x", file(t, 50, 2)); !errors.Is(err, broken) {
		t.Errorf("a new directory: %v", err)
	}
	if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.Shape[0] != 50 {
		t.Errorf("%+v, %v", a, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "crash"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	s.SetSync(func(string) error { return nil })
	mustPut(t, s, "other", "x", file(t, 50, 2))
	mustPut(t, s, "acme", "y", file(t, 200, 3)) // the old one is not counted
	// As if the rename had not reached the disk.
	if err := os.Rename(filepath.Join(dir, "crash"), filepath.Join(dir, "t-acme", "x.json")); err != nil {
		t.Fatal(err)
	}
	s = open(t, array.Config{Dir: dir})
	h, err := s.Acquire(t.Context(), "acme", "x")
	if err != nil || h.Header.Shape[0] != 100 {
		t.Fatalf("the array of before: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}

	s.SetSync(func(string) error { return broken })
	if err := s.Delete(t.Context(), "acme", "x"); !errors.Is(err, job.ErrStorage) {
		t.Errorf("%v", err)
	}
	if _, err := s.Get(t.Context(), "acme", "x"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("after the delete: %v", err)
	}
	if list, _ := open(t, array.Config{Dir: dir}).List(t.Context(), "acme", "", 10); len(list) != 1 || list[0].Name != "y" {
		t.Errorf("after a start: %+v", list)
	}
}
