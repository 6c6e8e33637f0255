package natstest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Connect connects as a client with these files does. The caller closes the connection.
func (f *Files) Connect(opts ...nats.Option) (*nats.Conn, error) {
	opts = append(opts, nats.Timeout(readyTimeout))
	if f.CA != "" {
		opts = append(opts, nats.RootCAs(f.CA))
	}
	if f.ClientCert != "" {
		opts = append(opts, nats.ClientCert(f.ClientCert, f.ClientKey))
	}
	if f.Creds != "" {
		opts = append(opts, nats.UserCredentials(f.Creds))
	}
	return nats.Connect(f.URL, opts...)
}

// A Stream describes a stream.
type Stream struct {
	Name string
	// First and Last are the sequences of its oldest and newest message.
	First, Last uint64
	// Bytes is the size of the messages with their subjects and headers.
	Bytes uint64
	// Leader is the name of the server that leads the stream; "" for a single server.
	Leader string
}

// Streams returns the streams whose names have a prefix.
func (f *Files) Streams(tb testing.TB, prefix string) (all []Stream) {
	tb.Helper()
	f.use(tb, func(ctx context.Context, js jetstream.JetStream) error {
		infos, err := list(ctx, js, prefix)
		if err != nil {
			return err
		}
		for _, s := range infos {
			one := Stream{Name: s.Config.Name, First: s.State.FirstSeq, Last: s.State.LastSeq, Bytes: s.State.Bytes}
			if s.Cluster != nil {
				one.Leader = s.Cluster.Leader
			}
			all = append(all, one)
		}
		return nil
	})
	return all
}

// CreateCompressed creates a stream of three replicas that the servers compress.
func (f *Files) CreateCompressed(tb testing.TB, name, subject string, metadata map[string]string) {
	tb.Helper()
	f.use(tb, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{subject}, Replicas: 3, Discard: jetstream.DiscardNew,
			Compression: jetstream.S2Compression, Metadata: metadata,
		})
		return err
	})
}

// Compress turns the compression of a stream on or off. A running server goes on as before until it restarts.
func (f *Files) Compress(tb testing.TB, name string, compression jetstream.StoreCompression) {
	tb.Helper()
	f.use(tb, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		cfg := s.CachedInfo().Config
		cfg.Compression = compression
		_, err = js.UpdateStream(ctx, cfg)
		return err
	})
}

// Messages returns the data of the messages of a stream after a sequence number.
func (f *Files) Messages(tb testing.TB, name string, after uint64) (all [][]byte) {
	tb.Helper()
	f.use(tb, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		all = nil
		for seq := after + 1; seq <= s.CachedInfo().State.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				return err
			}
			all = append(all, m.Data)
		}
		return nil
	})
	return all
}

// DeleteStreams deletes the streams whose names have a prefix.
func (f *Files) DeleteStreams(tb testing.TB, prefix string) {
	tb.Helper()
	f.use(tb, func(ctx context.Context, js jetstream.JetStream) error {
		infos, err := list(ctx, js, prefix)
		for _, s := range infos {
			// A stream that a gather server or NATS has deleted since is gone too.
			if err := js.DeleteStream(ctx, s.Config.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return err
			}
		}
		return err
	})
}

func list(ctx context.Context, js jetstream.JetStream, prefix string) (infos []*jetstream.StreamInfo, err error) {
	all := js.ListStreams(ctx)
	for s := range all.Info() {
		if strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(s.Config.Name, "KV_"), "OBJ_"), prefix) {
			infos = append(infos, s)
		}
	}
	return infos, all.Err()
}

// use calls do with a client, and again while the servers are not available.
func (f *Files) use(tb testing.TB, do func(context.Context, jetstream.JetStream) error) {
	tb.Helper()
	// Not the test's context, which has ended during its cleanup.
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	nc, err := f.Connect(nats.MaxReconnects(-1))
	must(tb, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(tb, err)
	for {
		err := do(ctx, js)
		api, failed := errors.AsType[*jetstream.APIError](err)
		unavailable := failed && api.Code >= 500 || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrConnectionClosed)
		if !unavailable || ctx.Err() != nil {
			must(tb, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
