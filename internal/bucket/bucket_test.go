package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"go.uber.org/goleak"

	"gather/internal/bucket"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")) // idle connections of the S3 client
}

// store is a bucket under test: its setting, the URLs of its objects, and a function that writes them.
type store struct {
	allow  string
	object func(key string) string
	write  func(t *testing.T, key string, data []byte)
}

func directory(t *testing.T) store {
	root := t.TempDir()
	return store{
		allow:  "file://" + root + "/arrays",
		object: func(key string) string { return "file://" + root + "/arrays/" + key },
		write: func(t *testing.T, key string, data []byte) {
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

// server starts an S3 server in a separate process, on a directory.
func server(t *testing.T) store {
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
	return store{
		allow:  "s3://data/arrays?endpoint=http://" + addr + "&region=us-east-1",
		object: func(key string) string { return "s3://data/arrays/" + key },
		write: func(t *testing.T, key string, data []byte) {
			_, err := client.PutObject(t.Context(), "data", "arrays/"+key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestStores(t *testing.T) {
	for name, start := range map[string]func(*testing.T) store{"directory": directory, "s3": server} {
		t.Run(name, func(t *testing.T) { exercise(t, start(t)) })
	}
}

func exercise(t *testing.T, st store) {
	data := make([]byte, 20<<20+123) // three blocks of a remote store
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(data)
	st.write(t, "x/y.npy", data)
	set, err := bucket.Open([]string{st.allow}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	url := st.object("x/y.npy")
	v, err := set.Stat(t.Context(), url)
	if err != nil || v.Size != int64(len(data)) || v.ETag == "" {
		t.Fatalf("%+v, %v", v, err)
	}
	o, err := set.Object(url, v)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for range 50 {
				off := rnd.Int64N(int64(len(data)))
				p := make([]byte, rnd.Int64N(1<<20))
				n, err := o.ReadAt(p, off)
				want := data[off:min(off+int64(len(p)), int64(len(data)))]
				if n != len(want) || !bytes.Equal(p[:n], want) || (n < len(p)) != errors.Is(err, io.EOF) {
					t.Errorf("%d bytes at %d: %d, %v", len(p), off, n, err)
				}
			}
		})
	}
	wg.Wait()

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	fresh, _ := set.Object(url, v)
	if _, err := fresh.ReadAtContext(gone, make([]byte, 10), 0); st.allow[0] == 's' && !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}

	// Different content under the same name.
	data[0]++
	st.write(t, "x/y.npy", data)
	other, err := bucket.Open([]string{st.allow}, nil) // without a block of the old content
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	fresh, _ = other.Object(url, v)
	if _, err := fresh.ReadAt(make([]byte, 10), 0); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("changed: %v", err)
	}

	if _, err := set.Stat(t.Context(), st.object("nothing")); !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	for _, bad := range []string{
		"", "x", "https://example.org/x", st.object("../secret"), st.object("a/../../secret"), st.object(""), st.object("x") + "?endpoint=http://evil",
		"s3://other/arrays/x", "file:///etc/passwd",
	} {
		if _, err := set.Stat(t.Context(), bad); !errors.Is(err, bucket.ErrNotAllowed) {
			t.Errorf("%q: %v, want ErrNotAllowed", bad, err)
		}
	}
}

// A link in an allowed directory must not lead outside.
func TestDirectoryLinks(t *testing.T) {
	root := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	set, err := bucket.Open([]string{"file://" + root}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	if v, err := set.Stat(t.Context(), "file://"+root+"/link"); err == nil {
		t.Errorf("the link was followed: %+v", v)
	}
}

func TestOpenListsFaults(t *testing.T) {
	for _, bad := range []string{
		"x", "ftp://h/x", "s3://bucket", "s3://?endpoint=http://h", "s3://ab?endpoint=http://h", "s3://bucket?endpoint=h", "s3://bucket?endpoint=http://h&key=1", "file:///does/not/exist", "file://host/x",
	} {
		if _, err := bucket.Open([]string{bad}, nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := bucket.Open(nil, nil); err != nil {
		t.Error(err)
	}
}

// remote opens a set on an S3 store that is a handler.
func remote(t *testing.T, handler http.HandlerFunc) *bucket.Set {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: handler}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	t.Setenv("AWS_ACCESS_KEY_ID", "someone")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-theirs")
	set, err := bucket.Open([]string{"s3://data?region=r&endpoint=http://" + l.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	return set
}

// respond begins a response of n bytes.
func respond(w http.ResponseWriter, n int) {
	w.Header().Set("ETag", `"v"`)
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
	w.Header().Set("Content-Length", strconv.Itoa(n))
}

// ranged responds with the requested range of zeros.
func ranged(w http.ResponseWriter, r *http.Request) {
	var lo, hi int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &lo, &hi); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	respond(w, hi-lo+1)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", lo, hi))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(make([]byte, hi-lo+1))
}

// A response that is always truncated is an error, neither a wrong sum nor the end of the object.
func TestTruncatedResponse(t *testing.T) {
	set := remote(t, func(w http.ResponseWriter, _ *http.Request) {
		respond(w, 1000)
		_, _ = w.Write(make([]byte, 10))
	})
	o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := o.ReadAt(make([]byte, 1000), 0); err == nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if set.Held() != 0 {
		t.Errorf("%d bytes are held after the failure", set.Held())
	}
}

// A read that is truncated or stalls is retried a few times.
func TestReadRetries(t *testing.T) {
	var calls atomic.Int32
	set := remote(t, func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			respond(w, 1000)
			_, _ = w.Write(make([]byte, 10))
		case 2:
			respond(w, 1000)
			_, _ = w.Write(make([]byte, 10))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			ranged(w, r)
		}
	})
	set.SetReadTimeout(time.Second)
	o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := o.ReadAt(make([]byte, 1000), 0); n != 1000 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if calls.Load() != 3 {
		t.Errorf("%d requests", calls.Load())
	}
}

// A read of a missing or changed object is not retried.
func TestReadDoesNotRetry(t *testing.T) {
	for status, want := range map[int]error{http.StatusNotFound: bucket.ErrNotFound, http.StatusPreconditionFailed: bucket.ErrChanged, http.StatusForbidden: nil} {
		var calls atomic.Int32
		set := remote(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(status)
		})
		o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.ReadAt(make([]byte, 10), 0); err == nil || want != nil && !errors.Is(err, want) || calls.Load() != 1 {
			t.Errorf("%d: %v after %d requests", status, err, calls.Load())
		}
	}
}

// A set holds at most its bound for any number of objects and readers, and fetches each block once.
func TestBlocksAreShared(t *testing.T) {
	var calls atomic.Int32
	set := remote(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		ranged(w, r)
	})
	const objects = 3
	v := bucket.Version{ETag: "v", Size: bucket.CacheBytes / 2}
	read := func(i int) {
		o, err := set.Object(fmt.Sprint("s3://data/", i), v)
		if err != nil {
			t.Error(err)
			return
		}
		p := make([]byte, 1000)
		for off := int64(0); off < v.Size; off += bucket.BlockBytes / 2 {
			if _, err := o.ReadAt(p, off); err != nil {
				t.Error(err)
				return
			}
		}
	}
	for i := range objects {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { read(i) })
		}
		wg.Wait()
	}
	if want := int32(objects * v.Size / bucket.BlockBytes); calls.Load() != want {
		t.Errorf("%d requests, want %d", calls.Load(), want)
	}
	if set.Held() != bucket.CacheBytes {
		t.Errorf("%d bytes are held, want %d", set.Held(), bucket.CacheBytes)
	}
	before := calls.Load()
	read(objects - 1)
	if calls.Load() != before {
		t.Error("the object read last was fetched again")
	}
	// A direct read bypasses the cache.
	o, _ := set.Object("s3://data/direct", v)
	if n, err := o.ReadDirect(t.Context(), make([]byte, 100), v.Size-10); n != 10 || !errors.Is(err, io.EOF) || calls.Load() != before+1 {
		t.Errorf("%d, %v", n, err)
	}
	read(objects - 1)
	if calls.Load() != before+1 {
		t.Error("a direct read dropped a block")
	}
}

// If the context of the reader that fetches a block ends, the other readers of the block do not fail.
func TestFetchIsTakenOver(t *testing.T) {
	first := make(chan struct{})
	var calls atomic.Int32
	set := remote(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			close(first)
			<-r.Context().Done()
			return
		}
		ranged(w, r)
	})
	o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := o.ReadAtContext(ctx, make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("the cancelled reader: %v", err)
		}
	})
	<-first
	wg.Go(func() {
		if n, err := o.ReadAt(make([]byte, 10), 0); n != 10 || err != nil {
			t.Errorf("the other reader: %d, %v", n, err)
		}
	})
	cancel()
	wg.Wait()
}
