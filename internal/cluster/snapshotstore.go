package cluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// # The bucket of snapshots
//
// A snapshot is several objects of a JetStream object store: its parts, <name>/00000 and so on, and its manifest, <name>, which is
// written last, so a snapshot without a manifest does not count. The name is the next message to apply and the writer, so two
// writers never write the same objects. A part is small enough to be held in memory. Removing an object in nats.go leaves a marker, so removed objects are purged from the stream of the bucket instead.

// snapshotVersion is the version of manifests.
const snapshotVersion = 1

// putTimeout bounds the writing of one object, readTimeout its reading, and firstRead the first attempt to read it. Each further attempt may
// take twice as long: a reader of a server that is killed may get nothing more, and a slow network needs time.
const (
	putTimeout  = 2 * time.Minute
	readTimeout = 2 * time.Minute
	firstRead   = 5 * time.Second
)

// A manifest describes a snapshot.
type manifest struct {
	Version int `json:"version"`
	// Log is the ID of the log.
	Log string `json:"log"`
	// From, Seq, N and At are the applied index: see appliedIndex.
	From uint64 `json:"from"`
	Seq  uint64 `json:"seq"`
	N    int    `json:"n"`
	At   int64  `json:"at"`
	// Written is the time at which the snapshot was begun, by the log's clock.
	Written time.Time `json:"written"`
	// Writer is the name of the node that wrote it, and Release its version.
	Writer  string         `json:"writer"`
	Release string         `json:"release"`
	Parts   []snapshotPart `json:"parts"`

	name string
}

// A snapshotPart is the size and the SHA-256 of a part.
type snapshotPart struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (m *manifest) bytes() (n int64) {
	for _, p := range m.Parts {
		n += p.Bytes
	}
	return n
}

func partName(snapshot string, i int) string { return fmt.Sprintf("%s/%05d", snapshot, i) }

// errUnusable means that a snapshot is damaged or incomplete.
var errUnusable = errors.New("the snapshot is damaged")

// parseManifest decodes a manifest. It returns job.ErrVersion for one of a later version, otherwise errUnusable.
func parseManifest(name string, data []byte) (*manifest, error) {
	m := &manifest{name: name}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", errUnusable, name, err)
	}
	switch {
	case m.Version != snapshotVersion:
		return nil, fmt.Errorf("%w: snapshot %s of version %d", job.ErrVersion, name, m.Version)
	case m.Seq == 0 || m.From >= m.Seq || m.N < 0 || len(m.Parts) == 0 || m.Log == "":
		return nil, fmt.Errorf("%w: manifest %s", errUnusable, name)
	}
	return m, nil
}

// snapshotBucket is the bucket of snapshots.
type snapshotBucket struct {
	js     jetstream.JetStream
	store  jetstream.ObjectStore
	stream jetstream.Stream
	name   string
}

// openSnapshots returns the bucket. If it does not exist, it is created, or the result is nil if create is false.
func (c *Cluster) openSnapshots(ctx context.Context, create bool) (*snapshotBucket, error) {
	b := &snapshotBucket{js: c.js, name: c.upper() + "_SNAPSHOTS"}
	var err error
	b.store, err = c.js.ObjectStore(ctx, b.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		if !create {
			return nil, nil
		}
		b.store, err = c.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: b.name, Description: "Snapshots of gather's jobs.", Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas,
		})
		if errors.Is(err, jetstream.ErrBucketExists) { // another node was faster
			b.store, err = c.js.ObjectStore(ctx, b.name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", b.name, err)
	}
	if b.stream, err = c.js.Stream(ctx, "OBJ_"+b.name); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", b.name, err)
	}
	if _, err := hazard(c.nc.ConnectedServerVersion(), &b.stream.CachedInfo().Config); err != nil {
		return nil, err
	}
	return b, nil
}

