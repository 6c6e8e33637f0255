package natstest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster/natstest"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

// patience is how long a request is repeated on a busy machine.
const patience = 5 * time.Minute

// open connects a client to the servers.
func open(t *testing.T, f *natstest.Files, opts ...nats.Option) (jetstream.JetStream, error) {
	t.Helper()
	nc, err := f.Connect(append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))...)
	if err != nil {
		return nil, err
	}
	t.Cleanup(nc.Close)
	return jetstream.New(nc)
}

// stream creates a stream of n replicas for the subjects "s.>".
func stream(t *testing.T, f *natstest.Files, n int) jetstream.JetStream {
	t.Helper()
	js, err := open(t, f)
	if err != nil {
		t.Fatal(err)
	}
	// A server that has just started may not have enabled JetStream for an account that it read from a JWT, or be busy.
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: n})
		if err == nil {
			return js
		}
		if !errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) && !errors.Is(err, context.DeadlineExceeded) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// publish publishes one message, and repeats while no server accepts it.
func publish(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		_, err := js.Publish(t.Context(), "s.a", []byte("x"))
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// messages returns how many messages the stream has.
func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		s, err := js.Stream(t.Context(), "S")
		if err == nil {
			return s.CachedInfo().State.Msgs
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := natstest.Start(t, 3)
	t.Logf("started in %s", time.Since(began))
	js := stream(t, &s.Files, 3)
	publish(t, js)
	leader := s.StreamLeader("S")
	if leader < 0 || s.Leader() < 0 {
		t.Fatalf("server %d leads the stream, %d the cluster", leader, s.Leader())
	}
	s.Stop(leader)
	publish(t, js)
	began = time.Now()
	s.Restart(leader)
	t.Logf("restarted in %s", time.Since(began))
	publish(t, js)
	s.StopAll()
	if _, err := js.Publish(t.Context(), "s.a", nil); err == nil {
		t.Error("a message has no replica")
	}
	began = time.Now()
	s.StartAll()
	t.Logf("all started again in %s", time.Since(began))
	if n := messages(t, js); n != 3 {
		t.Errorf("%d messages are left of 3", n)
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := natstest.Start(t, 3)
	t.Logf("started in %s", time.Since(began))
	js := stream(t, &s.Files, 3)
	publish(t, js)
	if leader := s.Leader(); leader < 0 {
		t.Fatal("no server leads")
	} else {
		s.Kill(leader)
		publish(t, js)
		s.Restart(leader)
		s.Pause(leader)
		publish(t, js)
		s.Resume(leader)
		s.Wait()
	}
	began = time.Now()
	s.KillAll()
	s.StartAll()
	t.Logf("all started again in %s", time.Since(began))
	if n := messages(t, js); n != 3 {
		t.Errorf("%d messages are left of 3", n)
	}
}

func TestOneServer(t *testing.T) {
	began := time.Now()
	s := natstest.Start(t, 1, natstest.Config("max_payload: 2MB"))
	t.Logf("started in %s", time.Since(began))
	js := stream(t, &s.Files, 1)
	if n := js.Conn().MaxPayload(); n != 2<<20 {
		t.Errorf("a message may have %d bytes", n)
	}
	publish(t, js)
	if got := s.Streams(t, "S"); len(got) != 1 || got[0].Name != "S" || got[0].First != 1 || got[0].Last != 1 {
		t.Errorf("the streams are %v", got)
	}
	if got := s.Streams(t, "T"); got != nil {
		t.Errorf("other streams are %v", got)
	}
	publish(t, js)
	s.Restart(0)
	if n := messages(t, js); n != 2 {
		t.Errorf("%d messages are left of 2", n)
	}
	s.DeleteStreams(t, "S")
	if got := s.Streams(t, "S"); got != nil {
		t.Errorf("deleted, the streams are %v", got)
	}
}

// Clients without valid credentials are rejected, and other clients can use JetStream.
func TestAuth(t *testing.T) {
	without := func(change func(*natstest.Files)) func(natstest.Files) *natstest.Files {
		return func(f natstest.Files) *natstest.Files {
			change(&f)
			return &f
		}
	}
	noUser := without(func(f *natstest.Files) {
		f.URL = strings.ReplaceAll(f.URL, "someone:s%2Fecret@", "")
	})
	noCA := without(func(f *natstest.Files) { f.CA = "" })
	noCert := without(func(f *natstest.Files) { f.ClientCert, f.ClientKey = "", "" })
	noCreds := without(func(f *natstest.Files) { f.Creds = "" })
	for _, tt := range []struct {
		name     string
		opts     []natstest.Option
		rejected []func(natstest.Files) *natstest.Files
	}{
		{"password", []natstest.Option{natstest.Password("someone", "s/ecret")}, []func(natstest.Files) *natstest.Files{noUser}},
		{"TLS", []natstest.Option{natstest.TLS()}, []func(natstest.Files) *natstest.Files{noCA}},
		{"mutual TLS", []natstest.Option{natstest.MutualTLS()}, []func(natstest.Files) *natstest.Files{noCA, noCert}},
		{"creds", []natstest.Option{natstest.Creds()}, []func(natstest.Files) *natstest.Files{noCreds}},
		{"creds and TLS", []natstest.Option{natstest.Creds(), natstest.TLS()}, []func(natstest.Files) *natstest.Files{noCreds, noCA}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := natstest.Start(t, 1, tt.opts...)
			for i, change := range tt.rejected {
				if _, err := open(t, change(s.Files)); err == nil {
					t.Errorf("stranger %d was let in", i)
				}
			}
			publish(t, stream(t, &s.Files, 1))
		})
	}
	t.Run("creds in a cluster", func(t *testing.T) {
		s := natstest.Start(t, 3, natstest.Creds(), natstest.TLS())
		publish(t, stream(t, &s.Files, 3))
	})
}
