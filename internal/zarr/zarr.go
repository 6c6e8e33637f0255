// Package zarr parses the metadata of Zarr arrays, versions 2 and 3, and decodes their chunks.
//
// It reads the element types of package npy in both byte orders, C and Fortran order, fill values, both separators of
// keys, and shards. The codecs are bytes, transpose, crc32c, gzip, zlib, zstd, lz4, blosc (with blosclz, lz4, lz4hc, zlib
// and zstd; shuffle and bitshuffle) and sharding_indexed. Anything else is an [ErrFormat] that names it.
//
// All input is untrusted. A parsed [Array] describes data that can exist: every product of sizes was computed with an
// overflow check, and a chunk has at most [MaxChunk] bytes. Decoding allocates at most a few times that, and never
// panics.
//
// The package does no I/O, starts no goroutine and keeps no state. An Array is immutable and safe for concurrent use; a
// [Scratch] belongs to one goroutine at a time.
package zarr

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"gather/internal/npy"
)

const (
	// MaxMetadata is the maximum size of a metadata document, in bytes.
	MaxMetadata = 64 << 10
	// MaxChunk is the maximum size of a decoded chunk, in bytes.
	MaxChunk = 128 << 20
	// maxIndex is the maximum number of chunks in a shard.
	maxIndex = 1 << 20
)

// The names of the documents, relative to the array.
const (
	MetadataV3 = "zarr.json"
	MetadataV2 = ".zarray"
	GroupV2    = ".zgroup"
	// ConsolidatedV2 has the documents of all arrays below a group.
	ConsolidatedV2 = ".zmetadata"
)

// Errors of this package.
var (
	// ErrFormat is wrapped by errors about metadata.
	ErrFormat = errors.New("is not a Zarr array that can be read")
	// ErrCorrupt is wrapped by errors about the bytes of a chunk.
	ErrCorrupt = errors.New("damaged Zarr data")
)

// Array describes a Zarr array. All slices are in the order of its axes.
type Array struct {
	Header npy.Header // its Offset is 0
	// Chunk is the shape of a chunk: of those within a shard, if there are shards.
	Chunk []int64
	// HasFill is false for an array whose missing chunks have no defined content.
	HasFill bool

	bigEndian bool   // of the stored elements; Header describes the decoded ones
	fill      []byte // one element, in the machine's byte order
	keys      keyEncoding
	chain     chain
	shard     *shard // nil without shards
}

// keyEncoding maps positions in the grid to keys.
type keyEncoding struct {
	prefix    string // "c" in the default encoding of version 3
	separator string
}

// ChunkBytes returns the size of a decoded chunk, in bytes.
func (a *Array) ChunkBytes() int64 {
	n := int64(a.Header.Type.Size)
	for _, c := range a.Chunk {
		n *= c
	}
	return n
}

// objectShape returns the shape of the part of the array that one object stores.
func (a *Array) objectShape() []int64 {
	if a.shard != nil {
		return a.shard.shape
	}
	return a.Chunk
}

// Objects returns the number of objects of a complete array; false if it overflows.
func (a *Array) Objects() (int64, bool) {
	n := int64(1)
	for i, c := range a.objectShape() {
		hi, lo := bits.Mul64(uint64(n), uint64(ceilDiv(a.Header.Shape[i], c)))
		if hi != 0 || lo > 1<<62 {
			return 0, false
		}
		n = int64(lo)
	}
	return n, true
}

// Sharded reports whether an object has several chunks, which are found by its index.
func (a *Array) Sharded() bool { return a.shard != nil }

// Key returns the key of object i, numbered in C order of their grid, relative to the array.
func (a *Array) Key(i int64) string {
	shape := a.objectShape()
	at := make([]string, len(shape))
	for k := len(shape) - 1; k >= 0; k-- {
		n := max(ceilDiv(a.Header.Shape[k], shape[k]), 1)
		at[k] = strconv.FormatInt(i%n, 10)
		i /= n
	}
	switch {
	case a.keys.prefix != "":
		return strings.Join(append([]string{a.keys.prefix}, at...), a.keys.separator)
	case len(at) == 0:
		return "0"
	}
	return strings.Join(at, a.keys.separator)
}

// Object returns the number of the object with a key; false if the array has no such object.
func (a *Array) Object(key string) (int64, bool) {
	shape := a.objectShape()
	rest := key
	if a.keys.prefix != "" {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, a.keys.prefix); !ok {
			return 0, false
		}
		if len(shape) == 0 {
			return 0, rest == ""
		}
		if rest, ok = strings.CutPrefix(rest, a.keys.separator); !ok {
			return 0, false
		}
	} else if len(shape) == 0 {
		return 0, rest == "0"
	}
	index := int64(0)
	for k, c := range shape {
		part, after, found := strings.Cut(rest, a.keys.separator)
		if found == (k == len(shape)-1) {
			return 0, false
		}
		n := ceilDiv(a.Header.Shape[k], c)
		at, err := strconv.ParseInt(part, 10, 64)
		if err != nil || at < 0 || at >= n || strconv.FormatInt(at, 10) != part {
			return 0, false
		}
		index, rest = index*n+at, after
	}
	return index, true
}

// Locate returns the object that stores chunk i, numbered in C order of the grid of chunks, and the number of the chunk
// in its shard, or 0.
func (a *Array) Locate(i int64) (object, within int64) {
	if a.shard == nil {
		return i, 0
	}
	weight, inner := int64(1), int64(1)
	for k := range slices.Backward(a.Chunk) {
		chunks := max(ceilDiv(a.Header.Shape[k], a.Chunk[k]), 1)
		per := a.shard.shape[k] / a.Chunk[k]
		at := i % chunks
		i /= chunks
		object += at / per * weight
		within += at % per * inner
		weight *= max(ceilDiv(a.Header.Shape[k], a.shard.shape[k]), 1)
		inner *= per
	}
	return object, within
}

// FillChunk fills dst with the fill value.
func (a *Array) FillChunk(dst []byte) {
	if len(dst) == 0 {
		return
	}
	for n := copy(dst, a.fill); n < len(dst); n *= 2 {
		copy(dst[n:], dst[:n])
	}
}

// check returns an error unless every size derived from the shape and the chunks is valid.
func (a *Array) check() error {
	h := &a.Header
	if len(h.Shape) > npy.MaxDims {
		return formatf("%d dimensions; at most %d are read", len(h.Shape), npy.MaxDims)
	}
	if len(a.Chunk) != len(h.Shape) {
		return formatf("a shape of %d dimensions with chunks of %d", len(h.Shape), len(a.Chunk))
	}
	total, chunk := uint64(h.Type.Size), uint64(h.Type.Size)
	for i, d := range h.Shape {
		if d < 0 || a.Chunk[i] < 1 {
			return formatf("length %d in chunks of %d along axis %d", d, a.Chunk[i], i)
		}
		if d > 0 {
			hi, lo := bits.Mul64(total, uint64(d))
			if hi != 0 || lo > 1<<62 {
				return formatf("a shape with more than 2^62 bytes")
			}
			total = lo
		}
		hi, lo := bits.Mul64(chunk, uint64(a.Chunk[i]))
		if hi != 0 || lo > MaxChunk {
			return formatf("chunks of more than %d MiB, the limit, when they are decompressed: write smaller ones", MaxChunk>>20)
		}
		chunk = lo
	}
	return nil
}

func formatf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func ceilDiv(a, b int64) int64 { return a/b + min(a%b, 1) }