// objects returns all objects by name.
func (b *snapshotBucket) objects(ctx context.Context) (map[string]*jetstream.ObjectInfo, error) {
	all, err := attempts(ctx, func(ctx context.Context) ([]*jetstream.ObjectInfo, error) { return b.store.List(ctx) })
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, fmt.Errorf("list bucket %s: %w", b.name, err)
	}
	objects := make(map[string]*jetstream.ObjectInfo, len(all))
	for _, o := range all {
		objects[o.Name] = o
	}
	return objects, nil
}

// attempts reads something until the outcome is another one than that it took too long, or that the connection was interrupted.
func attempts[T any](ctx context.Context, read func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for limit := firstRead; ; {
		try, cancel := context.WithTimeout(ctx, limit)
		v, err := read(try)
		late := try.Err() != nil
		cancel()
		switch {
		case err == nil || ctx.Err() != nil || !late && !interrupted(err):
			return v, err
		case late:
			limit *= 2
		default:
			select {
			case <-time.After(applyPause):
			case <-ctx.Done():
			}
		}
	}
}

// interrupted reports whether an error is of the connection to the servers, and so says nothing about what was read.
func interrupted(err error) bool {
	return slices.ContainsFunc([]error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, nats.ErrStaleConnection, nats.ErrNoResponders, jetstream.ErrNoHeartbeat, jetstream.ErrNoStreamResponse,
	}, func(known error) bool { return errors.Is(err, known) })
}

// snapshotNames returns the names of the snapshots with a manifest, newest first.
func snapshotNames(objects map[string]*jetstream.ObjectInfo) (snapshots []string) {
	for name := range objects {
		if !strings.Contains(name, "/") {
			snapshots = append(snapshots, name)
		}
	}
	slices.SortFunc(snapshots, func(a, b string) int { return cmp.Compare(b, a) })
	return snapshots
}

// removed reports whether the bucket is known to have no snapshot of this name.
func (b *snapshotBucket) removed(ctx context.Context, name string) bool {
	objects, err := b.objects(ctx)
	return err == nil && objects[name] == nil
}

// get reads an object. It returns errUnusable for an object that is missing or damaged.
func (b *snapshotBucket) get(ctx context.Context, name string) ([]byte, error) {
	data, err := attempts(ctx, func(ctx context.Context) ([]byte, error) { return b.store.GetBytes(ctx, name) })
	if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrDigestMismatch) || errors.Is(err, jetstream.ErrBadObjectMeta) {
		err = fmt.Errorf("%w: object %s: %w", errUnusable, name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read from bucket %s: %w", b.name, err)
	}
	return data, nil
}

// manifest reads a manifest.
func (b *snapshotBucket) manifest(ctx context.Context, name string) (*manifest, error) {
	data, err := b.get(ctx, name)
	if err != nil {
		return nil, err
	}
	return parseManifest(name, data)
}

// part reads a part of a snapshot and compares it with its digest.
func (b *snapshotBucket) part(ctx context.Context, m *manifest, i int) ([]byte, error) {
	name := partName(m.name, i)
	data, err := b.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if digest(data) != m.Parts[i].SHA256 {
		return nil, fmt.Errorf("%w: object %s does not match its digest", errUnusable, name)
	}
	return data, nil
}

// parts reads the parts of a snapshot in order.
func (b *snapshotBucket) parts(ctx context.Context, m *manifest) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		for i := range m.Parts {
			data, err := b.part(ctx, m, i)
			if !yield(data, err) || err != nil {
				return
			}
		}
	}
}

