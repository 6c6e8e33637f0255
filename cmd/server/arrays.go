package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gather/internal/array"
	"gather/internal/bucket"
	"gather/internal/chunked"
	"gather/internal/job"
	"gather/internal/kind"
	"gather/internal/npy"
)

// storedArrays finds the arrays that specs name, for package kind: uploaded ones by name, objects of allowed buckets by URL.
type storedArrays struct {
	store   *array.Store
	buckets *bucket.Set
}

// Open implements kind.Arrays.
func (a storedArrays) Open(ctx context.Context, tenant string, ref chunked.Ref, pin []byte) (kind.Opened, error) {
	if ref.URL != "" {
		return a.openURL(ctx, ref.URL, pin)
	}
	return a.openName(tenant, ref.Name, pin)
}

// namePin tells an uploaded array from any other.
type namePin struct {
	SHA256 string `json:"sha256"`
}

func (a storedArrays) openName(tenant, name string, pin []byte) (kind.Opened, error) {
	h, err := a.store.Acquire(tenant, name)
	if errors.Is(err, job.ErrArrayNotFound) {
		return kind.Opened{}, errors.New("names no array of yours: upload it with PUT /v1/arrays/{name}")
	}
	if err != nil {
		return kind.Opened{}, err
	}
	now := namePin{SHA256: h.SHA256}
	if pin != nil {
		var then namePin
		if err := json.Unmarshal(pin, &then); err != nil || then != now {
			return kind.Opened{}, errors.Join(fmt.Errorf("the array %s is not the one the job was submitted with", name), h.Close())
		}
	}
	text, err := json.Marshal(now)
	if err != nil {
		return kind.Opened{}, errors.Join(err, h.Close())
	}
	return kind.Opened{Stored: chunked.Stored{Header: h.Header, Reader: h}, Pin: text, Close: h.Close}, nil
}

// urlPin tells a version of an object from any other, and has its header, so that a restart needs no bucket to plan again.
type urlPin struct {
	bucket.Version
	Header []byte `json:"header"`
}

// lookTimeout bounds how long a submission waits for a bucket.
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
		Stored: chunked.Stored{Header: header, Reader: object}, Pin: text, Close: func() error { return nil },
	}, err
}

// look reads the version and the header of an object.
func (a storedArrays) look(ctx context.Context, url string) (urlPin, error) {
	v, err := a.buckets.Stat(ctx, url)
	if err != nil {
		return urlPin{}, err
	}
	object, err := a.buckets.Object(url, v)
	if err != nil {
		return urlPin{}, err
	}
	var head bytes.Buffer
	h, err := npy.ParseHeader(io.TeeReader(&contextReader{ctx: ctx, o: object}, &head))
	if err != nil {
		return urlPin{}, err
	}
	return urlPin{Version: v, Header: head.Bytes()[:h.Offset]}, nil
}

// contextReader reads an object from its start.
type contextReader struct {
	ctx context.Context //nolint:containedctx // an io.Reader has no other way
	o   *bucket.Object
	off int64
}

func (r *contextReader) Read(p []byte) (int, error) {
	n, err := r.o.ReadAtContext(r.ctx, p, r.off)
	r.off += int64(n)
	return n, err
}
