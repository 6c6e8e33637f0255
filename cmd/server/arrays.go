package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"gather/internal/api"
	"gather/internal/array"
	"gather/internal/bucket"
	"gather/internal/chunked"
	"gather/internal/concat"
	"gather/internal/job"
	"gather/internal/kind"
	"gather/internal/npy"
	"gather/internal/npz"
	"gather/internal/zarr"
	"gather/internal/zarrstore"
)

// storedArrays implements kind.Arrays: it opens uploaded arrays by name, and objects and Zarr arrays of allowed buckets
// by URL.
type storedArrays struct {
	store   arrayStore
	buckets *bucket.Set
	zarr    *zarrstore.Stores
	parts   *concat.Cache
	npz     *npz.Cache
	log     *slog.Logger
	probes  chan struct{} // one slot for each concurrent probe of a bucket
}

// maxProbes bounds the submissions that read object headers of buckets at the same time.
const maxProbes = 16

// arrayStore stores uploaded arrays in a directory or in a cluster.
type arrayStore interface {
	api.Arrays
	// Acquire opens an array for a job. Errors: job.ErrArrayNotFound, and errors of the store.
	Acquire(ctx context.Context, tenant, name string) (*array.Handle, error)
	// Damaged returns the number of arrays known to be damaged.
	Damaged() int
	// Totals returns the number of arrays of all tenants and their total size.
	Totals() (arrays int, bytes int64)
}

func newStoredArrays(store arrayStore, buckets *bucket.Set, log *slog.Logger) storedArrays {
	return storedArrays{
		store: store, buckets: buckets, zarr: zarrstore.New(buckets), parts: concat.NewCache(), npz: npz.NewCache(),
		log: log, probes: make(chan struct{}, maxProbes),
	}
}

// Open implements kind.Arrays. Its error is one that the client can correct, a *job.Rejection, or the *job.Failure of a job
// whose array has been deleted or replaced.
func (a storedArrays) Open(ctx context.Context, tenant string, ref chunked.Ref, pin []byte) (kind.Opened, error) {
	var opened kind.Opened
	var err error
	switch {
	case ref.Zarr:
		opened, err = a.openZarr(ctx, ref.URL, pin)
	case ref.URLs != nil:
		opened, err = a.openURLs(ctx, ref.URLs, ref.Axis, pin)
	case ref.NPZ != nil:
		opened, err = a.openNPZ(ctx, ref.URL, *ref.NPZ, pin)
	case ref.URL != "":
		opened, err = a.openURL(ctx, ref.URL, ref.Raw, pin)
	default:
		opened, err = a.openName(ctx, tenant, ref.Name, pin)
	}
	if isClientError(err) && pin != nil {
		err = redact(ctx, a.log, ref.String(), err)
	}
	if err == nil || isClientError(err) {
		return opened, err
	}
	if ctx.Err() == nil {
		a.log.Warn("reading an array failed", "tenant", tenant, "array", ref.String(), "error", err)
	}
	// The cause has hosts and paths, which must not reach clients.
	return kind.Opened{}, &job.Rejection{
		Err: job.ErrStorage, Reason: "arrays", Detail: "reading the array failed", RetryAfter: 5 * time.Second,
	}
}

// Errors that clients see: of a submission, or of its job.
var (
	errNoArray = errors.New("does not name one of your arrays: upload it with PUT /v1/arrays/{name}")
	errGone    = &job.Failure{Reason: job.FailedSourceChanged, Detail: "the array was deleted after the job was submitted"}
	errOther   = &job.Failure{Reason: job.FailedSourceChanged, Detail: "the array was replaced after the job was submitted"}
	errShort   = errors.New("ends before the array that shape, dtype and offset describe")
)

