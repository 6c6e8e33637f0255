// Package zarrstore reads Zarr arrays of the buckets that an operator allows, chunk by chunk.
//
// Guarantees. An array is read as it was when it was opened: the metadata and the version of every object were recorded
// then, by listing them, and their digest identifies the content. An object that has another version when it is read, or
// does not exist, is bucket.ErrChanged or bucket.ErrNotFound; one that was missing is missing, even if it was written
// since. A reopened array lists the objects again, before the first read, and fails with ErrChanged if the digest differs.
//
// Sizes are checked before memory is allocated: of a chunk by its metadata, of encoded bytes by the size of the chunk.
// Everything is safe for concurrent use. The package starts no goroutine.
package zarrstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"gather/internal/blocks"
	"gather/internal/bucket"
	"gather/internal/zarr"
)

// maxObjects is the maximum number of objects of an array.
const maxObjects = 200_000

// maxOthers is the maximum number of other objects below an array.
const maxOthers = 1000

// Caches of decoded chunks, for readers that need them in parts: of those up to smallChunk bytes, and of larger ones.
const (
	smallChunk = 8 << 20
	smallCache = 128 << 20
	largeCache = 2 * zarr.MaxChunk
)

// Stores opens arrays.
type Stores struct {
	buckets      *bucket.Set
	small, large *blocks.Cache[chunkKey]
	scratch      sync.Pool // *scratch
}

// chunkKey identifies a decoded chunk.
type chunkKey struct {
	url    string
	digest [sha256.Size]byte
	i      int64
}

// New returns the arrays of buckets.
func New(buckets *bucket.Set) *Stores {
	return &Stores{
		buckets: buckets, small: blocks.New[chunkKey](smallCache, smallChunk), large: blocks.New[chunkKey](largeCache, zarr.MaxChunk),
		scratch: sync.Pool{New: func() any { return new(scratch) }},
	}
}

// Pin identifies the content of an array. With its metadata the array can be planned without the bucket.
type Pin struct {
	Document []byte `json:"zarr"`
	// Name is the name of the document.
	Name    string `json:"document"`
	SHA256  []byte `json:"sha256"` // of the versions of all objects
	Objects int    `json:"objects"`
}

// Memory returns the memory of an open array, in bytes.
func (p *Pin) Memory() int64 { return int64(len(p.Document)) + 96*int64(p.Objects) }

// Array is an open array.
type Array struct {
	*zarr.Array
	stores *Stores
	url    string
	pin    Pin
	digest [sha256.Size]byte
	remote bool

	mu      sync.Mutex
	loading chan struct{} // closed when the load that runs has ended, or nil
	list    *listing      // nil until the objects are listed

	shards shardCache
}

// Open opens the array at a URL. Errors: those of the buckets, zarr.ErrFormat.
func (s *Stores) Open(ctx context.Context, url string) (*Array, Pin, error) {
	pin, version, err := s.document(ctx, url)
	if err != nil {
		return nil, pin, err
	}
	a, err := s.parse(url, pin)
	if err != nil {
		return nil, pin, err
	}
	list, err := a.listObjects(ctx)
	if err != nil {
		return nil, pin, err
	}
	if list.metadata != version {
		return nil, pin, fmt.Errorf("%w: it is being written", bucket.ErrChanged)
	}
	n, ok := a.Objects()
	if !a.HasFill && (!ok || int64(len(list.objects)) < n) {
		return nil, pin, fmt.Errorf("%w: chunks are missing, and fill_value is null", zarr.ErrFormat)
	}
	a.digest = list.digest
	a.pin.SHA256, a.pin.Objects = list.digest[:], len(list.objects)
	a.list = list
	return a, a.pin, nil
}

// Reopen opens the array with a pin of Open, without a request. Errors: those of Open.
func (s *Stores) Reopen(url string, pin Pin) (*Array, error) {
	a, err := s.parse(url, pin)
	if err == nil && copy(a.digest[:], pin.SHA256) != len(a.digest) {
		err = bucket.ErrChanged
	}
	return a, err
}

// Remote reports whether reads have the latency of a store.
func (a *Array) Remote() bool { return a.remote }

func (s *Stores) parse(url string, pin Pin) (*Array, error) {
	z, err := zarr.Parse(pin.Document)
	if err != nil {
		return nil, err
	}
	return &Array{Array: z, stores: s, url: url, pin: pin, remote: strings.HasPrefix(url, "s3:")}, nil
}

