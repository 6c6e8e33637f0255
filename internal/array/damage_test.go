package array_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/job"
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

// A bit that was flipped after the upload is found by the first read of its block, whatever part of the block is read, and
// by no other read.
func TestFlippedBits(t *testing.T) {
	const size = 128 + 8*50_000 // seven blocks, the last one short
	for _, at := range []int64{0, 127, 128, 65535, 65536, 200_000, size - 1} {
		dir := t.TempDir()
		s := open(t, array.Config{Dir: dir})
		data := arraytest.File(t, 50_000, 1)
		arraytest.MustPut(t, s, "acme", "x", data)
		flip(t, stored(t, dir), at)
		h, _ := arraytest.Acquire(t, s, "acme", "x")
		bad := at / 65536
		for i := range int64(7) {
			lo := i * 65536
			for _, r := range [][2]int64{{lo + 10, 20}, {lo, min(65536, size-lo)}} { // in part, whole
				p := make([]byte, r[1])
				_, err := h.ReadAt(p, r[0])
				if i == bad && !errors.Is(err, job.ErrCorrupt) {
					t.Errorf("bit %d: %d bytes at %d: got %v, want ErrCorrupt", at, r[1], r[0], err)
				}
				if i != bad && (err != nil || !bytes.Equal(p, data[r[0]:r[0]+r[1]])) {
					t.Errorf("bit %d: %d bytes at %d: got %v, want what was uploaded", at, r[1], r[0], err)
				}
			}
		}
		if a, err := s.Get(t.Context(), "acme", "x"); err != nil || !a.Damaged || a.Unreadable || s.Damaged() != 1 {
			t.Errorf("bit %d: got %+v, %v, %d damaged, want a damaged array", at, a, err, s.Damaged())
		}
		if _, err := s.Acquire(t.Context(), "acme", "x"); !errors.Is(err, job.ErrCorrupt) {
			t.Errorf("bit %d: acquire: got %v, want ErrCorrupt", at, err)
		}
	}
}

// Each block is checked once, however many readers there are at a time.
func TestBlocksAreCheckedOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir})
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
				if _, err := h.ReadAt(p, off); err != nil || !bytes.Equal(p, data[off:off+int64(len(p))]) {
					t.Errorf("%d bytes at %d: got %v, want what was uploaded", len(p), off, err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := h.ReadAt(make([]byte, len(data)), 0); err != nil {
		t.Fatal(err)
	}
	flip(t, stored(t, dir), 1000)
	if _, err := h.ReadAt(make([]byte, 100), 1000); err != nil {
		t.Errorf("got %v from a block that was checked before", err)
	}
}

// A file that has lost its end is damaged, also while it is open.
func TestTruncatedFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir})
	a := arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 50_000, 1))
	h, _ := arraytest.Acquire(t, s, "acme", "x")
	if err := os.Truncate(stored(t, dir), 300_000); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReadAt(make([]byte, 1000), a.Bytes-1000); !errors.Is(err, job.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	s = open(t, array.Config{Dir: dir})
	if a, err := s.Get(t.Context(), "acme", "x"); err != nil || !a.Damaged || a.DType != "float64" {
		t.Errorf("after a start: got %+v, %v, want a damaged array", a, err)
	}
}

// An array without checksums, of an early version, gets them if it is what its SHA-256 says.
func TestScrub(t *testing.T) {
	for _, damage := range []bool{false, true} {
		dir := t.TempDir()
		arraytest.MustPut(t, open(t, array.Config{Dir: dir}), "acme", "x", arraytest.File(t, 300_000, 1))
		path := filepath.Join(dir, "t-acme", "x.json")
		var record map[string]any
		data, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(data, &record)
		}
		if err != nil || record["crc32c"] == nil {
			t.Fatalf("got %v, %v, want a record with checksums", record, err)
		}
		delete(record, "crc32c")
		if data, err = json.Marshal(record); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, array.Config{Dir: dir})
		if damage {
			flip(t, stored(t, dir), 2_000_000)
		}
		s.Scrub(t.Context())
		if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.Damaged != damage {
			t.Errorf("got %+v, %v, want damaged: %t", a, err, damage)
		}
		if damage {
			continue
		}
		s = open(t, array.Config{Dir: dir})
		flip(t, stored(t, dir), 2_000_000)
		h, _ := arraytest.Acquire(t, s, "acme", "x")
		if _, err := h.ReadAt(make([]byte, 10), 2_000_100); !errors.Is(err, job.ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt by the checksums that were added", err)
		}
	}
}

