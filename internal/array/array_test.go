package array_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/job"
)

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

// directory is a data directory.
type directory string

func (d directory) Open(t *testing.T, l array.Limits) arraytest.Store {
	return open(t, array.Config{Dir: string(d), MaxBytes: l.MaxBytes, TenantBytes: l.TenantBytes, Ready: l.Ready})
}

func (d directory) Uploads(t *testing.T) int {
	uploads, err := filepath.Glob(filepath.Join(string(d), "*", "*.npy"))
	if err != nil {
		t.Fatal(err)
	}
	records, _ := filepath.Glob(filepath.Join(string(d), "*", "*"))
	if len(records) != 2*len(uploads) {
		t.Errorf("left behind: %v", records)
	}
	return len(uploads)
}

func (d directory) DamageRecord(t *testing.T, tenant, name string) {
	if err := os.WriteFile(filepath.Join(string(d), "t-"+tenant, name+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	arraytest.Run(t, func(t *testing.T) arraytest.Place { return directory(t.TempDir()) })
}

func TestTotals(t *testing.T) {
	s := open(t, array.Config{})
	a := arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 100, 1))
	b := arraytest.MustPut(t, s, "other", "x", arraytest.File(t, 200, 1))
	if n, bytes := s.Totals(); n != 2 || bytes != a.Bytes+b.Bytes {
		t.Errorf("%d arrays of %d bytes", n, bytes)
	}
}

// The files of an upload interrupted by a crash are removed, and using a damaged array is an error.
func TestOpenAfterACrash(t *testing.T) {
	dir := t.TempDir()
	arraytest.MustPut(t, open(t, array.Config{Dir: dir}), "acme", "x", arraytest.File(t, 100, 1))
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
	arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 100, 1))
	h, err := s.Acquire(t.Context(), "acme", "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// A change whose directory cannot be synced is reported and stands, also after a restart; a crash that undoes it
// restores the previous files.
func TestDirectoryIsNotSynced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir, TenantBytes: 3000})
	arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 100, 1))
	broken := errors.New("the disk is broken")
	s.SetSync(func(string) error { return broken })
	before, err := os.ReadFile(filepath.Join(dir, "t-acme", "x.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := arraytest.Put(t, s, "acme", "x", arraytest.File(t, 50, 2)); !errors.Is(err, job.ErrStorage) || !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, _, err := arraytest.Put(t, s, "other", "x", arraytest.File(t, 50, 2)); !errors.Is(err, broken) {
		t.Errorf("a new directory: %v", err)
	}
	if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.Shape[0] != 50 {
		t.Errorf("%+v, %v", a, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "crash"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	s.SetSync(func(string) error { return nil })
	arraytest.MustPut(t, s, "other", "x", arraytest.File(t, 50, 2))
	arraytest.MustPut(t, s, "acme", "y", arraytest.File(t, 200, 3)) // the old one is not counted
	// Simulate that the rename did not reach the disk.
	if err := os.Rename(filepath.Join(dir, "crash"), filepath.Join(dir, "t-acme", "x.json")); err != nil {
		t.Fatal(err)
	}
	s = open(t, array.Config{Dir: dir})
	h, err := s.Acquire(t.Context(), "acme", "x")
	if err != nil || h.Header.Shape[0] != 100 {
		t.Fatalf("the previous array: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}

	s.SetSync(func(string) error { return broken })
	if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); !errors.Is(err, job.ErrStorage) {
		t.Errorf("%v", err)
	}
	if _, err := s.Get(t.Context(), "acme", "x"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("after the delete: %v", err)
	}
	if list, _ := open(t, array.Config{Dir: dir}).List(t.Context(), "acme", "", 10); len(list) != 1 || list[0].Name != "y" {
		t.Errorf("after a start: %+v", list)
	}
}
