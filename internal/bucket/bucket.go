// Package bucket reads objects of the buckets that an operator allowed: of S3-compatible stores, and of local directories.
//
// Guarantees. Nothing outside of an allowed bucket and its prefix can be reached, whatever a URL says. An object is read by
// range, with few large reads, and never as a whole; what is read is of the version that was looked at first, or the read
// fails with ErrChanged. A Set holds a bounded number of bytes, however many objects are read. No read of a remote store
// takes forever.
//
// A Set starts no goroutine of its own and is safe for concurrent use. Errors of the store are returned wrapped, when those
// that may pass were tried again.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"gather/internal/blocks"
)

// The errors of this package.
var (
	// ErrNotAllowed: the URL is in no allowed bucket.
	ErrNotAllowed = errors.New("is not in a bucket that this server may read")
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("there is no such object")
	// ErrChanged: the object is not the version that was looked at first.
	ErrChanged = errors.New("the object was changed since the job was submitted")
)

// Version tells one content of an object from another.
type Version struct {
	ETag string `json:"etag"`
	Size int64  `json:"size"`
}

// store is one allowed bucket. Keys are clean, relative paths.
type store interface {
	// stat returns the current version; ErrNotFound.
	stat(ctx context.Context, key string) (Version, error)
	// read fills p from an offset of a version; ErrChanged, ErrNotFound.
	read(ctx context.Context, key string, v Version, p []byte, off int64) error
	// blockSize is how much one read should ask for; 0 leaves it to the caller.
	blockSize() int64
	close() error
}

// Set is the allowed buckets. The zero value allows none.
type Set struct {
	buckets []allowed
	cache   *blocks.Cache[blockKey] // of all objects
}

// cacheBytes bounds the blocks that a Set holds, those being fetched included: enough for a block for each of some readers.
const cacheBytes = 16 * s3Block

// blockKey names a block of one version of an object.
type blockKey struct {
	url string
	Version
	index int64
}

type allowed struct {
	scheme, host, prefix string // prefix is "" or ends in '/'
	store
}

// Open checks and opens the allowed buckets:
//
//	s3://BUCKET[/PREFIX]?endpoint=https://HOST[:PORT][&region=R]   credentials from AWS_* variables, ~/.aws, or the machine's role
//	file:///DIRECTORY
//
// Its error joins every fault.
func Open(urls []string) (*Set, error) {
	s := &Set{cache: blocks.New[blockKey](cacheBytes, s3Block)}
	var errs []error
	for _, text := range urls {
		b, err := open(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", text, err))
			continue
		}
		s.buckets = append(s.buckets, b)
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, s.Close())...)
	}
	return s, nil
}

func open(text string) (allowed, error) {
	u, err := url.Parse(text)
	if err != nil {
		return allowed{}, err
	}
	b := allowed{scheme: u.Scheme, host: u.Host, prefix: strings.Trim(u.Path, "/")}
	if b.prefix != "" {
		b.prefix += "/"
	}
	switch u.Scheme {
	case "s3":
		b.store, err = openS3(u)
	case "file":
		b.store, err = openDir(u)
	default:
		err = errors.New("must be s3://BUCKET/PREFIX?endpoint=https://HOST or file:///DIRECTORY")
	}
	return b, err
}

// Close gives up what Open opened.
func (s *Set) Close() error {
	var errs []error
	for _, b := range s.buckets {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

// find returns the bucket of a URL and the key in it.
func (s *Set) find(text string) (store, string, error) {
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, "", fmt.Errorf("%w: write s3://bucket/key or file:///path, without a query", ErrNotAllowed)
	}
	key := strings.TrimPrefix(u.Path, "/")
	if key == "" || path.Clean("/"+key) != "/"+key {
		return nil, "", ErrNotAllowed
	}
	for _, b := range s.buckets {
		if b.scheme == u.Scheme && b.host == u.Host && strings.HasPrefix(key, b.prefix) && key != b.prefix {
			if b.scheme == "file" { // a directory is opened at its prefix
				key = strings.TrimPrefix(key, b.prefix)
			}
			return b.store, key, nil
		}
	}
	return nil, "", ErrNotAllowed
}

// Stat returns the current version of an object: ErrNotAllowed, ErrNotFound, or an error of the store.
func (s *Set) Stat(ctx context.Context, url string) (Version, error) {
	b, key, err := s.find(url)
	if err != nil {
		return Version{}, err
	}
	return b.stat(ctx, key)
}

// Object returns a reader of one version of an object; ErrNotAllowed. It looks at nothing yet.
func (s *Set) Object(url string, v Version) (*Object, error) {
	b, key, err := s.find(url)
	if err != nil {
		return nil, err
	}
	return &Object{store: b, url: url, key: key, version: v, cache: s.cache}, nil
}