// Whatever takes the place of files in the directory, the store opens and the other arrays are there.
func TestOpenWhateverIsThere(t *testing.T) {
	for name, spoil := range map[string]func(record, file string) error{
		"an empty record":         func(record, _ string) error { return os.Truncate(record, 0) },
		"a record of a newer one": func(record, _ string) error { return os.WriteFile(record, []byte(`{"version":99}`), 0o600) },
		"a record of another": func(record, _ string) error {
			return os.WriteFile(record, []byte(`{"version":1,"name":"y","file":"../z"}`), 0o600)
		},
		"a directory as record": func(record, _ string) error {
			return errors.Join(os.Remove(record), os.Mkdir(record, 0o700))
		},
		"a FIFO as record": func(record, _ string) error { return errors.Join(os.Remove(record), syscall.Mkfifo(record, 0o600)) },
		"no file":          func(_, file string) error { return os.Remove(file) },
		"a FIFO as file":   func(_, file string) error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)) },
		"an empty file":    func(_, file string) error { return os.Truncate(file, 0) },
		"a file cut short": func(_, file string) error { return os.Truncate(file, 500) },
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

// A tenant whose directory cannot be read has no part in what others do.
func TestTenantThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, array.Config{Dir: dir})
	arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 10, 1))
	arraytest.MustPut(t, s, "other", "x", arraytest.File(t, 10, 1))
	// A file in place of the directory: root can read a directory whatever its mode.
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

// Uploads stop before the disk has less left than it must, also several at the same time; what they wrote comes back.
func TestSpare(t *testing.T) {
	const disk = 10 << 20
	dir := t.TempDir()
	var lowest atomic.Int64
	lowest.Store(disk)
	spare := func() int64 {
		var used int64
		files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				used += info.Size()
			}
		}
		for now := disk - used; ; {
			if low := lowest.Load(); now >= low || lowest.CompareAndSwap(low, now) {
				return now
			}
		}
	}
	s := open(t, array.Config{Dir: dir, Spare: spare})
	file := arraytest.File(t, 500_000, 1) // 4 MB
	refused := func(err error) bool {
		r, ok := errors.AsType[*job.Rejection](err)
		return ok && errors.Is(err, job.ErrStorage) && r.RetryAfter > 0 && strings.Contains(r.Detail, "room")
	}
	_, _, err := s.Put(t.Context(), "acme", "x", iotest.ErrReader(errors.New("read")), job.ArrayUpload{Bytes: disk + 1})
	if !refused(err) {
		t.Errorf("announced: got %v, want a refusal before anything is read", err)
	}
	var wg sync.WaitGroup
	var stored atomic.Int32
	for i := range 6 {
		wg.Go(func() {
			_, _, err := arraytest.Put(t, s, "acme", string(rune('a'+i)), file)
			if err == nil {
				stored.Add(1)
			} else if !refused(err) {
				t.Errorf("got %v, want a refusal for want of room", err)
			}
		})
	}
	wg.Wait()
	if now := spare(); lowest.Load() < 0 || now < 0 {
		t.Errorf("%d bytes were left at the lowest, %d now, want none below 0", lowest.Load(), now)
	}
	if n := directory(dir).Uploads(t); n != int(stored.Load()) || n > 2 {
		t.Errorf("%d uploads are left of the %d that were stored, want at most 2", n, stored.Load())
	}
	for i := range 6 {
		_ = s.Delete(t.Context(), "acme", string(rune('a'+i)), job.Precondition{})
	}
	for _, name := range []string{"x", "y"} {
		arraytest.MustPut(t, s, "acme", name, file)
	}
	if _, _, err := arraytest.Put(t, s, "acme", "z", file); !refused(err) {
		t.Errorf("the third of 4 MB on 10: got %v, want a refusal", err)
	}
}

// BenchmarkRead reads an array that is in memory, whose blocks were checked before.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	s, err := array.Open(array.Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	var t testing.T
	data := arraytest.File(&t, 4<<20, 1) // 32 MiB
	if _, _, err := s.Put(b.Context(), "acme", "x", bytes.NewReader(data), job.ArrayUpload{Bytes: -1}); err != nil {
		b.Fatal(err)
	}
	for _, first := range []bool{true, false} {
		name := map[bool]string{true: "first", false: "again"}[first]
		b.Run(name, func(b *testing.B) {
			p := make([]byte, 256<<10)
			b.SetBytes(32 << 20)
			for b.Loop() {
				if first {
					b.StopTimer()
					if s, err = array.Open(array.Config{Dir: dir}); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				h, err := s.Acquire(b.Context(), "acme", "x")
				if err != nil {
					b.Fatal(err)
				}
				for off := int64(128); off < 32<<20; off += int64(len(p)) {
					if _, err := h.ReadAtContext(b.Context(), p, off); err != nil {
						b.Fatal(err)
					}
				}
				if err := h.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
