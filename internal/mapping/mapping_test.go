package mapping_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gather/internal/mapping"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// create writes a file of n random bytes.
func create(t *testing.T, n int) (path string, data []byte) {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{1})
	data = make([]byte, n)
	_, _ = rng.Read(data)
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

func open(path string, size int) (*mapping.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	m, err := mapping.New(f, int64(size))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

func mustOpen(t *testing.T, path string, size int) *mapping.File {
	t.Helper()
	m, err := open(path, size)
	if errors.Is(err, mapping.ErrUnsupported) {
		t.Skip("files cannot be mapped here:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestView(t *testing.T) {
	const size = 5<<20 + 123 // not a multiple of pages, more than two blocks
	path, data := create(t, size)
	m := mustOpen(t, path, size)
	for _, r := range [][2]int64{{0, size}, {0, 1}, {size - 1, size}, {4095, 4097}, {2<<20 - 5, 2<<20 + 5}, {7, 7}} {
		err := m.View(r[0], r[1], func(p []byte) error {
			if !bytes.Equal(p, data[r[0]:r[1]]) {
				t.Errorf("bytes %d to %d differ from the file's", r[0], r[1])
			}
			return nil
		})
		if err != nil {
			t.Errorf("View(%d, %d): got %v, want no error", r[0], r[1], err)
		}
	}
	want := errors.New("mine")
	if err := m.View(0, 1, func([]byte) error { return want }); !errors.Is(err, want) {
		t.Errorf("the error of use: got %v, want %v", err, want)
	}
	if err := m.Close(); err != nil {
		t.Errorf("Close: got %v, want no error", err)
	}
	if err := m.View(0, 1, func([]byte) error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("View of a closed file: got %v, want %v", err, os.ErrClosed)
	}
}

// A file that gets shorter is an error, before and during a view, and never ends the process.
func TestTruncated(t *testing.T) {
	const size = 6 << 20
	for _, c := range []struct {
		name string
		// before and during truncate the file; warm views it first.
		warm, before bool
	}{{"before its first view", false, true}, {"between two views", true, true}, {"during a view", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			path, _ := create(t, size)
			m := mustOpen(t, path, size)
			defer func() { _ = m.Close() }()
			sum := byte(0)
			add := func(p []byte) error {
				for _, b := range p {
					sum += b
				}
				return nil
			}
			if c.warm {
				if err := m.View(0, size, add); err != nil {
					t.Fatal(err)
				}
			}
			truncate := func() {
				if err := os.Truncate(path, 1<<20); err != nil {
					t.Fatal(err)
				}
			}
			if c.before {
				truncate()
			}
			err := m.View(0, size, func(p []byte) error {
				if !c.before {
					truncate()
				}
				return add(p)
			})
			if !errors.Is(err, mapping.ErrTruncated) {
				t.Errorf("got error %v, want %v", err, mapping.ErrTruncated)
			}
			if err := m.View(0, 1<<20, add); err != nil {
				t.Errorf("the part that is left: got error %v, want none", err)
			}
		})
	}
}

// A panic of the caller is not taken for a fault of the file.
func TestPanicOfUse(t *testing.T) {
	path, _ := create(t, 1)
	m := mustOpen(t, path, 1)
	defer func() { _ = m.Close() }()
	defer func() {
		if got := recover(); got != "mine" {
			t.Errorf("got panic %v, want %q", got, "mine")
		}
	}()
	_ = m.View(0, 1, func([]byte) error { panic("mine") })
}

func TestUnmappable(t *testing.T) {
	path, _ := create(t, 0)
	if _, err := open(path, 0); !errors.Is(err, mapping.ErrUnsupported) {
		t.Errorf("an empty file: got error %v, want %v", err, mapping.ErrUnsupported)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(r.Close(), w.Close()) }()
	if _, err := mapping.New(r, 10); !errors.Is(err, mapping.ErrUnsupported) {
		t.Errorf("a pipe: got error %v, want %v", err, mapping.ErrUnsupported)
	}
}

// A view in progress keeps the memory of a closed file.
func TestCloseDuringView(t *testing.T) {
	path, data := create(t, 1<<20)
	m := mustOpen(t, path, len(data))
	err := m.View(0, int64(len(data)), func(p []byte) error {
		if err := m.Close(); err != nil {
			t.Errorf("Close: got %v, want no error", err)
		}
		if !bytes.Equal(p, data) {
			t.Error("the bytes changed")
		}
		return nil
	})
	if err != nil {
		t.Errorf("View: got %v, want no error", err)
	}
}

func TestPool(t *testing.T) {
	path, data := create(t, 1000)
	_ = mustOpen(t, path, len(data)).Close() // skips where nothing is mapped
	opened := 0
	get := func(t *testing.T, p *mapping.Pool, k string) *mapping.File {
		t.Helper()
		var got *mapping.File
		err := p.Use(k, func() (*mapping.File, error) {
			opened++
			return open(path, len(data))
		}, func(f *mapping.File) error {
			got = f
			return f.View(0, 10, func([]byte) error { return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	closed := func(f *mapping.File) bool {
		return errors.Is(f.View(0, 1, func([]byte) error { return nil }), os.ErrClosed)
	}
	t.Run("keeps a file", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := mapping.NewPool()
			first := get(t, p, "1")
			time.Sleep(9 * time.Second)
			if second := get(t, p, "1"); second != first {
				t.Error("the file was mapped again")
			}
			time.Sleep(9 * time.Second)
			if closed(first) {
				t.Error("closed 9s after its last use, want 10s")
			}
			time.Sleep(2 * time.Second)
			if !closed(first) {
				t.Error("open 11s after its last use, want 10s")
			}
			if err := p.Close(); err != nil {
				t.Errorf("Close: got %v, want no error", err)
			}
		})
	})
	t.Run("forgets a file", func(t *testing.T) {
		p := mapping.NewPool()
		f := get(t, p, "1")
		p.Forget("1")
		if !closed(f) {
			t.Error("the file is open")
		}
		if again := get(t, p, "1"); again == f {
			t.Error("got the forgotten file")
		}
		_ = p.Close()
	})
	t.Run("bounds the files", func(t *testing.T) {
		p := mapping.NewPool()
		first := get(t, p, "0")
		for i := 1; i <= 32; i++ {
			get(t, p, strconv.Itoa(i))
		}
		if !closed(first) {
			t.Error("33 files are open, want 32")
		}
		_ = p.Close()
	})
	t.Run("closes files in use after their use", func(t *testing.T) {
		p := mapping.NewPool()
		var f *mapping.File
		err := p.Use("1", func() (*mapping.File, error) { return open(path, len(data)) }, func(got *mapping.File) error {
			f = got
			if err := p.Close(); err != nil {
				t.Errorf("Close: got %v, want no error", err)
			}
			return f.View(0, 1, func([]byte) error { return nil })
		})
		if err != nil {
			t.Errorf("got error %v, want none", err)
		}
		if !closed(f) {
			t.Error("the file is open")
		}
	})
	t.Run("maps a file once", func(t *testing.T) {
		p := mapping.NewPool()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					_ = p.Use("1", func() (*mapping.File, error) { return open(path, len(data)) }, func(f *mapping.File) error {
						return f.View(0, 1000, func(q []byte) error {
							if !bytes.Equal(q, data) {
								t.Error("the bytes differ")
							}
							return nil
						})
					})
				}
			})
		}
		wg.Wait()
		_ = p.Close()
	})
	if opened == 0 {
		t.Error("nothing was opened")
	}
}
