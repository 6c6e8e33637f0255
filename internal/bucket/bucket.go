// Package bucket reads objects of the buckets that an operator allowed: of S3-compatible stores, and of local
// directories.
//
// Guarantees. No URL reaches outside of an allowed bucket and its prefix. An object is read by range, with few large
// reads, and never as a whole; all reads are of the version that was found first, or fail with ErrChanged. A Set holds a
// bounded number of bytes, however many objects are read. No read takes forever: a read of a directory that hangs is
// abandoned.
//
// A Set is safe for concurrent use. Its only goroutines are reads of directories. Errors of the store are returned
// wrapped, after retries of those that may pass.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"gather/internal/blocks"
	"gather/internal/reads"
)

// The errors of this package.
var (
	// ErrNotAllowed: the URL is in no allowed bucket.
	ErrNotAllowed = errors.New("is not in a bucket that this server may read")
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("there is no such object")
	// ErrChanged: the object is not the version that was looked at first.
	ErrChanged = errors.New("the object was changed since the job was submitted")
	// ErrUnsupported: the store answers in a way that does not allow to read one version of the object.
	ErrUnsupported = errors.New("the store cannot be read by range")
)

// Version identifies the content of an object.
type Version struct {
	ETag string `json:"etag"`
	Size int64  `json:"size"`
}

// store is one allowed bucket. Keys are clean, relative paths.
type store interface {
	// stat returns the current version; ErrNotFound, ErrUnsupported.
	stat(ctx context.Context, key string) (Version, error)
	// read fills p from an offset of a version; ErrChanged, ErrNotFound, ErrUnsupported.
	read(ctx context.Context, key string, v Version, p []byte, off int64) error
	// blockSize is the size of one read; 0 leaves it to the caller.
	blockSize() int64
	close() error
}

// Set is the allowed buckets. The zero value allows none.
type Set struct {
	buckets []allowed
	cache   *blocks.Cache[blockKey] // of all objects
	calls   *reads.Calls            // of all directories
}

// maxStuck bounds the reads of directories that were given up and do not return.
const maxStuck = 64

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
// Its error joins every error.
func Open(urls []string) (*Set, error) {
	s := &Set{cache: blocks.New[blockKey](cacheBytes, s3Block), calls: reads.NewCalls(readPatience, maxStuck)}
	var errs []error
	for _, text := range urls {
		b, err := open(text, s.calls)
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

func open(text string, calls *reads.Calls) (allowed, error) {
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
		b.store, err = openDir(u, calls)
	default:
		err = errors.New("must be s3://BUCKET/PREFIX?endpoint=https://HOST or file:///DIRECTORY")
	}
	return b, err
}

// Stuck returns the number of reads of directories that were given up and have not returned.
func (s *Set) Stuck() int { return s.calls.Stuck() }

// Close closes the buckets.
func (s *Set) Close() error {
	var errs []error
	for _, b := range s.buckets {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

// maxURL is the longest URL of an object, in bytes: room for the longest path of a file.
const maxURL = 5000

// find returns the bucket of a URL and the key in it.
func (s *Set) find(text string) (store, string, error) {
	if len(text) > maxURL {
		return nil, "", fmt.Errorf("%w: it has %d bytes, and at most %d are read", ErrNotAllowed, len(text), maxURL)
	}
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, "", fmt.Errorf("%w: write s3://bucket/key or file:///path, without a query", ErrNotAllowed)
	}
	key := strings.TrimPrefix(u.Path, "/")
	if key == "" || path.Clean("/"+key) != "/"+key || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
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

// Stat returns the current version of an object: ErrNotAllowed, ErrNotFound, ErrUnsupported, or an error of the store.
func (s *Set) Stat(ctx context.Context, url string) (Version, error) {
	b, key, err := s.find(url)
	if err != nil {
		return Version{}, err
	}
	return b.stat(ctx, key)
}

// Object returns a reader of one version of an object, without a request yet; ErrNotAllowed.
func (s *Set) Object(url string, v Version) (*Object, error) {
	b, key, err := s.find(url)
	if err != nil {
		return nil, err
	}
	return &Object{store: b, url: url, key: key, version: v, cache: s.cache}, nil
}
