package arrays_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/cluster/arrays"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// Concurrent uploads to several nodes never exceed the quota together, and the rest of it can be used.
func TestQuotaOverNodes(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { quotaOverNodes(t, newPlace(natstest.Start(t, n).URL, n)) })
	}
}

func quotaOverNodes(t *testing.T, p *place) {
	const quota = 10_000
	limit := func(c *arrays.Config) { c.TenantBytes = quota }
	stores := []*arrays.Store{p.store(t, limit), p.store(t, limit), p.store(t, limit)}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			_, _, err := arraytest.Put(t, stores[i%3], "acme", fmt.Sprint("x", i), arraytest.File(t, 200, 1)) // 1728 bytes
			if err != nil && !errors.Is(err, job.ErrQuota) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	total := func() (n int, bytes int64) {
		list, err := stores[0].List(t.Context(), "acme", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			bytes += a.Bytes
		}
		return len(list), bytes
	}
	if n, bytes := total(); n == 0 || bytes > quota || p.Uploads(t) != n {
		t.Errorf("%d arrays of %d bytes, %d uploads", n, bytes, p.Uploads(t))
	}
	for i := 0; ; i++ {
		_, _, err := arraytest.Put(t, stores[i%3], "acme", fmt.Sprint("y", i), arraytest.File(t, 200, 1))
		if errors.Is(err, job.ErrQuota) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n, bytes := total()
	if n != 5 || bytes != 5*1728 {
		t.Errorf("%d arrays of %d bytes", n, bytes)
	}
	arraytest.MustPut(t, stores[1], "other", "x", arraytest.File(t, 300, 1))
	if err := stores[1].RefreshUsage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, gotBytes := stores[1].Totals(); got != n+1 || gotBytes != bytes+128+2400 {
		t.Errorf("%d arrays of %d bytes in all", got, gotBytes)
	}
}

// jobs are the jobs of other nodes.
type jobs struct {
	mu    sync.Mutex
	marks map[string]bool
}

func (j *jobs) Uses(mark string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.marks[mark]
}

func (j *jobs) add(mark string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.marks = map[string]bool{mark: true}
}

// An array that a job of another node uses is neither replaced nor deleted, even if the job is found only after the lock;
// the array is then unlocked.
func TestInUseElsewhere(t *testing.T) {
	servers := natstest.Start(t, 1)
	p := newPlace(servers.URL, 1)
	var j jobs
	synced := func(context.Context) error { return nil }
	s := p.store(t, func(c *arrays.Config) {
		c.Uses, c.Sync = &j, func(ctx context.Context) error { return synced(ctx) }
	})
	other := p.store(t, func(c *arrays.Config) { c.Uses = &j })
	a := arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 100, 1))
	mark := array.Use("acme", "x", a.SHA256)
	rejected := func() {
		t.Helper()
		if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); !errors.Is(err, job.ErrArrayInUse) {
			t.Errorf("delete: %v", err)
		}
		if _, _, err := arraytest.Put(t, s, "acme", "x", arraytest.File(t, 1, 0)); !errors.Is(err, job.ErrArrayInUse) {
			t.Errorf("replace: %v", err)
		}
		h, end := arraytest.Acquire(t, other, "acme", "x")
		if h.SHA256 != a.SHA256 || h.Use != mark {
			t.Errorf("%+v", h)
		}
		if n, err := h.ReadAt(make([]byte, a.Bytes), 0); int64(n) != a.Bytes || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		end()
	}
	j.add(mark)
	if a, _ := other.Get(t.Context(), "acme", "x"); !a.InUse {
		t.Error("the array is not in use")
	}
	rejected()
	j.add("")
	synced = func(context.Context) error {
		j.add(mark)
		return nil
	}
	rejected()
	j.add("")
	rejected()
	j.add("")
	broken := errors.New("the log does not answer")
	synced = func(context.Context) error { return job.ErrStorage }
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, broken)
	defer cancel()
	if err := s.Delete(ctx, "acme", "x", job.Precondition{}); !errors.Is(err, broken) {
		t.Errorf("without the log: %v", err)
	}
	synced = func(context.Context) error { return nil }
	if _, end := arraytest.Acquire(t, other, "acme", "x"); end != nil {
		end()
	}
	// A handle without a job may be of a job that has just ended, so Delete waits for it.
	_, end := arraytest.Acquire(t, s, "acme", "x")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); err != nil {
			t.Error(err)
		}
	})
	if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.InUse {
		t.Errorf("%+v, %v", a, err)
	}
	end()
	wg.Wait()
}

