package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Block is how much is fetched at once: large enough that the latency of a request does not matter.
const s3Block = 8 << 20

// s3 is a bucket of an S3-compatible store.
type s3 struct {
	client *minio.Client
	bucket string
}

func openS3(u *url.URL) (*s3, error) {
	q := u.Query()
	endpoint, err := url.Parse(q.Get("endpoint"))
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" {
		return nil, errors.New("needs ?endpoint=https://HOST")
	}
	if u.Host == "" {
		return nil, errors.New("names no bucket")
	}
	for name := range q {
		if name != "endpoint" && name != "region" {
			return nil, fmt.Errorf("has an unknown option %q; there are endpoint and region", name)
		}
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
		Secure: endpoint.Scheme == "https", Region: q.Get("region"),
	})
	if err != nil {
		return nil, err
	}
	return &s3{client: client, bucket: u.Host}, nil
}

func (s *s3) blockSize() int64 { return s3Block }
func (s *s3) close() error     { return nil }

func (s *s3) stat(ctx context.Context, key string) (Version, error) {
	info, err := s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return Version{}, s3Error(ctx, err)
	}
	return Version{ETag: info.ETag, Size: info.Size}, nil
}

func (s *s3) read(ctx context.Context, key string, v Version, p []byte, off int64) error {
	var o minio.GetObjectOptions
	if err := errors.Join(o.SetRange(off, off+int64(len(p))-1), o.SetMatchETag(v.ETag)); err != nil {
		return err
	}
	body, err := s.client.GetObject(ctx, s.bucket, key, o)
	if err != nil {
		return s3Error(ctx, err)
	}
	defer func() { _ = body.Close() }()
	if _, err := io.ReadFull(body, p); err != nil {
		return s3Error(ctx, err)
	}
	return nil
}

// s3Error names what the store says.
func s3Error(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch r := minio.ToErrorResponse(err); {
	case r.StatusCode == http.StatusPreconditionFailed, r.Code == "PreconditionFailed":
		return ErrChanged
	case r.StatusCode == http.StatusNotFound, r.Code == minio.NoSuchKey, r.Code == minio.NoSuchBucket:
		return ErrNotFound
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the store sent less than it was asked for: %w", err)
	}
	return fmt.Errorf("read from the store: %w", err)
}
