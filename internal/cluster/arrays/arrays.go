// Package arrays keeps the arrays that clients upload in JetStream, where every node of a cluster reads and writes them.
//
// The bytes are messages of a stream, cut in blocks, one subject each, so that any range is read with a few direct gets
// from a near server. The record of an array is one value of a KV bucket.
//
// Guarantees, beside those of package array.
//   - An array appears when all its blocks are stored by a quorum and its header and checksum were verified, or not at all:
//     its record is written last.
//   - Every change of a tenant's arrays is a compare-and-set on all records of the tenant, and has their count and bytes. So
//     the quota holds for uploads to several nodes. Uploads in progress count on their own node only.
//   - An array that an unfinished job of any node uses does not change and is not deleted. A node that replaces or deletes one
//     locks its record first, so that it cannot be opened; then it checks the jobs, and makes the change or unlocks it.
//   - A read waits for NATS until its context is done. A block that is missing or cut is an error (job.ErrCorrupt).
//   - The blocks of an abandoned upload are removed a day later, by any node.
//
// Metadata is read from the leader of its stream, so that an array of one node is found by any other immediately. A
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

// Uses finds arrays in use in the jobs of the whole cluster.
type Uses interface {
	// Uses reports whether the pinned spec of an unfinished job contains a mark, array.Handle.Use. It is called for
	// every array that is described.
	Uses(mark string) bool
}

// Config is how a Store is set up. Zero values take the defaults that are given.
type Config struct {
	// Prefix leads the names of stream and bucket, in capitals, and the subjects: "gather".
	Prefix string
	// Replicas is how many servers keep every message: 3. It is for streams that are made; existing ones stay unchanged.
	Replicas int
	// MaxBytes bounds one array, TenantBytes all arrays of a tenant, with their headers; 0 is no bound.
	MaxBytes, TenantBytes int64
	// Ready returns nil, or why nothing may be written now; nil is always ready.
	Ready func() error
	// Uses is called before an array is replaced or deleted, beside this node's own handles; nil if there are no jobs.
	Uses Uses
	// Sync returns when Uses has every job that any node had accepted when it was called; nil if it always has.
	Sync func(ctx context.Context) error
	// BlockBytes is the size of the blocks of new arrays: 512 KiB, or the largest message if that is less.
	BlockBytes int64
	// AbandonedAfter is the time without a block after which an upload counts as abandoned: 24 h.
	AbandonedAfter time.Duration
	// Now is the clock of the NATS servers: time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

const (
	// cacheBytes bounds the blocks that a node holds for its readers.
	cacheBytes = 64 << 20
	// messageRoom is the part of a message for its subject and headers.
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

// Store has the arrays of a cluster:
//
//	stream <PREFIX>_ARRAYS         <prefix>.arrays.blocks.<upload>.<number>   the bytes, as they were uploaded
//	bucket <PREFIX>_ARRAYS_META    <tenant>.<name>                            the record of an array
type Store struct {
	cfg    Config
	limits array.Limits
	js     jetstream.JetStream
	blocks jetstream.Stream
	meta   jetstream.Stream
	cache  *blocks.Cache[blockKey]
	// lockTTL is how long a seal may stay as it is before others take it for one of a dead node.
	lockTTL time.Duration

	mu       sync.Mutex
	open     map[arrayKey]int // handles of this node, those being opened included
	underWay map[string]int64 // bytes of this node's uploads that are not arrays yet, by tenant
	totals   usage            // as of the last look
	damaged  int              // records that could not be read at the last sweep

	stop func()
	done chan struct{}
}

// arrayKey names an array.
type arrayKey struct{ tenant, name string }

// Open makes the stream and the bucket if they do not exist. The Store must be closed before the connection of js is.
func Open(ctx context.Context, js jetstream.JetStream, cfg Config) (*Store, error) {
	if err := cfg.setDefaults(js.Conn().MaxPayload()); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, js: js, limits: array.Limits{MaxBytes: cfg.MaxBytes, TenantBytes: cfg.TenantBytes, Ready: cfg.Ready},
		cache: blocks.New[blockKey](cacheBytes, cfg.BlockBytes), lockTTL: lockTTL,
		open: make(map[arrayKey]int), underWay: make(map[string]int64), done: make(chan struct{}),
	}
	err := s.retry(ctx, longPatience, func(ctx context.Context) (err error) {
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
			Discard: jetstream.DiscardNew, // no direct gets: they may be answered by a server that is behind
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("arrays: %w", err)
	}
	if s.meta.CachedInfo().Config.AllowDirect {
		return nil, fmt.Errorf("arrays: the bucket %s allows direct gets, which may be behind: nats stream edit KV_%[1]s --no-allow-direct", s.bucketName())
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.maintain(background)
	return s, nil
}

// stream finds or makes a stream.
func stream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	found, err := js.Stream(ctx, cfg.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return found, err
	}
	made, err := js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by another node, just now
		return js.Stream(ctx, cfg.Name)
	}
	return made, err
}

func (s *Store) streamName() string { return capitals(s.cfg.Prefix) + "_ARRAYS" }
func (s *Store) bucketName() string { return capitals(s.cfg.Prefix) + "_ARRAYS_META" }

// capitals makes the name of a stream of a prefix.
func capitals(prefix string) string { return strings.ToUpper(strings.ReplaceAll(prefix, ".", "_")) }

// Close ends the store's goroutine. Handles that are open can still be read.
func (s *Store) Close() error {
	s.stop()
	<-s.done
	return nil
}

// Totals is how many arrays all tenants of the cluster have, and how many bytes these have together, as of a minute ago.
func (s *Store) Totals() (arrays int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.totals.arrays), s.totals.bytes
}

// Damaged returns the number of arrays whose record cannot be read, of all tenants, as of the last sweep:
// up to two hours ago.
func (s *Store) Damaged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged
}