// A locked array is not opened, and the lock of a dead node is removed.
func TestSeal(t *testing.T) {
	servers := natstest.Start(t, 1)
	p := newPlace(servers.URL, 1)
	for name, use := range map[string]func(s *arrays.Store) error{
		"open": func(s *arrays.Store) error {
			h, err := s.Acquire(t.Context(), "acme", "x")
			if err == nil {
				err = h.Close()
			}
			return err
		},
		"replace": func(s *arrays.Store) error {
			_, _, err := arraytest.Put(t, s, "acme", "x", arraytest.File(t, 50, 2))
			return err
		},
		"delete": func(s *arrays.Store) error { return s.Delete(t.Context(), "acme", "x", job.Precondition{}) },
	} {
		t.Run(name, func(t *testing.T) {
			s, dead := p.store(t), p.store(t)
			arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 100, 1))
			if err := dead.Lock(t.Context(), "acme", "x"); err != nil {
				t.Fatal(err)
			}
			if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.Shape[0] != 100 {
				t.Errorf("%+v, %v", a, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, err := s.Acquire(ctx, "acme", "x"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("opened a locked array: %v", err)
			}
			s.SetLockTTL(50 * time.Millisecond)
			if err := use(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// The sweep removes old abandoned uploads and markers of deleted arrays, but no uploads in progress and no arrays.
func TestSweep(t *testing.T) {
	servers := natstest.Start(t, 1)
	p := newPlace(servers.URL, 1)
	s, hasty := p.store(t), p.store(t, func(c *arrays.Config) { c.AbandonedAfter = time.Nanosecond })
	data := arraytest.File(t, 1<<17, 1) // three blocks
	arraytest.MustPut(t, s, "acme", "x", data)
	for i := range 5 {
		arraytest.MustPut(t, s, "acme", fmt.Sprint("gone", i), data)
		if err := s.Delete(t.Context(), "acme", fmt.Sprint("gone", i), job.Precondition{}); err != nil {
			t.Fatal(err)
		}
	}
	js, _ := p.stream(t)
	for i := range 3 {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("%s.arrays.blocks.dead.%d", p.prefix, i), []byte("half")); err != nil {
			t.Fatal(err)
		}
	}
	in, out := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _, err := s.Put(t.Context(), "acme", "slow", in, job.ArrayUpload{Bytes: -1})
		if err != nil {
			t.Error(err)
		}
	})
	if _, err := out.Write(data[:len(data)-1]); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(p.blocks(t, "dead.*")); n != 3 {
		t.Errorf("%d blocks are left of a young upload", n)
	}
	if _, err := out.Write(data[len(data)-1:]); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	wg.Wait()
	if err := hasty.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(p.blocks(t, "dead.*")); n != 0 {
		t.Errorf("%d blocks are left of an old upload", n)
	}
	for _, name := range []string{"x", "slow"} {
		h, _ := arraytest.Acquire(t, hasty, "acme", name)
		if n, err := h.ReadAt(make([]byte, len(data)), 0); n != len(data) || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	meta, err := js.Stream(t.Context(), "KV_G"+p.prefix[1:]+"_ARRAYS_META")
	if err != nil {
		t.Fatal(err)
	}
	if n := meta.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d records are left of 2", n)
	}
	if err := hasty.RefreshUsage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, bytes := hasty.Totals(); n != 2 || bytes != 2*int64(len(data)) {
		t.Errorf("%d arrays of %d bytes", n, bytes)
	}
}

// A record that was written by hand does not hide other arrays from the quota.
func TestTallyByHand(t *testing.T) {
	servers := natstest.Start(t, 1)
	p := newPlace(servers.URL, 1)
	s := p.store(t, func(c *arrays.Config) { c.TenantBytes = 5000 })
	for i := range 3 {
		arraytest.MustPut(t, s, "acme", fmt.Sprint("x", i), arraytest.File(t, 150, 1)) // 1328 bytes
	}
	kv, err := connect(t, p.url).KeyValue(t.Context(), "G"+p.prefix[1:]+"_ARRAYS_META")
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "acme.x1"); err != nil {
		t.Fatal(err)
	}
	arraytest.MustPut(t, s, "acme", "y", arraytest.File(t, 150, 1))
	if _, _, err := arraytest.Put(t, s, "acme", "z", arraytest.File(t, 150, 1)); !errors.Is(err, job.ErrQuota) {
		t.Errorf("beyond the quota: %v", err)
	}
}

// A missing or truncated block is an error of its own.
func TestDamage(t *testing.T) {
	servers := natstest.Start(t, 1)
	p := newPlace(servers.URL, 1)
	data := arraytest.File(t, 1<<17, 1)
	arraytest.MustPut(t, p.store(t), "acme", "x", data)
	js, stream := p.stream(t)
	var subject string
	for one := range p.blocks(t, "*.1") {
		subject = one
	}
	read := func() error {
		h, end := arraytest.Acquire(t, p.store(t), "acme", "x")
		defer end()
		if _, err := h.ReadAt(make([]byte, 100), 0); err != nil {
			t.Errorf("the whole part: %v", err)
		}
		_, err := h.ReadAt(make([]byte, len(data)), 0)
		return err
	}
	if _, err := js.Publish(t.Context(), subject, []byte("half")); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, job.ErrCorrupt) || !strings.Contains(err.Error(), "block 1 has 4 bytes") {
		t.Errorf("cut: %v", err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, job.ErrCorrupt) || !strings.Contains(err.Error(), "block 1 is missing") {
		t.Errorf("missing: %v", err)
	}
	arraytest.MustPut(t, p.store(t), "acme", "x", data)
	if err := read(); err != nil {
		t.Errorf("uploaded again: %v", err)
	}
}

// counted counts the bytes that are read.
type counted struct {
	io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// An upload that exceeds a bound is stopped, and not read to its end.
func TestUploadIsStopped(t *testing.T) {
	servers := natstest.Start(t, 1)
	p := newPlace(servers.URL, 1)
	s := p.store(t, func(c *arrays.Config) { c.TenantBytes = 1 << 20 })
	r := &counted{Reader: strings.NewReader(string(arraytest.File(t, 2<<20, 1)))}
	if _, _, err := s.Put(t.Context(), "acme", "x", r, job.ArrayUpload{Bytes: -1}); !errors.Is(err, job.ErrQuota) || r.n.Load() > 4<<20 {
		t.Errorf("%v after %d bytes", err, r.n.Load())
	}
}
