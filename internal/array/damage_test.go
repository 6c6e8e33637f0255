package array_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/job"
	"gather/internal/mapping"
)

// stored returns the path of the only array in a directory.
func stored(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "t-acme", "*.npy"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v, want one file", files, err)
	}
	return files[0]
}

// flip changes one bit of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err = f.ReadAt(one, at); err == nil {
		one[0] ^= 4
		_, err = f.WriteAt(one, at)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A bit flipped after the upload is found by the first read of its block, by reads of any part of the block and by no
// others.
func TestFlippedBits(t *testing.T) {
	forEachAccess(t, testFlippedBits)
}

// access are the two ways of a job to read an array: copies, and in place.
type access struct {
	maps *mapping.Pool
	read func(h *array.Handle, p []byte, off int64) (int, error)
}

func forEachAccess(t *testing.T, test func(*testing.T, access)) {
	t.Run("read", func(t *testing.T) {
		test(t, access{read: (*array.Handle).ReadAt})
	})
	t.Run("in place", func(t *testing.T) {
		maps := mapping.NewPool()
		defer func() { _ = maps.Close() }()
		test(t, access{maps, func(h *array.Handle, p []byte, off int64) (n int, err error) {
			err = h.View(t.Context(), off, off+int64(len(p)), func(mem []byte) error {
				n = copy(p, mem)
				return nil
			})
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip("files cannot be mapped here:", err)
			}
			return n, err
		}})
	})
}

func testFlippedBits(t *testing.T, a access) {
	const size = 128 + 8*50_000 // seven blocks, the last one short
	for _, at := range []int64{0, 127, 128, 65535, 65536, 200_000, size - 1} {
		dir := t.TempDir()
		s := open(t, array.Config{Dir: dir, Maps: a.maps})
		data := arraytest.File(t, 50_000, 1)
		arraytest.MustPut(t, s, "acme", "x", data)
		flip(t, stored(t, dir), at)
		h, _ := arraytest.Acquire(t, s, "acme", "x")
		bad := at / 65536
		for i := range int64(7) {
			lo := i * 65536
			for _, r := range [][2]int64{{lo + 10, 20}, {lo, min(65536, size-lo)}} { // in part, whole
				p := make([]byte, r[1])
				n, err := a.read(h, p, r[0])
				if i == bad && (!errors.Is(err, job.ErrCorrupt) || n != 0) {
					t.Errorf("bit %d: %d bytes at %d: got %d, %v, want none and ErrCorrupt", at, r[1], r[0], n, err)
				}
				if i != bad && (err != nil || !bytes.Equal(p, data[r[0]:r[0]+r[1]])) {
					t.Errorf("bit %d: %d bytes at %d: got %v, want the uploaded bytes", at, r[1], r[0], err)
				}
			}
		}
		if got, err := s.Get(t.Context(), "acme", "x"); err != nil || !got.Damaged || got.Unreadable || s.Damaged() != 1 {
			t.Errorf("bit %d: got %+v, %v, %d damaged, want a damaged array", at, got, err, s.Damaged())
		}
		if _, err := s.Acquire(t.Context(), "acme", "x"); !errors.Is(err, job.ErrCorrupt) {
			t.Errorf("bit %d: acquire: got %v, want ErrCorrupt", at, err)
		}
	}
}

// Each block is checked once, also with concurrent readers.
func TestBlocksAreCheckedOnce(t *testing.T) { forEachAccess(t, testBlocksAreCheckedOnce) }

func testBlocksAreCheckedOnce(t *testing.T, a access) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir, Maps: a.maps})
	data := arraytest.File(t, 200_000, 1)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data[128:])
	arraytest.MustPut(t, s, "acme", "x", data)
	h, _ := arraytest.Acquire(t, s, "acme", "x")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for range 100 {
				off := rnd.Int64N(int64(len(data)))
				p := make([]byte, min(rnd.Int64N(1<<18), int64(len(data))-off))
				if _, err := a.read(h, p, off); err != nil || !bytes.Equal(p, data[off:off+int64(len(p))]) {
					t.Errorf("%d bytes at %d: got %v, want the uploaded bytes", len(p), off, err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := a.read(h, make([]byte, len(data)), 0); err != nil {
		t.Fatal(err)
	}
	flip(t, stored(t, dir), 1000)
	if _, err := a.read(h, make([]byte, 100), 1000); err != nil {
		t.Errorf("got %v from a block that was checked before", err)
	}
}

// A truncated file is damaged, also while it is open.
func TestTruncatedFile(t *testing.T) { forEachAccess(t, testTruncatedFile) }

func testTruncatedFile(t *testing.T, by access) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir, Maps: by.maps})
	a := arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 50_000, 1))
	h, _ := arraytest.Acquire(t, s, "acme", "x")
	if err := os.Truncate(stored(t, dir), 300_000); err != nil {
		t.Fatal(err)
	}
	if _, err := by.read(h, make([]byte, 1000), a.Bytes-1000); !errors.Is(err, job.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	s = open(t, array.Config{Dir: dir})
	if a, err := s.Get(t.Context(), "acme", "x"); err != nil || !a.Damaged || a.DType != "float64" {
		t.Errorf("after a start: got %+v, %v, want a damaged array", a, err)
	}
}

