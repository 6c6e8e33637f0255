package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"time"

	"gather/internal/api"
	"gather/internal/array"
	"gather/internal/bucket"
	"gather/internal/chunked"
	"gather/internal/job"
	"gather/internal/kind"
	"gather/internal/npy"
)

// storedArrays finds the arrays that specs name, for package kind: uploaded ones by name, objects of allowed buckets by URL.
type storedArrays struct {
	store   arrayStore
	buckets *bucket.Set
	log     *slog.Logger
	looks   chan struct{} // one for each look at a bucket at the same time
}

// maxLooks bounds how many submissions look at a bucket at the same time.
const maxLooks = 16

// arrayStore keeps uploaded arrays: in a directory, or in a cluster.
type arrayStore interface {
	api.Arrays
	// Acquire opens an array for a job. Errors: job.ErrArrayNotFound, those of where it is kept.
	Acquire(ctx context.Context, tenant, name string) (*array.Handle, error)
	// Damaged returns the number of arrays that are known to be damaged.
	Damaged() int
	// Totals is how many arrays all tenants have, and how many bytes these have together.
	Totals() (arrays int, bytes int64)
}

func newStoredArrays(store arrayStore, buckets *bucket.Set, log *slog.Logger) storedArrays {
	return storedArrays{store: store, buckets: buckets, log: log, looks: make(chan struct{}, maxLooks)}
}

// Open implements kind.Arrays. Its error is a fault of the client's, or a *job.Rejection.
func (a storedArrays) Open(ctx context.Context, tenant string, ref chunked.Ref, pin []byte) (kind.Opened, error) {
	var opened kind.Opened
	var err error
	if ref.URL != "" {
		opened, err = a.openURL(ctx, ref.URL, pin)
	} else {
		opened, err = a.openName(ctx, tenant, ref.Name, pin)
	}
	if err == nil || isFault(err) {
		return opened, err
	}
	if ctx.Err() == nil {
		a.log.Warn("an array cannot be read", "tenant", tenant, "array", ref.Name+ref.URL, "error", err)
	}
	// The cause names hosts and paths, which are nobody's business.
	return kind.Opened{}, &job.Rejection{
		Err: job.ErrStorage, Reason: "arrays", Detail: "the array cannot be read now", RetryAfter: 5 * time.Second,
	}
}

// The faults that are of this file.
var (
	errNoArray = errors.New("names no array of yours: upload it with PUT /v1/arrays/{name}")
	errGone    = errors.New("names no array of yours any more: it was deleted since the job was submitted")
	errOther   = errors.New("is not the array that the job was submitted with")
)

