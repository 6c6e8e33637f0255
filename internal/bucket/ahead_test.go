package bucket_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gather/internal/bucket"
)

// The blocks behind the one that is read are fetched at the same time, and not again when they are read.
func TestReadAhead(t *testing.T) {
	arrived, release := make(chan string, 100), make(chan struct{})
	set := remote(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- strings.TrimPrefix(r.Header.Get("Range"), "bytes=")
		<-release
		ranged(w, r)
	})
	v := bucket.Version{ETag: "v", Size: 8*bucket.BlockBytes + 5}
	o, err := set.Object("s3://data/x", v)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := o.ReadAt(make([]byte, 10), 0)
		read <- err
	}()
	var got []string
	for range 6 {
		got = append(got, <-arrived) // before any has a response
	}
	slices.Sort(got)
	want := []string{
		"0-8388607", "16777216-25165823", "25165824-33554431", "33554432-41943039", "41943040-50331647", "8388608-16777215",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got requests for %q, want %q", got, want)
	}
	close(release)
	if err := <-read; err != nil {
		t.Errorf("got error %v, want none", err)
	}
	for off := int64(0); off < v.Size; off += bucket.BlockBytes {
		if _, err := o.ReadAt(make([]byte, 5), off); err != nil {
			t.Errorf("read at %d: got error %v, want none", off, err)
		}
	}
	for range 3 {
		got = append(got, <-arrived)
	}
	select {
	case again := <-arrived:
		t.Errorf("got another request, for %s, want 9", again)
	default:
	}
}

// A failed read-ahead does not fail the reader, and Close interrupts those in progress.
func TestReadAheadFails(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	set := remote(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		ranged(w, r)
	})
	o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: 2*bucket.BlockBytes + 5})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("got error %v, want none", err)
	}
	if err := set.Close(); err != nil {
		t.Errorf("Close: got error %v, want none", err)
	}
	if _, err := o.ReadAt(make([]byte, 10), 0); err != nil { // starts no reads
		t.Errorf("got error %v, want none", err)
	}
}

// A range is fetched once, alone, also when it was read ahead, and not beyond the end of the object.
func TestRange(t *testing.T) {
	var requests atomic.Int64
	set := remote(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if got := r.Header.Get("Range"); got != "bytes=100-299" {
			t.Errorf("got a request for %s, want bytes=100-299", got)
		}
		ranged(w, r)
	})
	o, err := set.Object("s3://data/x", bucket.Version{ETag: "v", Size: bucket.BlockBytes + 5})
	if err != nil {
		t.Fatal(err)
	}
	o.ReadAheadRange(100, 200)
	for range 2 {
		if p, err := o.Range(t.Context(), 100, 200); err != nil || len(p) != 200 {
			t.Errorf("got %d bytes, %v, want 200", len(p), err)
		}
	}
	for _, r := range [][2]int64{{bucket.BlockBytes, 6}, {bucket.BlockBytes + 6, 0}, {-1, 5}} {
		o.ReadAheadRange(r[0], r[1])
		if p, err := o.Range(t.Context(), r[0], r[1]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v: got %d bytes, %v, want io.ErrUnexpectedEOF", r, len(p), err)
		}
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}