// edit changes members of a record; nil removes one.
func edit(path string, members map[string]any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var record map[string]any
	if err := json.Unmarshal(data, &record); err != nil {
		return err
	}
	for name, value := range members {
		if record[name] == nil {
			return fmt.Errorf("the record has no member %s", name)
		}
		if record[name] = value; value == nil {
			delete(record, name)
		}
	}
	if data, err = json.Marshal(record); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// withChecksums replaces the checksums in the record of array x; nil for a record of an early version without
// checksums.
func withChecksums(t *testing.T, dir string, sums []byte) {
	t.Helper()
	var value any
	if sums != nil {
		value = sums
	}
	if err := edit(filepath.Join(dir, "t-acme", "x.json"), map[string]any{"crc32c": value}); err != nil {
		t.Fatal(err)
	}
}

// An array of an early version gets checksums if it matches its SHA-256. Checksums are ignored if their number differs
// from the file's blocks.
func TestScrub(t *testing.T) {
	const at = 2_000_000
	for _, tt := range []struct {
		name            string
		sums            []byte
		damage, restart bool
	}{
		{name: "without a restart"},
		{name: "after a start", restart: true},
		{name: "damaged", damage: true},
		{name: "too few checksums", sums: make([]byte, 8)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			arraytest.MustPut(t, open(t, array.Config{Dir: dir}), "acme", "x", arraytest.File(t, 300_000, 1))
			withChecksums(t, dir, tt.sums)
			s := open(t, array.Config{Dir: dir})
			h, end := arraytest.Acquire(t, s, "acme", "x")
			if _, err := h.ReadAt(make([]byte, 10), at+100); err != nil {
				t.Errorf("before the scrub: got %v, want an unchecked read", err)
			}
			end()
			if tt.damage {
				flip(t, stored(t, dir), at)
			}
			s.Scrub(t.Context())
			if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.Damaged != tt.damage {
				t.Errorf("got %+v, %v, want damaged: %t", a, err, tt.damage)
			}
			if tt.damage {
				return
			}
			if tt.restart {
				s = open(t, array.Config{Dir: dir})
			}
			flip(t, stored(t, dir), at)
			h, _ = arraytest.Acquire(t, s, "acme", "x")
			if _, err := h.ReadAt(make([]byte, 10), at+100); !errors.Is(err, job.ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt by the checksums that were added", err)
			}
		})
	}
}

// meanwhile is a context that calls a function when it is first waited for.
type meanwhile struct {
	context.Context
	do func()
}

func (m *meanwhile) Done() <-chan struct{} {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	return m.Context.Done()
}

// An array that is replaced or deleted while the old one is scrubbed stays so, also after a restart.
func TestScrubOfChangedArray(t *testing.T) {
	small := arraytest.File(t, 10, 1)
	for _, tt := range []struct {
		name            string
		damage, deleted bool
	}{
		{name: "replaced"},
		{name: "replaced, damaged", damage: true},
		{name: "deleted", deleted: true},
		{name: "deleted, damaged", damage: true, deleted: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			arraytest.MustPut(t, open(t, array.Config{Dir: dir}), "acme", "x", arraytest.File(t, 300_000, 1)) // of several pieces
			withChecksums(t, dir, nil)
			if tt.damage {
				flip(t, stored(t, dir), 2_000_000)
			}
			s := open(t, array.Config{Dir: dir})
			changed := false
			s.Scrub(&meanwhile{t.Context(), func() {
				changed = true
				if tt.deleted {
					if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); err != nil {
						t.Error(err)
					}
				} else {
					arraytest.MustPut(t, s, "acme", "x", small)
				}
			}})
			if !changed {
				t.Fatal("the scrub ended before the array was changed")
			}
			for _, when := range []string{"immediately", "after a start"} {
				a, err := s.Get(t.Context(), "acme", "x")
				switch {
				case tt.deleted && !errors.Is(err, job.ErrArrayNotFound):
					t.Errorf("%s: got %+v, %v, want none", when, a, err)
				case !tt.deleted && (err != nil || a.Damaged || a.Bytes != int64(len(small))):
					t.Errorf("%s: got %+v, %v, want the new one of %d bytes", when, a, err, len(small))
				}
				s = open(t, array.Config{Dir: dir})
			}
		})
	}
}

// A partial read returns the verified bytes, not the bytes read before the check.
func TestReadReturnsWhatWasChecked(t *testing.T) {
	data := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	for _, r := range [][2]int{{10, 20}, {65_000, 65_536}, {131_000, 131_072}, {65_536, 65_600}, {199_000, 200_000}} {
		p := make([]byte, r[1]-r[0]) // simulate a disk that returned zeros the first time
		if err := array.Check(data, p, int64(r[0])); err != nil || !bytes.Equal(p, data[r[0]:r[1]]) {
			t.Errorf("bytes %d to %d: got other bytes, or %v, want the verified ones", r[0], r[1], err)
		}
	}
}

