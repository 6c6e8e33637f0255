package cluster

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
)

// Config configures a node. Zero values take the defaults that are given.
type Config struct {
	// URL lists the NATS servers, separated by commas: "nats://a:4222,nats://b:4222"; "tls://" uses TLS.
	URL string
	// Creds is a file with the user's JWT and seed, as nsc makes it. User and password or a token go into the URL.
	Creds string
	// CA is a file with the certificates of the authorities of the servers; Cert and Key are the files of the client's
	// certificate.
	CA, Cert, Key string
	// Prefix is the prefix of the names of streams and buckets, in capitals, and of subjects: "gather".
	Prefix string
	// Replicas is how many servers keep every message: 3. It is for streams that are made; existing ones stay unchanged.
	Replicas int
	// NodeTimeout is the time without a heartbeat after which the tasks of a node are redelivered to others: 10 s.
	NodeTimeout time.Duration

	// LogGrace is how long the log may not match the replica before the node stops participating: 30 s. Servers that
	// are finding each other may answer so for some seconds.
	LogGrace time.Duration

	// Dir is the directory of the replica, which can be lost without harm.
	Dir string
	// Name is the display name of the node, and Version its release.
	Name, Version string
	// Observer is true for a client that reads and writes the log only: it is not among the nodes, and never the leader.
	Observer bool
	// Work returns the load of the node, for the other nodes; nil for none.
	Work func() job.Work
	// Ended is called for every job that this node ends for the cluster: one that was cancelled, failed or timed out. It
	// must not block; nil for nothing.
	Ended func(*job.Job)

	// Wall reads the machine's clock: time.Now.
	Wall func() time.Time
	// TombstoneRetention and KeyRetention are as in journal.Config: 24 h each.
	TombstoneRetention, KeyRetention time.Duration
	// MaxPendingBytes bounds the bytes that wait to be written to the log: 64 MiB.
	MaxPendingBytes int64
	// MinFreeBytes, CacheBytes and CountResults are as in journal.Config.
	MinFreeBytes uint64
	CacheBytes   int64
	CountResults func(tenant string) bool

	// publisher replaces the JetStream client of the writer, in tests; nil for none.
	publisher func(jetstream.JetStream) jetstream.JetStream
	// stallAfter is how long the log may take to answer before the node rejects submissions and reads that need it: 4 s. Tests on
	// a busy machine wait longer.
	stallAfter time.Duration
	// maxRejected is how many rejected submissions a message of a trim has: 25 000, at most some 20 bytes each.
	maxRejected int

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (c *Config) setDefaults() {
	c.Prefix = cmp.Or(c.Prefix, "gather")
	c.Replicas = cmp.Or(c.Replicas, 3)
	c.NodeTimeout = cmp.Or(c.NodeTimeout, 10*time.Second)
	c.TombstoneRetention = cmp.Or(c.TombstoneRetention, 24*time.Hour)
	c.KeyRetention = cmp.Or(c.KeyRetention, 24*time.Hour)
	c.LogGrace = cmp.Or(c.LogGrace, 30*time.Second)
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, 64<<20)
	c.maxRejected = cmp.Or(c.maxRejected, 25_000)
	c.stallAfter = cmp.Or(c.stallAfter, 2*publishTimeout)
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Work == nil {
		c.Work = func() job.Work { return job.Work{} }
	}
	if c.Ended == nil {
		c.Ended = func(*job.Job) {}
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
}

// options returns the options of the connection: it reconnects without end, immediately and then about every second.
func (c *Config) options() ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(cmp.Or(c.Name, "gather")),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(5 * time.Second),
		// A message that cannot be sent now is an error, and its sender retries.
		nats.ReconnectBufSize(-1),
	}
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.CA == "" && c.Cert == "" && c.Key == "" {
		return opts, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: there is no certificate in it", c.CA)
		}
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate")
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return append(opts, nats.Secure(t)), nil
}