// isClientError reports whether an error is for the client, which can correct it, or whose job failed with it.
func isClientError(err error) bool {
	if _, ok := errors.AsType[*job.Failure](err); ok {
		return true
	}
	for _, fault := range []error{
		errNoArray, errShort, bucket.ErrNotAllowed, bucket.ErrNotFound, bucket.ErrChanged, bucket.ErrUnsupported,
		bucket.ErrTooMany, concat.ErrParts, npy.ErrFormat, npz.ErrFormat, npz.ErrCorrupt, zarr.ErrFormat, job.ErrCorrupt,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// namePin identifies an uploaded array.
type namePin struct {
	SHA256 string `json:"sha256"`
	// Use is the reference ID that other nodes look for in the specs of unfinished jobs, to find the arrays in use.
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
		Stored: chunked.Stored{Header: h.Header, Reader: redactingReader{h, a.log, name}, Remote: h.Remote}, Pin: text, Close: h.Close,
	}, nil
}

// urlPin identifies a version of an object. It includes the header of an .npy file, so that a restart can plan the job
// without the bucket.
type urlPin struct {
	bucket.Version
	Header []byte `json:"header,omitempty"`
}

// probeTimeout bounds how long a submission waits for a bucket, including the wait for a free slot.
const probeTimeout = 15 * time.Second

// openURL opens an .npy file or, if raw is not nil, the data of an object that raw describes.
func (a storedArrays) openURL(ctx context.Context, url string, raw *npy.Header, pin []byte) (kind.Opened, error) {
	var p urlPin
	if pin == nil {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		var err error
		if p, err = a.probe(ctx, url, raw == nil); err != nil {
			return kind.Opened{}, err
		}
	} else if err := json.Unmarshal(pin, &p); err != nil {
		return kind.Opened{}, err
	}
	header, err := p.header(raw)
	if err != nil {
		return kind.Opened{}, err
	}
	object, err := a.buckets.Object(url, p.Version)
	if err != nil {
		return kind.Opened{}, err
	}
	text, err := json.Marshal(p)
	return kind.Opened{
		Stored: chunked.Stored{
			Header: header, Reader: redactingReader{object, a.log, url}, Remote: strings.HasPrefix(url, "s3:"),
		},
		Pin: text, Close: func() error { return nil },
	}, err
}

// header returns the header of the object, or raw unless it is nil. Errors: npy.ErrFormat, errShort.
func (p *urlPin) header(raw *npy.Header) (npy.Header, error) {
	if raw == nil {
		h, err := npy.ParseHeader(bytes.NewReader(p.Header))
		if err == nil {
			err = h.CheckSize(p.Size)
		}
		return h, err
	}
	if end := raw.FileSize(); p.Size < end {
		return *raw, fmt.Errorf("%w: it has %d bytes, the array needs %d", errShort, p.Size, end)
	}
	return *raw, nil
}

// slowReader reads an array by copying, which may block, or in place.
type slowReader interface {
	io.ReaderAt
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	View(ctx context.Context, lo, hi int64, use func(p []byte) error) error
}

// redactingReader reads an array for a job. Errors that contain hosts and paths go to the log instead of to the client.
type redactingReader struct {
	slowReader
	log   *slog.Logger
	array string
}

// ReadAtContext reads from the array, interrupted when ctx is done.
func (r redactingReader) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := r.slowReader.ReadAtContext(ctx, p, off)
	if errors.Is(err, io.EOF) {
		return n, err
	}
	return n, redact(ctx, r.log, r.array, err)
}

// View calls use with bytes of the array in place, unless the error is errors.ErrUnsupported.
func (r redactingReader) View(ctx context.Context, lo, hi int64, use func(p []byte) error) error {
	err := r.slowReader.View(ctx, lo, hi, use)
	if errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return redact(ctx, r.log, r.array, err)
}

// redact returns the error of reading an array that the client sees, and logs others.
func redact(ctx context.Context, log *slog.Logger, array string, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, bucket.ErrChanged):
		return &job.Failure{Reason: job.FailedSourceChanged, Detail: err.Error()}
	case errors.Is(err, bucket.ErrNotFound):
		where := strings.TrimSuffix(err.Error(), bucket.ErrNotFound.Error())
		return &job.Failure{Reason: job.FailedSourceChanged, Detail: where + "the object was deleted after the job was submitted"}
	case errors.Is(err, zarr.ErrCorrupt), errors.Is(err, npz.ErrCorrupt):
		return &job.Failure{Reason: job.FailedSourceCorrupt, Detail: err.Error()}
	case errors.Is(err, job.ErrCorrupt):
		return &job.Failure{Reason: job.FailedSourceCorrupt, Detail: err.Error() + ": upload the array again"}
	case isClientError(err):
		return err
	}
	log.Error("reading an array failed", "array", array, "error", err)
	return job.ErrSource
}

// headPiece is the number of bytes first read to find an object's header: most headers have 128 bytes.
const headPiece = npy.MaxHeader

func (a storedArrays) acquireProbe(ctx context.Context) error {
	select {
	case a.probes <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a storedArrays) releaseProbe() { <-a.probes }

// probe reads the version and the header of an object.
func (a storedArrays) probe(ctx context.Context, url string, readHeader bool) (urlPin, error) {
	if err := a.acquireProbe(ctx); err != nil {
		return urlPin{}, err
	}
	defer a.releaseProbe()
	v, err := a.buckets.Stat(ctx, url)
	if err != nil || !readHeader {
		return urlPin{Version: v}, err
	}
	header, err := a.readHeader(ctx, url, v, headPiece)
	return urlPin{Version: v, Header: header}, err
}

// directReader reads an object sequentially, bypassing the block cache.
type directReader struct {
	ctx context.Context //nolint:containedctx // required by io.Reader
	o   *bucket.Object
	off int64
}

func (r *directReader) Read(p []byte) (int, error) {
	n, err := r.o.ReadDirect(r.ctx, p, r.off)
	r.off += int64(n)
	return n, err
}