// document reads the metadata of an array.
func (s *Stores) document(ctx context.Context, url string) (Pin, bucket.Version, error) {
	for _, name := range []string{zarr.MetadataV3, zarr.MetadataV2} {
		text, v, err := s.read(ctx, url+"/"+name, zarr.MaxMetadata)
		if errors.Is(err, bucket.ErrNotFound) {
			continue
		}
		if err == nil && name == zarr.MetadataV3 {
			err = groupError(zarr.ArraysOfGroup(text))
		}
		return Pin{Document: text, Name: name}, v, err
	}
	text, _, err := s.read(ctx, url+"/"+zarr.ConsolidatedV2, maxConsolidated)
	if err == nil {
		err = groupError(zarr.ArraysOfGroup(text))
	}
	if errors.Is(err, bucket.ErrNotFound) {
		if _, err := s.buckets.Stat(ctx, url+"/"+zarr.GroupV2); err == nil {
			return Pin{}, bucket.Version{}, groupError(nil, true)
		}
		err = fmt.Errorf("%w: neither %s nor %s is below it", bucket.ErrNotFound, zarr.MetadataV3, zarr.MetadataV2)
	}
	return Pin{}, bucket.Version{}, err
}

// maxConsolidated is the maximum size of the metadata of a group, in bytes, which only serves an error.
const maxConsolidated = 4 << 20

// groupError returns the error for the URL of a group, and nil for that of an array.
func groupError(arrays []string, group bool) error {
	switch {
	case !group:
		return nil
	case len(arrays) == 0:
		return fmt.Errorf("%w: it is a group; add the path of one of its arrays", zarr.ErrFormat)
	}
	slices.Sort(arrays)
	more := ""
	if len(arrays) > 20 {
		arrays, more = arrays[:20], ", ..."
	}
	return fmt.Errorf("%w: it is a group; add the path of one of its arrays: %.1000s%s", zarr.ErrFormat, strings.Join(arrays, ", "), more)
}

// read reads a whole object, up to a size.
func (s *Stores) read(ctx context.Context, url string, most int64) ([]byte, bucket.Version, error) {
	v, err := s.buckets.Stat(ctx, url)
	if err != nil {
		return nil, v, err
	}
	if v.Size > most {
		return nil, v, fmt.Errorf("%w: metadata of %d bytes; at most %d are read", zarr.ErrFormat, v.Size, most)
	}
	o, err := s.buckets.Object(url, v)
	if err != nil {
		return nil, v, err
	}
	text := make([]byte, v.Size)
	_, err = o.ReadDirect(ctx, text, 0)
	return text, v, err
}

// listing has the versions of the objects of an array.
type listing struct {
	metadata bucket.Version
	objects  []object // by number
	digest   [sha256.Size]byte
}

type object struct {
	i int64
	bucket.Version
}

// find returns the version of an object; false if it is missing.
func (l *listing) find(i int64) (bucket.Version, bool) {
	k, ok := slices.BinarySearchFunc(l.objects, i, func(o object, i int64) int { return cmp.Compare(o.i, i) })
	if !ok {
		return bucket.Version{}, false
	}
	return l.objects[k].Version, true
}

// listObjects lists the objects of the array. Other objects below it are ignored.
func (a *Array) listObjects(ctx context.Context) (*listing, error) {
	entries, err := a.stores.buckets.List(ctx, a.url, maxObjects+maxOthers)
	if err != nil {
		return nil, err
	}
	l := &listing{}
	for _, e := range entries {
		if e.Key == a.pin.Name {
			l.metadata = e.Version
		}
		if i, ok := a.Object(e.Key); ok {
			l.objects = append(l.objects, object{i, e.Version})
		}
	}
	if len(l.objects) > maxObjects {
		return nil, fmt.Errorf("%w: the limit is %d chunks", bucket.ErrTooMany, maxObjects)
	}
	slices.SortFunc(l.objects, func(x, y object) int { return cmp.Compare(x.i, y.i) })
	h := sha256.New()
	write := func(i int64, v bucket.Version) {
		var b [24]byte
		binary.LittleEndian.PutUint64(b[:], uint64(i))
		binary.LittleEndian.PutUint64(b[8:], uint64(v.Size))
		binary.LittleEndian.PutUint64(b[16:], uint64(len(v.ETag)))
		_, _ = h.Write(b[:])
		_, _ = h.Write([]byte(v.ETag))
	}
	write(-1, l.metadata)
	for _, o := range l.objects {
		write(o.i, o.Version)
	}
	h.Sum(l.digest[:0])
	return l, nil
}

// objects returns the listing, which the first reader of a reopened array loads.
func (a *Array) objects(ctx context.Context) (*listing, error) {
	for {
		a.mu.Lock()
		list, loading := a.list, a.loading
		if list == nil && loading == nil {
			a.loading = make(chan struct{})
		}
		a.mu.Unlock()
		switch {
		case list != nil:
			return list, nil
		case loading == nil:
			return a.load(ctx)
		}
		select {
		case <-loading:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (a *Array) load(ctx context.Context) (*listing, error) {
	list, err := a.listObjects(ctx)
	if errors.Is(err, bucket.ErrTooMany) || err == nil && list.digest != a.digest {
		err = bucket.ErrChanged
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.loading)
	a.loading = nil
	if err != nil {
		return nil, err
	}
	a.list = list
	return list, nil
}
