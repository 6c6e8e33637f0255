package bucket_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"gather/internal/bucket"
)

// A response to a ranged GET with anything but that range of that version is detected; nothing else is ever read.
func TestResponsesAreChecked(t *testing.T) {
	data := make([]byte, 3000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	const off, n = 1000, 500
	send := func(status int, etag, contentRange string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if etag != "" {
				w.Header().Set("ETag", etag)
			}
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	part := data[off : off+n]
	const fits = "bytes 1000-1499/3000"
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
	}{
		{"the range", send(206, `"v"`, fits, part), nil},
		{"the range, of an unknown length", send(206, `"v"`, "bytes 1000-1499/*", part), nil},
		{"the whole object", send(200, `"v"`, "", data), nil},
		{"the whole object, with a Content-Range", send(200, `"v"`, fits, data), nil},
		{"another range", send(206, `"v"`, "bytes 0-499/3000", data[:n]), bucket.ErrUnsupported},
		{"a shorter range", send(206, `"v"`, "bytes 1000-1009/3000", part[:10]), bucket.ErrUnsupported},
		{"a longer range", send(206, `"v"`, "bytes 1000-1999/3000", data[off:off+1000]), bucket.ErrUnsupported},
		{"a body longer than the range", send(206, `"v"`, fits, data[off:off+1000]), bucket.ErrUnsupported},
		{"a range of a longer object", send(206, `"v"`, "bytes 1000-1499/3001", part), bucket.ErrChanged},
		{"no Content-Range", send(206, `"v"`, "", part), bucket.ErrUnsupported},
		{"several ranges", send(206, `"v"`, "", data), bucket.ErrUnsupported},
		{"an unreadable Content-Range", send(206, `"v"`, "bytes 1000-/3000", part), bucket.ErrUnsupported},
		{"another unit", send(206, `"v"`, "items 1000-1499/3000", part), bucket.ErrUnsupported},
		{"another version, If-Match ignored", send(206, `"w"`, fits, part), bucket.ErrChanged},
		{"another version, whole", send(200, `"w"`, "", data), bucket.ErrChanged},
		{"a longer object, whole", send(200, `"v"`, "", append(bytes.Clone(data), 1)), bucket.ErrChanged},
		{"a shorter object, whole", send(200, `"v"`, "", data[:2000]), bucket.ErrChanged},
		{"no entity tag", send(206, "", fits, part), bucket.ErrUnsupported},
		{"a weak entity tag", send(206, `W/"v"`, fits, part), bucket.ErrUnsupported},
		{"beyond the end", send(416, "", "", nil), bucket.ErrChanged},
		{"no content", send(204, `"v"`, "", nil), errAny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := remote(t, tt.handler)
			o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: int64(len(data))})
			if err != nil {
				t.Fatal(err)
			}
			p := make([]byte, n)
			_, err = o.ReadDirect(t.Context(), p, off)
			switch {
			case tt.want == nil && (err != nil || !bytes.Equal(p, part)):
				t.Errorf("got %v, want the bytes of the range", err)
			case tt.want == nil:
			case err == nil || !errors.Is(tt.want, errAny) && !errors.Is(err, tt.want):
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// errAny matches any error.
var errAny = errors.New("any error")

// A whole object instead of a range is read only up to a bound.
func TestWholeObjectsAreBounded(t *testing.T) {
	const size = 200 << 20
	sent := 0
	set := remote(t, func(w http.ResponseWriter, r *http.Request) {
		respond(w, size)
		for piece := make([]byte, 1<<20); sent < size && r.Context().Err() == nil; sent += len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: size})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.ReadDirect(t.Context(), make([]byte, 100), size-100); !errors.Is(err, bucket.ErrUnsupported) {
		t.Errorf("got %v after %d bytes, want ErrUnsupported", err, sent)
	}
}

// Stat rejects an object without a strong entity tag.
func TestStatChecksTheResponse(t *testing.T) {
	for etag, want := range map[string]error{`"v"`: nil, "": bucket.ErrUnsupported, `W/"v"`: bucket.ErrUnsupported} {
		t.Run(fmt.Sprintf("%q", etag), func(t *testing.T) {
			set := remote(t, func(w http.ResponseWriter, _ *http.Request) {
				respond(w, 1000)
				if w.Header().Del("ETag"); etag != "" {
					w.Header().Set("ETag", etag)
				}
			})
			if v, err := set.Stat(t.Context(), "s3://data/x"); !errors.Is(err, want) {
				t.Errorf("got %+v, %v, want %v", v, err, want)
			}
		})
	}
	set := remote(t, func(w http.ResponseWriter, _ *http.Request) {
		respond(w, 0)
		w.Header().Del("Content-Length")
		w.Header().Set("Transfer-Encoding", "chunked")
	})
	if v, err := set.Stat(t.Context(), "s3://data/x"); !errors.Is(err, bucket.ErrUnsupported) {
		t.Errorf("without a length: got %+v, %v, want ErrUnsupported", v, err)
	}
}
