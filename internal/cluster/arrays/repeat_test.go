package arrays_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/array/arraytest"
	"gather/internal/cluster/arrays"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// lostAck is a connection on which the acknowledgement of an update of a record is lost, and other clients act before the update is
// repeated.
type lostAck struct {
	jetstream.JetStream
	match     func(m *nats.Msg) bool
	meanwhile func()
}

func (l *lostAck) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := l.JetStream.PublishMsg(ctx, m, opts...)
	if f := l.meanwhile; err == nil && f != nil && l.match(m) {
		l.meanwhile = nil
		f()
		return nil, context.DeadlineExceeded
	}
	return ack, err
}

// An update whose acknowledgement was lost is not repeated after other clients have replaced or deleted the array: its blocks are gone.
func TestLostAcknowledgement(t *testing.T) {
	servers := natstest.Start(t, 1)
	mine, others, before := arraytest.File(t, 1000, 1), arraytest.File(t, 1000, 2), arraytest.File(t, 1000, 3)
	stored := func(m *nats.Msg) bool { return len(m.Data) > 0 && !bytes.Contains(m.Data, []byte(`"sealed"`)) }
	deleted := func(m *nats.Msg) bool { return m.Header.Get("KV-Operation") != "" }
	put := func(t *testing.T, s *arrays.Store) error {
		t.Helper()
		_, _, err := arraytest.Put(t, s, "acme", "x", mine)
		return err
	}
	remove := func(t *testing.T, s *arrays.Store) error {
		t.Helper()
		return s.Delete(t.Context(), "acme", "x", job.Precondition{})
	}
	for _, tt := range []struct {
		name      string
		before    []byte
		operation func(t *testing.T, s *arrays.Store) error
		match     func(m *nats.Msg) bool
		meanwhile func(t *testing.T, other *arrays.Store)
		want      error
		content   []byte // afterwards; nil for no array
	}{
		{"a new array", nil, put, stored, func(*testing.T, *arrays.Store) {}, nil, mine},
		{"a new array, deleted", nil, put, stored, func(t *testing.T, other *arrays.Store) {
			if err := remove(t, other); err != nil {
				t.Error(err)
			}
		}, job.ErrStorage, nil},
		{"a new array, replaced", nil, put, stored, func(t *testing.T, other *arrays.Store) {
			arraytest.MustPut(t, other, "acme", "x", others)
		}, job.ErrStorage, others},
		{"a new array, deleted and stored again", nil, put, stored, func(t *testing.T, other *arrays.Store) {
			if err := remove(t, other); err != nil {
				t.Error(err)
			}
			arraytest.MustPut(t, other, "acme", "x", others)
		}, job.ErrStorage, others},
		{"a new array, and another one", nil, put, stored, func(t *testing.T, other *arrays.Store) {
			arraytest.MustPut(t, other, "acme", "y", others)
		}, nil, mine},
		{"a replaced array", before, put, stored, func(*testing.T, *arrays.Store) {}, nil, mine},
		{"a replaced array, deleted", before, put, stored, func(t *testing.T, other *arrays.Store) {
			if err := remove(t, other); err != nil {
				t.Error(err)
			}
		}, job.ErrStorage, nil},
		{"a replaced array, replaced", before, put, stored, func(t *testing.T, other *arrays.Store) {
			arraytest.MustPut(t, other, "acme", "x", others)
		}, job.ErrStorage, others},
		{"a deleted array", before, remove, deleted, func(*testing.T, *arrays.Store) {}, nil, nil},
		{"a deleted array, stored again", before, remove, deleted, func(t *testing.T, other *arrays.Store) {
			arraytest.MustPut(t, other, "acme", "x", others)
		}, job.ErrStorage, others},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(servers.URL, 1)
			other := p.store(t)
			if tt.before != nil {
				arraytest.MustPut(t, other, "acme", "x", tt.before)
			}
			js := &lostAck{JetStream: connect(t, p.url), match: tt.match}
			s, err := arrays.Open(t.Context(), js, p.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			js.meanwhile = func() { tt.meanwhile(t, other) }
			if err := tt.operation(t, s); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if js.meanwhile != nil {
				t.Error("no acknowledgement was lost")
			}
			if tt.content == nil {
				if _, err := other.Get(t.Context(), "acme", "x"); !errors.Is(err, job.ErrArrayNotFound) {
					t.Errorf("got %v, want no array", err)
				}
				return
			}
			h, _ := arraytest.Acquire(t, other, "acme", "x")
			defer func() { _ = h.Close() }()
			got := make([]byte, len(tt.content))
			if _, err := h.ReadAt(got, 0); err != nil || string(got) != string(tt.content) {
				t.Errorf("the array has other bytes, or %v", err)
			}
		})
	}
}