// isFault tells what the client can do something about.
func isFault(err error) bool {
	for _, fault := range []error{
		errNoArray, errGone, errOther, bucket.ErrNotAllowed, bucket.ErrNotFound, bucket.ErrChanged, bucket.ErrUnsupported,
		npy.ErrFormat, job.ErrCorrupt,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// namePin tells an uploaded array from any other.
type namePin struct {
	SHA256 string `json:"sha256"`
	// Use is what other nodes look for, in the specs of unfinished jobs, to know that the array is in use.
	Use string `json:"use,omitempty"`
}

func (a storedArrays) openName(ctx context.Context, tenant, name string, pin []byte) (kind.Opened, error) {
	h, err := a.store.Acquire(ctx, tenant, name)
	if errors.Is(err, job.ErrArrayNotFound) && pin != nil {
		return kind.Opened{}, errGone
	}
	if errors.Is(err, job.ErrArrayNotFound) {
		return kind.Opened{}, errNoArray
	}
	if err != nil {
		return kind.Opened{}, err
	}
	now := namePin{SHA256: h.SHA256, Use: h.Use}
	if pin != nil {
		var then namePin
		if err := json.Unmarshal(pin, &then); err != nil || then.SHA256 != now.SHA256 {
			return kind.Opened{}, errors.Join(errOther, h.Close())
		}
	}
	text, err := json.Marshal(now)
	if err != nil {
		return kind.Opened{}, errors.Join(err, h.Close())
	}
	return kind.Opened{
		Stored: chunked.Stored{Header: h.Header, Reader: discreet{h, a.log, name}}, Pin: text, Close: h.Close,
	}, nil
}

// urlPin tells a version of an object from any other, and has its header, so that a restart needs no bucket to plan again.
type urlPin struct {
	bucket.Version
	Header []byte `json:"header"`
}

// lookTimeout bounds how long a submission waits for a bucket, and for its turn to look at it.
const lookTimeout = 15 * time.Second

func (a storedArrays) openURL(ctx context.Context, url string, pin []byte) (kind.Opened, error) {
	var p urlPin
	if pin == nil {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		var err error
		if p, err = a.look(ctx, url); err != nil {
			return kind.Opened{}, err
		}
	} else if err := json.Unmarshal(pin, &p); err != nil {
		return kind.Opened{}, err
	}
	header, err := npy.ParseHeader(bytes.NewReader(p.Header))
	if err == nil {
		err = header.CheckSize(p.Size)
	}
	if err != nil {
		return kind.Opened{}, err
	}
	object, err := a.buckets.Object(url, p.Version)
	if err != nil {
		return kind.Opened{}, err
	}
	text, err := json.Marshal(p)
	return kind.Opened{
		Stored: chunked.Stored{Header: header, Reader: discreet{object, a.log, url}}, Pin: text, Close: func() error { return nil },
	}, err
}

// slowReader is what an array is read from.
type slowReader interface {
	io.ReaderAt
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
}

// discreet reads an array for a job, whose failure its client reads: causes that name hosts and paths go to the log.
type discreet struct {
	slowReader
	log   *slog.Logger
	array string
}

// ReadAtContext implements what package chunked asks of a slow reader.
func (d discreet) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := d.slowReader.ReadAtContext(ctx, p, off)
	switch {
	case err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil:
		return n, err
	case errors.Is(err, bucket.ErrChanged):
		return n, &job.Failure{Reason: job.FailedSourceChanged, Detail: err.Error()}
	case errors.Is(err, bucket.ErrNotFound):
		return n, &job.Failure{Reason: job.FailedSourceChanged, Detail: "the object was deleted since the job was submitted"}
	case errors.Is(err, job.ErrCorrupt):
		return n, &job.Failure{Reason: job.FailedSourceCorrupt, Detail: err.Error() + ": upload the array again"}
	case isFault(err):
		return n, err
	}
	d.log.Error("an array could not be read", "array", d.array, "error", err)
	return n, errors.New("it could not be read; see the server's log")
}

// headPiece is how much of an object is asked for at once to find its header: most are 128 bytes.
const headPiece = 64 << 10

// look reads the version and the header of an object.
func (a storedArrays) look(ctx context.Context, url string) (urlPin, error) {
	select {
	case a.looks <- struct{}{}:
		defer func() { <-a.looks }()
	case <-ctx.Done():
		return urlPin{}, context.Cause(ctx)
	}
	v, err := a.buckets.Stat(ctx, url)
	if err != nil {
		return urlPin{}, err
	}
	object, err := a.buckets.Object(url, v)
	if err != nil {
		return urlPin{}, err
	}
	var head bytes.Buffer // at most npy.MaxHeader, which bounds what is read
	in := bufio.NewReaderSize(&directReader{ctx: ctx, o: object}, headPiece)
	h, err := npy.ParseHeader(io.TeeReader(in, &head))
	if err != nil {
		return urlPin{}, err
	}
	return urlPin{Version: v, Header: head.Bytes()[:h.Offset]}, nil
}

// directReader reads an object from its start, and has no block of it kept.
type directReader struct {
	ctx context.Context //nolint:containedctx // an io.Reader has no other way
	o   *bucket.Object
	off int64
}

func (r *directReader) Read(p []byte) (int, error) {
	n, err := r.o.ReadDirect(r.ctx, p, r.off)
	r.off += int64(n)
	return n, err
}