// The store opens despite any kind of damage in the directory, and the other arrays are usable.
func TestOpenDamagedDirectory(t *testing.T) {
	for name, spoil := range map[string]func(record, file string) error{
		"an empty record":         func(record, _ string) error { return os.Truncate(record, 0) },
		"a record of a newer one": func(record, _ string) error { return os.WriteFile(record, []byte(`{"version":99}`), 0o600) },
		"a record of another": func(record, _ string) error {
			return os.WriteFile(record, []byte(`{"version":1,"name":"y","file":"../z"}`), 0o600)
		},
		"a record of a newer one that looks alike": func(record, _ string) error { return edit(record, map[string]any{"version": 99}) },
		"a record of another name":                 func(record, _ string) error { return edit(record, map[string]any{"name": "y"}) },
		"a record of a file of another tenant": func(record, file string) error {
			other := filepath.Join(filepath.Dir(filepath.Dir(file)), "t-other")
			if err := os.Mkdir(other, 0o700); err != nil {
				return err
			}
			name := filepath.Base(file)
			return errors.Join(os.Rename(file, filepath.Join(other, name)), edit(record, map[string]any{"file": "../t-other/" + name}))
		},
		"a record of a file of another type": func(record, _ string) error { return edit(record, map[string]any{"file": "x.json"}) },
		"a directory as record": func(record, _ string) error {
			return errors.Join(os.Remove(record), os.Mkdir(record, 0o700))
		},
		"a FIFO as record": func(record, _ string) error { return errors.Join(os.Remove(record), syscall.Mkfifo(record, 0o600)) },
		"no file":          func(_, file string) error { return os.Remove(file) },
		"a FIFO as file":   func(_, file string) error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)) },
		"an empty file":    func(_, file string) error { return os.Truncate(file, 0) },
		"a file cut short": func(_, file string) error { return os.Truncate(file, 500) },
		"a smaller array": func(_, file string) error {
			return os.WriteFile(file, arraytest.File(t, 500, 1), 0o600)
		},
		"a header of another shape": func(_, file string) error {
			data, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, bytes.Replace(data, []byte("(1000,)"), []byte("(2000,)"), 1), 0o600)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, array.Config{Dir: dir})
			arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 1000, 1))
			if err := spoil(filepath.Join(dir, "t-acme", "x.json"), stored(t, dir)); err != nil {
				t.Fatal(err)
			}
			arraytest.MustPut(t, s, "acme", "good", arraytest.File(t, 10, 1))
			s = open(t, array.Config{Dir: dir})
			if s.Damaged() != 1 {
				t.Errorf("got %d damaged arrays, want 1", s.Damaged())
			}
			_, end := arraytest.Acquire(t, s, "acme", "good")
			end()
			if _, err := s.Acquire(t.Context(), "acme", "x"); err == nil || errors.Is(err, job.ErrArrayNotFound) {
				t.Errorf("acquire: got %v, want an error of the file", err)
			}
			if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); err != nil {
				t.Errorf("delete: got %v", err)
			}
			s = open(t, array.Config{Dir: dir})
			if list, err := s.List(t.Context(), "acme", "", 10); err != nil || len(list) != 1 {
				t.Errorf("got %+v, %v, want the good one", list, err)
			}
			if files, _ := os.ReadDir(filepath.Join(dir, "t-acme")); len(files) != 2 {
				t.Errorf("left: %v", files)
			}
		})
	}
}

// The file of an array with an unreadable record stays, and the array returns with its record.
func TestRecordIsBack(t *testing.T) {
	dir := t.TempDir()
	arraytest.MustPut(t, open(t, array.Config{Dir: dir}), "acme", "x", arraytest.File(t, 10, 1))
	record := filepath.Join(dir, "t-acme", "x.json")
	data, err := os.ReadFile(record)
	if err == nil {
		err = os.WriteFile(record, data[:20], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s := open(t, array.Config{Dir: dir}); s.Damaged() != 1 {
		t.Errorf("got %d damaged arrays, want 1", s.Damaged())
	}
	if err := os.WriteFile(record, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, array.Config{Dir: dir})
	if s.Damaged() != 0 {
		t.Errorf("with its record: got %d damaged arrays, want none", s.Damaged())
	}
	_, end := arraytest.Acquire(t, s, "acme", "x")
	end()
}

// A tenant whose directory cannot be read does not affect others.
func TestTenantThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir})
	arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 10, 1))
	arraytest.MustPut(t, s, "other", "x", arraytest.File(t, 10, 1))
	// A file in place of the directory: root can read a directory of any mode.
	if err := os.Rename(filepath.Join(dir, "t-acme"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "t-acme"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, array.Config{Dir: dir})
	if _, err := s.Get(t.Context(), "acme", "x"); !errors.Is(err, job.ErrStorage) {
		t.Errorf("got %v, want ErrStorage", err)
	}
	if _, err := s.Get(t.Context(), "other", "x"); err != nil {
		t.Errorf("another tenant's: got %v", err)
	}
}
