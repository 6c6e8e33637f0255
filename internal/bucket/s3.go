package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Block is the size of one fetch, large enough to amortize the latency of a request.
const s3Block = 8 << 20

const (
	// minBucket is the minimum length of an S3 bucket name: the client rejects shorter ones, but only when it reads.
	minBucket = 3
	// maxKey is the maximum length of an object's key, in bytes.
	maxKey = 1024
)

const (
	// readTimeout bounds one attempt to read a block, because a body that stalls would block a worker forever.
	readTimeout = 30 * time.Second
	readTries   = 3
	readPause   = 100 * time.Millisecond // after the first attempt; twice that after the second
)

var (
	errStalled = errors.New("the store did not respond in time")
	// errShort must not be io.ErrUnexpectedEOF, which would be treated as the end of the object.
	errShort = errors.New("the store sent less than the requested range")
)

// s3 is a bucket of an S3-compatible store.
type s3 struct {
	client  *minio.Core
	bucket  string
	timeout time.Duration
}

func openS3(u *url.URL) (*s3, error) {
	q := u.Query()
	endpoint, err := url.Parse(q.Get("endpoint"))
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" {
		return nil, errors.New("needs ?endpoint=https://HOST")
	}
	if u.Host == "" {
		return nil, errors.New("has no bucket name")
	}
	if len(u.Host) < minBucket {
		return nil, fmt.Errorf("a bucket name has at least %d characters", minBucket)
	}
	for name := range q {
		if name != "endpoint" && name != "region" {
			return nil, fmt.Errorf("has an unknown option %q; the options are endpoint and region", name)
		}
	}
	secure := endpoint.Scheme == "https"
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	transport.MaxIdleConnsPerHost = aheadReads
	client, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
		Secure: secure, Region: q.Get("region"), Transport: rangeStatus{transport},
	})
	if err != nil {
		return nil, err
	}
	return &s3{client: client, bucket: u.Host, timeout: readTimeout}, nil
}

func (s *s3) blockSize() int64 { return s3Block }
func (s *s3) close() error     { return nil }

func (s *s3) stat(ctx context.Context, key string) (Version, error) {
	if len(key) > maxKey {
		return Version{}, ErrNotFound
	}
	info, err := s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return Version{}, s3Error(ctx, err)
	}
	return Version{ETag: info.ETag, Size: info.Size}, checkVersion(info.ETag, info.Size)
}

// read retries transient errors.
func (s *s3) read(ctx context.Context, key string, v Version, p []byte, off int64) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := s.tryRead(ctx, key, v, p, off)
		if err != nil && !isTransient(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: readPause, RandomizationFactor: .5, Multiplier: 2, MaxInterval: readTries * readPause,
	}), backoff.WithMaxTries(readTries))
	return err
}

func (s *s3) tryRead(ctx context.Context, key string, v Version, p []byte, off int64) error {
	var o minio.GetObjectOptions
	if err := errors.Join(o.SetRange(off, off+int64(len(p))-1), o.SetMatchETag(v.ETag)); err != nil {
		return err
	}
	attempt, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	body, info, header, err := s.client.GetObject(attempt, s.bucket, key, o)
	if err == nil {
		defer func() { _ = body.Close() }()
		err = fillRange(body, info, header, v, p, off)
	}
	switch {
	case err == nil:
		return nil
	case attempt.Err() != nil && ctx.Err() == nil:
		return errStalled
	}
	return s3Error(ctx, err)
}

// isTransient reports whether a retry may succeed.
func isTransient(err error) bool {
	if errors.Is(err, ErrChanged) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnsupported) {
		return false
	}
	r, ok := errors.AsType[minio.ErrorResponse](err)
	return !ok || r.StatusCode < 400 || r.StatusCode >= 500 ||
		r.StatusCode == http.StatusRequestTimeout || r.StatusCode == http.StatusTooManyRequests
}

// s3Error maps an error of the client to the errors of this package.
func s3Error(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, ErrChanged) || errors.Is(err, ErrUnsupported) {
		return err
	}
	switch r := minio.ToErrorResponse(err); {
	case r.StatusCode == http.StatusPreconditionFailed, r.Code == "PreconditionFailed":
		return ErrChanged
	case r.StatusCode == http.StatusNotFound, r.Code == minio.NoSuchKey, r.Code == minio.NoSuchBucket:
		return ErrNotFound
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return ErrChanged // the object is shorter than before
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errShort
	}
	return fmt.Errorf("read from the store: %w", err)
}
