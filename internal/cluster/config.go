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

// Config configures a node. Zero values select the defaults.
type Config struct {
	// URL lists the NATS servers, separated by commas: "nats://a:4222,nats://b:4222"; "tls://" uses TLS.
	URL string
	// Creds is a file with the user's JWT and seed, as nsc creates it. A user and password or a token are part of the URL.
	Creds string
	// CA is a file with the CA certificates of the servers. Cert and Key are the files of the client certificate and its
	// key.
	CA, Cert, Key string
	// Prefix is the prefix of subjects and, in capitals, of the names of streams and buckets; default: "gather".
	Prefix string
	// Replicas is the number of servers that store each message of a new stream; default: 3. Existing streams stay
	// unchanged.
	Replicas int
	// NodeTimeout is the time without a heartbeat after which the tasks of a node are redelivered to other nodes; default:
	// 10 s.
	NodeTimeout time.Duration

	// LogGrace is the time for which the log may not match the replica before the node stops participating; default: 30 s.
	// Servers that are still forming a cluster may give wrong answers for some seconds.
	LogGrace time.Duration

	// Dir is the directory of the replica, which can be rebuilt from the log.
	Dir string
	// Name is the display name of the node, and Version its release.
	Name, Version string
	// Observer is true for a client that only reads and writes the log: it is not a member, and never the leader.
	Observer bool
	// Work returns the load of the node, which it reports to the other nodes; default: no load.
	Work func() job.Work
	// Ended is called for every job that this node ends on behalf of the cluster, because it was cancelled, failed or timed
	// out. It must not block. Default: nothing.
	Ended func(*job.Job)

	// Wall returns the machine's time; default: time.Now.
	Wall func() time.Time
	// TombstoneRetention and KeyRetention are as in journal.Config; default: 24 h each.
	TombstoneRetention, KeyRetention time.Duration
	// MaxPendingBytes bounds the bytes that wait to be written to the log; default: 64 MiB.
	MaxPendingBytes int64
	// SnapshotBytes is the growth of the log for which a snapshot is written at least; default: 64 MiB.
	SnapshotBytes int64
	// MinFreeBytes, CacheBytes and CountResults are as in journal.Config.
	MinFreeBytes uint64
	CacheBytes   int64
	CountResults func(tenant string) bool

	// publisher replaces the JetStream client of the writer, in tests.
	publisher func(jetstream.JetStream) jetstream.JetStream
	// stallAfter is the time without an answer of NATS after which the node rejects submissions, documents, and reads that need the
	// log; default: 4 s. Tests on a busy machine use a longer one.
	stallAfter time.Duration
	// snapshotPartBytes is the size of the parts of a snapshot before compression; default: 16 MiB.
	snapshotPartBytes int
	// compactPause is the pause after a failed compaction, orphanAge the age at which parts of a snapshot without a manifest
	// are removed; default: a minute and an hour.
	compactPause, orphanAge time.Duration
	// digestInterval is the number of messages between two digests of the state; default: digestInterval.
	digestInterval uint64
	// format is the newest format that the node announces; default: job.NewestFormat.
	format job.Format
	// maxRejected is the number of rejected submissions in one message of a trim record, of at most about 20 bytes each;
	// default: 25 000.
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
	c.SnapshotBytes = cmp.Or(c.SnapshotBytes, 64<<20)
	c.snapshotPartBytes = cmp.Or(c.snapshotPartBytes, snapshotPartBytes)
	c.compactPause, c.orphanAge = cmp.Or(c.compactPause, compactPause), cmp.Or(c.orphanAge, orphanAge)
	c.digestInterval = cmp.Or(c.digestInterval, digestInterval)
	c.format = cmp.Or(c.format, job.NewestFormat)
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

// options returns the options of the connection, which reconnects forever: immediately, and then about every second.
func (c *Config) options() ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(cmp.Or(c.Name, "gather")),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(5 * time.Second),
		// Without a buffer a message that cannot be sent is an error, and its sender retries.
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
			return nil, fmt.Errorf("%s contains no certificate", c.CA)
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
