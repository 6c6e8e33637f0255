package array_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/job"
)

// Concurrent uploads stop before the disk has less space than required, and free what they wrote.
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
	rejected := func(err error) bool {
		r, ok := errors.AsType[*job.Rejection](err)
		return ok && errors.Is(err, job.ErrStorage) && r.RetryAfter > 0 && strings.Contains(r.Detail, "room")
	}
	_, _, err := s.Put(t.Context(), "acme", "x", iotest.ErrReader(errors.New("read")), job.ArrayUpload{Bytes: disk + 1})
	if !rejected(err) {
		t.Errorf("declared: got %v, want a rejection before anything is read", err)
	}
	var wg sync.WaitGroup
	var stored atomic.Int32
	for i := range 6 {
		wg.Go(func() {
			_, _, err := arraytest.Put(t, s, "acme", string(rune('a'+i)), file)
			if err == nil {
				stored.Add(1)
			} else if !rejected(err) {
				t.Errorf("got %v, want a rejection for lack of space", err)
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
	if _, _, err := arraytest.Put(t, s, "acme", "z", file); !rejected(err) {
		t.Errorf("the third of 4 MB on 10: got %v, want a rejection", err)
	}
}

// Bytes being written by one upload count for the others before the disk shows them. Each round has one moment at which
// that matters.
func TestSpareOfUploadsUnderWay(t *testing.T) {
	const disk, uploads = 1 << 20, 8
	file := arraytest.File(t, 25_000, 1) // 200 KB, of which five fit
	for range 60 {
		dir := t.TempDir()
		var most atomic.Int64
		s := open(t, array.Config{Dir: dir, Spare: func() int64 {
			used := int64(0)
			files, _ := os.ReadDir(filepath.Join(dir, "t-acme"))
			for _, f := range files {
				if info, err := f.Info(); err == nil && filepath.Ext(f.Name()) == ".npy" {
					used += info.Size()
				}
			}
			most.Store(max(most.Load(), used)) // never called concurrently
			return disk - used
		}})
		var wg sync.WaitGroup
		for i := range uploads {
			wg.Go(func() {
				_, _, err := arraytest.Put(t, s, "acme", string(rune('a'+i)), file)
				if r, ok := errors.AsType[*job.Rejection](err); err != nil && (!ok || !errors.Is(r, job.ErrStorage)) {
					t.Errorf("got %v, want none, or a rejection for lack of space", err)
				}
			})
		}
		wg.Wait()
		// Another upload checks the space a last time.
		_, _, _ = arraytest.Put(t, s, "acme", "last", file)
		if most.Load() > disk {
			t.Fatalf("uploads took %d bytes of %d", most.Load(), disk)
		}
	}
}

// BenchmarkRead reads an array in memory whose blocks are already verified.
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
