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
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gather/internal/bucket"
	"gather/internal/bucket/buckettest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")) // idle connections of the S3 client
}

func TestStores(t *testing.T) {
	for name, start := range map[string]func(*testing.T) buckettest.Store{"directory": buckettest.Directory, "s3": buckettest.Server} {
		t.Run(name, func(t *testing.T) { exercise(t, start(t)) })
	}
}

func exercise(t *testing.T, st buckettest.Store) {
	data := make([]byte, 20<<20+123) // three blocks of a remote store
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(data)
	st.Write(t, "x/y.npy", data)
	set, err := bucket.Open([]string{st.Allow}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	url := st.URL("x/y.npy")
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
	if _, err := fresh.ReadAtContext(gone, make([]byte, 10), 0); st.Allow[0] == 's' && !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}

	// Different content under the same name.
	data[0]++
	st.Write(t, "x/y.npy", data)
	other, err := bucket.Open([]string{st.Allow}, nil) // without a block of the old content
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	fresh, _ = other.Object(url, v)
	if _, err := fresh.ReadAt(make([]byte, 10), 0); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("changed: %v", err)
	}

	if _, err := set.Stat(t.Context(), st.URL("nothing")); !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	for _, bad := range []string{
		"", "x", "https://example.org/x", st.URL("../secret"), st.URL("a/../../secret"), st.URL(""), st.URL("x") + "?endpoint=http://evil",
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
