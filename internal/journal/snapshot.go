package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/zstd"

	"gather/internal/job"
)

// # Snapshots of a replica
//
// A Snapshot is the content of a replica after one write, with the metadata of that write. It is written as a sequence of
// parts, from which Restore makes another replica the same. The replica changes on meanwhile: Pebble keeps what the
// snapshot needs.
//
// A part is the magic, the version of the parts' format, the version of the journal's format as a uvarint, and a zstd frame with
// a checksum. The frame has keys and values, each with a uvarint length before it. Keys ascend within a part and from part to
// part. All keys of the journal are included, except the replica's own: the number of the last write, the clock, and the copies of
// documents.

const (
	partMagic   = "GSNP"
	partVersion = 1
	// maxPartBytes bounds the decoded size of a part.
	maxPartBytes = 512 << 20
)

// ErrReplaced means that the replica was restored or cleared while a snapshot of it was read.
var ErrReplaced = errors.New("the replica was replaced while its snapshot was read")

// A Snapshot is a replica at one point in time. It must be closed before the journal.
type Snapshot struct {
	j          *Journal
	s          *pebble.Snapshot
	generation uint64
}

// Snapshot returns a snapshot with everything that was applied before the call. The caller applies nothing meanwhile.
func (j *Journal) Snapshot(ctx context.Context) (*Snapshot, error) {
	generation := j.generation.Load()
	if err := j.Flush(ctx); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s := &Snapshot{j: j, generation: generation}
	err := j.read(ctx, func(db *pebble.DB) error {
		s.s = db.NewSnapshot()
		return nil
	})
	return s, err
}

// Close releases the snapshot.
func (s *Snapshot) Close() error { return s.s.Close() }

// Metadata returns the value of a name; nil if it is not set.
func (s *Snapshot) Metadata(name string) ([]byte, error) {
	v, closer, err := s.s.Get(appendMetadataKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read metadata %s: %w", name, err)
	}
	return append([]byte{}, v...), closer.Close()
}

// Parts calls emit with parts of about partBytes before compression, in order. A part is valid until emit returns.
func (s *Snapshot) Parts(ctx context.Context, partBytes int, emit func(part []byte) error) error {
	it, err := s.s.NewIterWithContext(ctx, nil)
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	defer func() { _ = it.Close() }()
	var raw, part []byte
	flush := func() error {
		if len(raw) == 0 {
			return nil
		}
		part = appendPart(part[:0], raw)
		raw = raw[:0]
		return emit(part)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if isOwnKey(it.Key()) {
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		raw = appendPair(raw, it.Key(), value)
		if len(raw) < partBytes {
			continue
		}
		if err := errors.Join(ctx.Err(), flush()); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	if err := flush(); err != nil {
		return err
	}
	if s.j.generation.Load() != s.generation {
		return ErrReplaced
	}
	return nil
}

// isOwnKey reports whether a key belongs to one replica and not to its content.
func isOwnKey(key []byte) bool {
	return string(key) == string(commitKey) || string(key) == string(clockKey) || key[0] == spaceDocument
}

// partCoders returns the encoder and the decoder of all parts.
var partCoders = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // not possible with these options
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPartBytes))
	if err != nil {
		panic(err)
	}
	return e, d
})

func appendPart(dst, raw []byte) []byte {
	dst = append(append(dst, partMagic...), partVersion)
	encoder, _ := partCoders()
	return encoder.EncodeAll(raw, binary.AppendUvarint(dst, formatVersion))
}

func appendPair(dst, key, value []byte) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...)
}

// readPart visits the keys and values of a part. It returns job.ErrVersion for a part of a later version, and job.ErrCorrupt.
func readPart(part []byte, visit func(key, value []byte) error) error {
	if len(part) < len(partMagic)+1 || string(part[:len(partMagic)]) != partMagic {
		return corrupt("part of a snapshot")
	}
	if v := part[len(partMagic)]; v != partVersion {
		return fmt.Errorf("%w: part of a snapshot of version %d", job.ErrVersion, v)
	}
	rest := part[len(partMagic)+1:]
	format, n := binary.Uvarint(rest)
	if n <= 0 || format == 0 {
		return corrupt("part of a snapshot")
	}
	if format > formatVersion {
		return fmt.Errorf("%w: snapshot of a journal of version %d", job.ErrVersion, format)
	}
	_, decoder := partCoders()
	raw, err := decoder.DecodeAll(rest[n:], nil)
	if err != nil {
		return fmt.Errorf("%w: part of a snapshot: %w", job.ErrCorrupt, err)
	}
	for len(raw) > 0 {
		var key, value []byte
		if key, raw, err = takeBytes(raw); err == nil {
			value, raw, err = takeBytes(raw)
		}
		if err == nil && len(key) == 0 {
			err = corrupt("part of a snapshot")
		}
		if err != nil {
			return err
		}
		if err := visit(key, value); err != nil {
			return err
		}
	}
	return nil
}

// takeBytes parses a length and as many bytes at the start of b, and returns the rest of b.
func takeBytes(b []byte) (taken, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, corrupt("part of a snapshot")
	}
	return b[w : w+int(n)], b[w+int(n):], nil
}
