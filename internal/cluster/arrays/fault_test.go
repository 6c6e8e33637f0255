package arrays_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"gather/internal/array/arraytest"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
	"gather/internal/npy"
)

// at calls a function once, after a number of bytes.
type at struct {
	io.Reader
	left int
	call func()
}

func (a *at) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if a.left > 0 && a.left <= n {
		a.call()
	}
	a.left -= n
	return n, err
}

// With three servers one may be lost at any time, in the middle of an upload or a read; when all are lost a read waits.
func TestServersAreLost(t *testing.T) {
	servers := natstest.Start(t, 3)
	p := newPlace(servers.URL, 3)
	s, other := p.store(t), p.store(t)
	stream := "G" + p.prefix[1:] + "_ARRAYS"
	data := arraytest.File(t, 3<<20, 0) // 24 MiB
	_, _ = rand.NewChaCha8([32]byte{}).Read(data[128:])
	lost := -1
	in := &at{Reader: bytes.NewReader(data), left: len(data) / 2, call: func() {
		lost = servers.StreamLeader(stream)
		servers.Stop(lost)
	}}
	if _, created, err := s.Put(t.Context(), "acme", "x", in, job.ArrayUpload{Bytes: int64(len(data))}); err != nil || !created || lost < 0 {
		t.Fatalf("%v, %v, server %d was lost", created, err, lost)
	}
	read := func(ctx context.Context) {
		t.Helper()
		fresh := p.store(t) // with no block in memory
		h, end := arraytest.Acquire(t, fresh, "acme", "x")
		defer end()
		got := make([]byte, len(data))
		if n, err := h.ReadAtContext(ctx, got, 0); n != len(data) || err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v, right: %v", n, err, bytes.Equal(got, data))
		}
	}
	read(t.Context())
	servers.Restart(lost)
	read(t.Context())

	h, end := arraytest.Acquire(t, other, "acme", "x")
	defer end()
	servers.StopAll()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := h.ReadAtContext(ctx, make([]byte, 10), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with no server: %v", err)
	}
	if _, _, err := s.Put(ctx, "acme", "y", bytes.NewReader(data), job.ArrayUpload{Bytes: -1}); err == nil {
		t.Error("stored with no server")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		got := make([]byte, 3<<20)
		n, err := h.ReadAtContext(t.Context(), got, 1<<20)
		if n != len(got) || err != nil || !bytes.Equal(got, data[1<<20:4<<20]) {
			t.Errorf("after the outage: %d bytes, %v", n, err)
		}
	})
	servers.StartAll()
	wg.Wait()
	if _, _, err := arraytest.Put(t, s, "acme", "y", data[:0]); errors.Is(err, job.ErrStorage) {
		t.Errorf("after the outage: %v", err)
	}
	if list, err := s.List(t.Context(), "acme", "", 10); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// An upload uses the same few buffers whatever its size, and reading all of it holds a bounded part of it.
func TestMemory(t *testing.T) {
	servers := natstest.Start(t, 1)
	p := newPlace(servers.URL, 1)
	s := p.store(t)
	const n = 12 << 20 // 96 MiB
	var header bytes.Buffer
	if _, err := npy.WriteHeader(&header, npy.Type{Kind: 'f', Size: 8}, []int64{n}); err != nil {
		t.Fatal(err)
	}
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := allocated()
	in := io.MultiReader(&header, io.LimitReader(zeros{}, 8*n))
	if _, _, err := s.Put(t.Context(), "acme", "x", in, job.ArrayUpload{Bytes: -1}); err != nil {
		t.Fatal(err)
	}
	if used := allocated() - before; used > 16<<20 {
		t.Errorf("the upload of 96 MiB took %d KiB", used>>10)
	}
	h, _ := arraytest.Acquire(t, s, "acme", "x")
	got, err := io.Copy(io.Discard, io.NewSectionReader(h, 0, 8*n+128))
	if err != nil || got != 8*n+128 {
		t.Errorf("%d bytes, %v", got, err)
	}
	if held := s.Held(); held == 0 || held > 64<<20 {
		t.Errorf("%d bytes are held", held)
	}
}

// zeros is an endless reader of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
