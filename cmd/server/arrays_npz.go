package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"gather/internal/bucket"
	"gather/internal/chunked"
	"gather/internal/kind"
	"gather/internal/npy"
	"gather/internal/npz"
)

// npzPin identifies a member of a version of an .npz file. It includes the header of the array, so that a restart can plan
// the job without the bucket.
type npzPin struct {
	bucket.Version
	Member npz.Member `json:"member"`
	Header []byte     `json:"header"`
}

// openNPZ opens a member of an .npz file.
func (a storedArrays) openNPZ(ctx context.Context, url, member string, pin []byte) (kind.Opened, error) {
	var p npzPin
	if pin == nil {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		var err error
		if p, err = a.probeNPZ(ctx, url, member); err != nil {
			return kind.Opened{}, err
		}
	} else if err := json.Unmarshal(pin, &p); err != nil {
		return kind.Opened{}, err
	}
	header, err := npy.ParseHeader(bytes.NewReader(p.Header))
	if err == nil {
		err = header.CheckSize(p.Member.Size)
	}
	if err != nil {
		return kind.Opened{}, err
	}
	object, err := a.buckets.Object(url, p.Version)
	if err != nil {
		return kind.Opened{}, err
	}
	text, err := json.Marshal(p)
	opened := kind.Opened{Pin: text, Close: func() error { return nil }}
	stored := chunked.Stored{Header: header, Remote: strings.HasPrefix(url, "s3:")}
	if p.Member.Deflated > 0 {
		r := npz.NewReader(p.Member, readerOf(object), a.npz)
		stored.Reader, stored.Remote = redactingReader{decodedReader{r}, a.log, url}, true // its bytes follow each other
		opened.Memory = r.Memory()
	} else {
		stored.Header.Offset += p.Member.Offset
		stored.Reader = redactingReader{object, a.log, url}
	}
	opened.Stored = stored
	return opened, err
}

// probeNPZ finds a member and reads its header.
func (a storedArrays) probeNPZ(ctx context.Context, url, member string) (p npzPin, err error) {
	if err := a.acquireProbe(ctx); err != nil {
		return p, err
	}
	defer a.releaseProbe()
	if p.Version, err = a.buckets.Stat(ctx, url); err != nil {
		return p, err
	}
	object, err := a.buckets.Object(url, p.Version)
	if err != nil {
		return p, err
	}
	direct := func(ctx context.Context, b []byte, off int64) error {
		_, err := object.ReadDirect(ctx, b, off)
		return err
	}
	if p.Member, err = npz.Find(ctx, direct, p.Size, member); err != nil {
		return p, err
	}
	var in io.Reader = &directReader{ctx: ctx, o: object, off: p.Member.Offset}
	if p.Member.Deflated > 0 {
		head, err := npz.Head(ctx, p.Member, direct, headPiece)
		if err != nil {
			return p, err
		}
		in = bytes.NewReader(head)
	}
	p.Header, err = headerOf(in, headPiece)
	return p, err
}

// readerOf reads an object, in place if that is possible.
func readerOf(o *bucket.Object) npz.ReadAt {
	return func(ctx context.Context, p []byte, off int64) error {
		err := o.View(ctx, off, off+int64(len(p)), func(mem []byte) error {
			copy(p, mem)
			return nil
		})
		if errors.Is(err, errors.ErrUnsupported) {
			_, err = o.ReadAtContext(ctx, p, off)
		}
		return err
	}
}

// decodedReader is a slowReader without bytes in place.
type decodedReader struct{ *npz.Reader }

// View returns errors.ErrUnsupported.
func (decodedReader) View(context.Context, int64, int64, func([]byte) error) error {
	return errors.ErrUnsupported
}
