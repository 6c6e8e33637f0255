// Package buckettest has buckets for tests: a directory, and an S3 server.
package buckettest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Store is a bucket under test.
type Store struct {
	Allow string                                      // the setting that allows it
	URL   func(key string) string                     // of an object
	Write func(t testing.TB, key string, data []byte) // writes an object
}

// Directory returns a bucket in a temporary directory.
func Directory(t *testing.T) Store {
	t.Helper()
	root := t.TempDir()
	return Store{
		Allow: "file://" + root + "/arrays",
		URL:   func(key string) string { return "file://" + root + "/arrays/" + key },
		Write: func(t testing.TB, key string, data []byte) {
			path := filepath.Join(root, "arrays", key)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// Server starts an S3 server in a separate process, on a directory.
func Server(t *testing.T) Store {
	t.Helper()
	exe, err := exec.LookPath("versitygw")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("versitygw is not installed")
		}
		t.Skip("versitygw, an S3 server, is not installed: go install github.com/versity/versitygw/cmd/versitygw@latest")
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "someone")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-theirs")
	cmd := exec.Command(exe, "--port", addr, "--access", "someone", "--secret", "a-secret-of-theirs", "posix", t.TempDir()) //nolint:noctx // killed below
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	client, err := minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4("someone", "a-secret-of-theirs", "")})
	if err != nil {
		t.Fatal(err)
	}
	for ctx, end := context.WithTimeout(t.Context(), 2*time.Minute); ; {
		if err = client.MakeBucket(ctx, "data", minio.MakeBucketOptions{}); err == nil {
			end()
			break
		}
		if ctx.Err() != nil {
			end()
			t.Fatalf("the S3 server did not start: %v\n%s", err, log.String())
		}
	}
	return Store{
		Allow: "s3://data/arrays?endpoint=http://" + addr + "&region=us-east-1",
		URL:   func(key string) string { return "s3://data/arrays/" + key },
		Write: func(t testing.TB, key string, data []byte) {
			_, err := client.PutObject(t.Context(), "data", "arrays/"+key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
		},
	}
}
