// Package arrays stores uploaded arrays in JetStream, where every node of a cluster can read and write them.
//
// The bytes are split into blocks, which are messages of a stream with one subject each, so any range is read with a few
// direct gets from a near server. The record of an array is one value of a KV bucket.
//
// Guarantees, in addition to the guarantees of package array:
//   - An array appears when all its blocks are stored by a quorum and its header and checksum were verified, or not at all:
//     its record is written last.
//   - Every update of a tenant's arrays is a compare-and-set on all records of the tenant, and carries their count and
//     bytes. Therefore the quota holds for uploads to several nodes. Uploads in progress count on their own node only.
//   - An array that an unfinished job of any node uses does not change and is not deleted. A node that replaces or deletes
//     an array locks its record first, so that it cannot be opened; then it checks the jobs, and updates or unlocks the record.
//   - A read waits for NATS until its context is done. A missing or truncated block is job.ErrCorrupt.
//   - The blocks of an abandoned upload are removed a day later, by any node.
//
// Metadata is read from the leader of its stream, so an array of one node is visible on all others immediately. A
// Store has one goroutine, which Close waits for. Errors of NATS are retried for a while, and then wrapped in
// job.ErrStorage.
package arrays

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/array"
	"gather/internal/blocks"
)

// Uses finds arrays in the jobs of the whole cluster.
type Uses interface {
	// Uses reports whether the pinned spec of an unfinished job contains a refID, an array.Handle.Use. It is called for every
	// described array.
	Uses(refID string) bool
}

// Config configures a Store. Zero values select the defaults.
type Config struct {
	// Prefix is the prefix of subjects and, in capitals, of the names of stream and bucket; default: "gather".
	Prefix string
	// Replicas is the number of servers that store each message of a new stream; default: 3. Existing streams stay
	// unchanged.
	Replicas int
	// MaxBytes bounds one array, TenantBytes all arrays of a tenant, headers included; 0 for no bound.
	MaxBytes, TenantBytes int64
	// Ready returns nil, or the reason for which nothing may be written now; default: always ready.
	Ready func() error
	// Uses is called before an array is replaced or deleted, in addition to the check of this node's handles; nil without
	// jobs.
	Uses Uses
	// Sync returns when Uses has every job that any node had accepted before the call; nil if it always has.
	Sync func(ctx context.Context) error
	// BlockBytes is the size of the blocks of new arrays; default: 512 KiB, or the largest message if that is smaller.
	BlockBytes int64
	// AbandonedAfter is the time without a new block after which an upload counts as abandoned; default: 24 h.
	AbandonedAfter time.Duration
	// Now returns the time of the NATS servers; default: time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

const (
	// cacheBytes bounds the blocks that a node caches for its readers.
	cacheBytes = 64 << 20
	// messageRoom is the size reserved in a message for its subject and headers.
	messageRoom = 4 << 10
)

func (c *Config) setDefaults(maxPayload int64) error {
	c.Prefix = cmp.Or(c.Prefix, "gather")
	c.Replicas = cmp.Or(c.Replicas, 3)
	c.AbandonedAfter = cmp.Or(c.AbandonedAfter, 24*time.Hour)
	if c.Now == nil {
		c.Now = time.Now
	}
	c.BlockBytes = cmp.Or(c.BlockBytes, 512<<10)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if maxPayload > 0 {
		c.BlockBytes = min(c.BlockBytes, maxPayload-messageRoom)
	}
	if c.BlockBytes <= 0 {
		return fmt.Errorf("the servers take messages of %d bytes: too small for blocks of arrays", maxPayload)
	}
	return nil
}

// A Store stores the arrays of a cluster:
//
//	stream <PREFIX>_ARRAYS         <prefix>.arrays.blocks.<upload>.<number>   the uploaded bytes
//	bucket <PREFIX>_ARRAYS_META    <tenant>.<name>                            the record of an array
type Store struct {
	cfg    Config
	limits array.Limits
	js     jetstream.JetStream
	blocks jetstream.Stream
	meta   jetstream.Stream
	cache  *blocks.Cache[blockKey]
	// lockTTL is how long a lock may stay unchanged before it counts as the lock of a dead node.
	lockTTL time.Duration

	mu        sync.Mutex
	handles   map[arrayKey]int // open handles of this node, or being opened
	uploading map[string]int64 // bytes of this node's uploads in progress, by tenant
	totals    usage            // at the last refreshUsage
	damaged   int              // unreadable records at the last sweep

	stop func()
	done chan struct{}
}

// An arrayKey identifies an array.
type arrayKey struct{ tenant, name string }

// Open creates the stream and the bucket if they do not exist. The Store must be closed before the connection of js.
func Open(ctx context.Context, js jetstream.JetStream, cfg Config) (*Store, error) {
	if err := cfg.setDefaults(js.Conn().MaxPayload()); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, js: js, limits: array.Limits{MaxBytes: cfg.MaxBytes, TenantBytes: cfg.TenantBytes, Ready: cfg.Ready},
		cache: blocks.New[blockKey](cacheBytes, cfg.BlockBytes), lockTTL: lockTTL,
		handles: make(map[arrayKey]int), uploading: make(map[string]int64), done: make(chan struct{}),
	}
	err := s.retry(ctx, uploadTimeout, func(ctx context.Context) (err error) {
		s.blocks, err = stream(ctx, js, jetstream.StreamConfig{
			Name: s.streamName(), Description: "blocks of uploaded arrays", Subjects: []string{s.cfg.Prefix + ".arrays.blocks.>"},
			Storage: jetstream.FileStorage, Replicas: cfg.Replicas, MaxMsgsPerSubject: 1, AllowDirect: true,
		})
		if err != nil {
			return err
		}
		s.meta, err = stream(ctx, js, jetstream.StreamConfig{
			Name: "KV_" + s.bucketName(), Description: "uploaded arrays", Subjects: []string{s.metaSubject(">")},
			Storage: jetstream.FileStorage, Replicas: cfg.Replicas, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true,
			Discard: jetstream.DiscardNew, // no direct gets, because a server that lags may answer them
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	if s.meta.CachedInfo().Config.AllowDirect {
		return nil, fmt.Errorf("arrays: the bucket %s allows direct gets, which may return old data: nats stream edit KV_%[1]s --no-allow-direct", s.bucketName())
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.maintain(background)
	return s, nil
}

// stream returns a stream, which it creates if it is missing.
func stream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	found, err := js.Stream(ctx, cfg.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return found, err
	}
	made, err := js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node has just created it
		return js.Stream(ctx, cfg.Name)
	}
	return made, err
}

func (s *Store) streamName() string { return capitals(s.cfg.Prefix) + "_ARRAYS" }
func (s *Store) bucketName() string { return capitals(s.cfg.Prefix) + "_ARRAYS_META" }

// capitals returns a prefix as part of the name of a stream.
func capitals(prefix string) string { return strings.ToUpper(strings.ReplaceAll(prefix, ".", "_")) }

// Close ends the store's goroutine. Open handles can still be read.
func (s *Store) Close() error {
	s.stop()
	<-s.done
	return nil
}

// Totals returns the number and the bytes of the arrays of all tenants of the cluster. It may be a minute old.
func (s *Store) Totals() (arrays int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.totals.arrays), s.totals.bytes
}

// Damaged returns the number of arrays of all tenants whose record cannot be read, found by the last sweep up to two hours
// ago.
func (s *Store) Damaged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged
}
