// Package bucket reads objects of the buckets that an operator allows: S3-compatible stores and local directories.
//
// Guarantees. No URL reaches outside of an allowed bucket and its prefix. An object is read by range, with few large
// reads, and never as a whole, or a local file in place; all reads are of the first version found, or fail with ErrChanged. A Set holds a bounded
// number of bytes for any number of objects. Every read ends: a read of a directory that hangs is abandoned.
//
// A Set is safe for concurrent use. Its only goroutines are reads of directories, and of blocks of objects that are read
// ahead; the latter end with Close. Errors of the store are returned
// wrapped, after retries of transient ones.
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
	"gather/internal/mapping"
	"gather/internal/reads"
)

// Errors of this package.
var (
	// ErrNotAllowed is returned for a URL that is not in an allowed bucket.
	ErrNotAllowed = errors.New("is not in a bucket that this server may read")
	// ErrNotFound is returned when the object does not exist.
	ErrNotFound = errors.New("there is no such object")
	// ErrChanged is returned when the object is not the version found first.
	ErrChanged = errors.New("the object was changed after the job was submitted")
	// ErrUnsupported is returned when the store's responses do not allow reading one version of the object.
	ErrUnsupported = errors.New("the store cannot be read by range")
)

// Version identifies the content of an object.
type Version struct {
	ETag string `json:"etag"`
	Size int64  `json:"size"`
}

// store is one allowed bucket. Keys are clean, relative paths; prefixes are keys that end in '/'.
type store interface {
	// stat returns the current version. Errors: ErrNotFound, ErrUnsupported.
	stat(ctx context.Context, key string) (Version, error)
	// read fills p from an offset of a version. Errors: ErrChanged, ErrNotFound, ErrUnsupported.
	read(ctx context.Context, key string, v Version, p []byte, off int64) error
	// blockSize returns the size of one read; 0 leaves it to the caller.
	blockSize() int64
	// list returns the versions of the objects below a directory, "" or a key that ends in '/': of all, or, if names is not
	// nil, of those directly in it with matching names. Errors: ErrNotFound, ErrTooMany, ErrUnsupported.
	list(ctx context.Context, dir string, names *glob, most int) ([]Entry, error)
	close() error
}

// Set is a set of allowed buckets. The zero value allows none.
type Set struct {
	buckets []allowed
	cache   *blocks.Cache[blockKey] // of all objects
	calls   *reads.Calls            // of all directories
	ahead   *readAhead
}

// maxStuck bounds the abandoned reads of directories that have not returned.
const maxStuck = 64

// MaxRange is the maximum number of bytes that [Object.Range] returns.
const MaxRange = s3Block

// cacheBytes bounds the blocks of a Set, including those being fetched: a block for each of several readers.
const cacheBytes = 16 * s3Block

// blockKey identifies a block of one version of an object.
type blockKey struct {
	url string
	Version
	off, n int64
}

type allowed struct {
	scheme, host, prefix string // prefix is "" or ends in '/'
	store
}

// Open validates and opens the allowed buckets:
//
//	s3://BUCKET[/PREFIX]?endpoint=https://HOST[:PORT][&region=R]
//	file:///DIRECTORY
//
// Credentials of S3 are from AWS_* variables, ~/.aws, or the machine's role.
//
// Its error joins all errors. Files are read in place through maps; nil reads copies.
func Open(urls []string, maps *mapping.Pool) (*Set, error) {
	s := &Set{cache: blocks.New[blockKey](cacheBytes, s3Block), calls: reads.NewCalls(readTimeout, maxStuck), ahead: newReadAhead()}
	var errs []error
	for _, text := range urls {
		b, err := open(text, s.calls, maps)
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

func open(text string, calls *reads.Calls, maps *mapping.Pool) (allowed, error) {
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
		b.store, err = openDir(u, calls, maps)
	default:
		err = errors.New("must be s3://BUCKET/PREFIX?endpoint=https://HOST or file:///DIRECTORY")
	}
	return b, err
}

// Stuck returns the number of abandoned reads of directories that have not returned.
func (s *Set) Stuck() int { return s.calls.Stuck() }

// Close closes the buckets.
func (s *Set) Close() error {
	s.ahead.stop()
	var errs []error
	for _, b := range s.buckets {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

// maxURL is the maximum length of an object's URL, in bytes, enough for the longest path of a file.
const maxURL = 5000

// find returns the bucket of a URL and the key in it.
func (s *Set) find(text string) (store, string, error) {
	if len(text) > maxURL {
		return nil, "", fmt.Errorf("%w: it has %d bytes; the limit is %d", ErrNotAllowed, len(text), maxURL)
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

// Stat returns the current version of an object. Errors: ErrNotAllowed, ErrNotFound, ErrUnsupported, or an error of the
// store.
func (s *Set) Stat(ctx context.Context, url string) (Version, error) {
	b, key, err := s.find(url)
	if err != nil {
		return Version{}, err
	}
	return b.stat(ctx, key)
}

// Object returns a reader of one version of an object, without a request. Errors: ErrNotAllowed.
func (s *Set) Object(url string, v Version) (*Object, error) {
	b, key, err := s.find(url)
	if err != nil {
		return nil, err
	}
	return &Object{store: b, url: url, key: key, version: v, cache: s.cache, ahead: s.ahead}, nil
}
