package arrays_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/cluster/arrays"
	"gather/internal/cluster/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

// connect connects to the servers as a node does.
func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(time.Minute), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// place is a prefix without data on a server.
type place struct {
	url    string
	cfg    arrays.Config
	prefix string
}

var prefixes atomic.Int32

func newPlace(url string, replicas int) *place {
	prefix := fmt.Sprintf("g%d", prefixes.Add(1))
	return &place{url: url, prefix: prefix, cfg: arrays.Config{Prefix: prefix, Replicas: replicas}}
}

// store opens a store with its own connection.
func (p *place) store(t *testing.T, change ...func(c *arrays.Config)) *arrays.Store {
	t.Helper()
	cfg := p.cfg
	for _, f := range change {
		f(&cfg)
	}
	s, err := arrays.Open(t.Context(), connect(t, p.url), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (p *place) Open(t *testing.T, l array.Limits) arraytest.Store {
	return p.store(t, func(c *arrays.Config) { c.MaxBytes, c.TenantBytes, c.Ready = l.MaxBytes, l.TenantBytes, l.Ready })
}

func (p *place) stream(t *testing.T) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	js := connect(t, p.url)
	s, err := js.Stream(t.Context(), fmt.Sprintf("G%s_ARRAYS", p.prefix[1:]))
	if err != nil {
		t.Fatal(err)
	}
	return js, s
}

// blocks returns the number of blocks of each upload.
func (p *place) blocks(t *testing.T, filter string) map[string]uint64 {
	t.Helper()
	_, s := p.stream(t)
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(p.prefix+".arrays.blocks."+filter))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects
}

func (p *place) Uploads(t *testing.T) int { return len(p.blocks(t, "*.0")) }

func (p *place) DamageRecord(t *testing.T, tenant, name string) {
	t.Helper()
	if _, err := connect(t, p.url).Publish(t.Context(), fmt.Sprintf("$KV.G%s_ARRAYS_META.%s.%s", p.prefix[1:], tenant, name), []byte("{")); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			servers := natstest.Start(t, n)
			arraytest.Run(t, func(*testing.T) arraytest.Place { return newPlace(servers.URL, n) })
		})
	}
}

// A request to the leader of a stream fits into the smallest message that servers allow.
func TestSmallMessages(t *testing.T) {
	servers := natstest.Start(t, 1, natstest.Config("max_payload: 64KB"))
	p := newPlace(servers.URL, 1)
	s := p.store(t)
	a := arraytest.MustPut(t, s, "acme", "x", arraytest.File(t, 1<<17, 1))
	h, _ := arraytest.Acquire(t, p.store(t), "acme", "x")
	if !h.Remote {
		t.Error("the array is not remote: sums along an axis would read it several times")
	}
	if n, err := h.ReadAt(make([]byte, a.Bytes), 0); int64(n) != a.Bytes || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n := len(p.blocks(t, "*.*")); n != 18 {
		t.Errorf("%d blocks", n)
	}
}