// verify reads a whole snapshot.
func (b *snapshotBucket) verify(ctx context.Context, m *manifest) error {
	for _, err := range b.parts(ctx, m) {
		if err != nil {
			return err
		}
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// put writes an object, one message after the other. Put of nats.go sends all of them at once, and can leak a goroutine.
func (b *snapshotBucket) put(ctx context.Context, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: maxMessage}},
		Bucket:     b.name, NUID: uuid.NewString(), Size: uint64(len(data)),
	}
	sum := sha256.New()
	_, _ = sum.Write(data)
	info.Digest = jetstream.GetObjectDigestValue(sum)
	for chunk := range slices.Chunk(data, maxMessage) {
		id := fmt.Sprintf("%s/%d", info.NUID, info.Chunks)
		if err := b.publish(ctx, id, &nats.Msg{Subject: b.chunks(info.NUID), Data: chunk}); err != nil {
			return fmt.Errorf("write to bucket %s: %w", b.name, err)
		}
		info.Chunks++
	}
	meta, err := json.Marshal(info)
	if err == nil {
		err = b.publish(ctx, info.NUID, &nats.Msg{
			Subject: b.meta(name), Data: meta, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}},
		})
	}
	if err != nil {
		return fmt.Errorf("write to bucket %s: %w", b.name, err)
	}
	return nil
}

// publish writes a message to the stream of the bucket. A server that is killed does not answer, so each attempt is short; by its id the
// message is stored once.
func (b *snapshotBucket) publish(ctx context.Context, id string, msg *nats.Msg) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		_, err := b.js.PublishMsg(try, msg, jetstream.WithMsgID(id))
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrNoStreamResponse) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(applyPause)), backoff.WithMaxElapsedTime(0))
	return err
}

// chunks returns the subject of an object's content, meta the subject of its description.
func (b *snapshotBucket) chunks(id string) string { return "$O." + b.name + ".C." + id }

func (b *snapshotBucket) meta(name string) string {
	return "$O." + b.name + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

func (b *snapshotBucket) putManifest(ctx context.Context, m *manifest) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return b.put(ctx, m.name, data)
}

// collect removes everything except the given snapshots, newest first, later ones, and parts that were written after a time, because
// another node may still be writing the rest.
func (b *snapshotBucket) collect(ctx context.Context, keep []*manifest, since time.Time) error {
	objects, err := b.objects(ctx)
	if err != nil {
		return err
	}
	kept := make(map[string]bool)
	for _, m := range keep {
		kept[m.name] = true
	}
	newest := ""
	if len(keep) > 0 {
		newest = keep[0].name
	}
	chunks := make(map[string]bool)                          // kept ones
	for _, name := range slices.Sorted(maps.Keys(objects)) { // a manifest before its parts
		o := objects[name]
		snapshot, _, _ := strings.Cut(name, "/")
		complete := objects[snapshot] != nil
		if kept[snapshot] || complete && snapshot > newest || !complete && o.ModTime.After(since) {
			chunks[o.NUID] = true
			continue
		}
		if err := b.stream.Purge(ctx, jetstream.WithPurgeSubject(b.meta(name))); err != nil {
			return fmt.Errorf("remove object %s: %w", name, err)
		}
		if err := b.purgeChunks(ctx, o.NUID); err != nil {
			return err
		}
	}
	return b.collectChunks(ctx, chunks, since)
}

func (b *snapshotBucket) purgeChunks(ctx context.Context, id string) error {
	if err := b.stream.Purge(ctx, jetstream.WithPurgeSubject(b.chunks(id))); err != nil {
		return fmt.Errorf("remove chunks of bucket %s: %w", b.name, err)
	}
	return nil
}

// collectChunks removes the chunks of objects whose writer died before the object was complete.
func (b *snapshotBucket) collectChunks(ctx context.Context, kept map[string]bool, since time.Time) error {
	prefix := b.chunks("")
	info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return fmt.Errorf("list chunks of bucket %s: %w", b.name, err)
	}
	for subject := range info.State.Subjects {
		id := strings.TrimPrefix(subject, prefix)
		if kept[id] {
			continue
		}
		last, err := b.stream.GetLastMsgForSubject(ctx, subject)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && last.Time.After(since):
			continue
		case err != nil:
			return fmt.Errorf("read chunks of bucket %s: %w", b.name, err)
		}
		if err := b.purgeChunks(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
