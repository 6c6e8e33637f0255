package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"gather/internal/bucket"
	"gather/internal/chunked"
	"gather/internal/concat"
	"gather/internal/kind"
	"gather/internal/npy"
)

// partsPin identifies the versions of the files that are joined. It includes their headers, so that a restart can plan the
// job without the bucket, and reads the same files whatever matches their URLs by then.
type partsPin struct {
	Parts   []partPin `json:"parts"`
	Headers [][]byte  `json:"headers"` // the different ones
}

type partPin struct {
	URL string `json:"url"`
	bucket.Version
	Header int `json:"header"` // index of Headers
}

// probesOfParts is the number of headers that a submission reads at the same time, and headOfPart how many bytes it reads
// first of each: most headers have 128.
const (
	probesOfParts = 16
	headOfPart    = 1 << 10
)

// openURLs opens .npy files that are joined along an axis.
func (a storedArrays) openURLs(ctx context.Context, urls []string, axis int64, pin []byte) (kind.Opened, error) {
	var p partsPin
	if pin == nil {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		var err error
		if p, err = a.probeParts(ctx, urls); err != nil {
			return kind.Opened{}, err
		}
	} else if err := json.Unmarshal(pin, &p); err != nil {
		return kind.Opened{}, err
	}
	parts := make([]concat.Part, len(p.Parts))
	remote := false
	for i, part := range p.Parts {
		object, err := a.buckets.Object(part.URL, part.Version)
		if err != nil {
			return kind.Opened{}, partError(part.URL, err)
		}
		if part.Header < 0 || part.Header >= len(p.Headers) {
			return kind.Opened{}, fmt.Errorf("%w: no header %d", npy.ErrFormat, part.Header)
		}
		h, err := (&urlPin{Version: part.Version, Header: p.Headers[part.Header]}).header(nil)
		if err != nil {
			return kind.Opened{}, partError(part.URL, err)
		}
		parts[i] = concat.Part{Name: part.URL, Header: h, Reader: object}
		remote = remote || strings.HasPrefix(part.URL, "s3:")
	}
	joined, err := concat.New(parts, axis)
	if err != nil {
		return kind.Opened{}, err
	}
	stored := chunked.Stored{Header: joined.Header, Remote: remote}
	name := strings.Join(urls[:min(len(urls), 3)], ", ")
	if f := joined.File(); f != nil {
		stored.Reader = redactingFile{redactingReader{f, a.log, name}, f}
	} else {
		tiles := joined.Tiles(remote, a.parts)
		stored.Header.BigEndian = npy.BigMachine && stored.Header.BigEndian
		stored.Tile, stored.Tiles = tiles.Shape(), redactingTiles{tiles, a.log, name}
	}
	text, err := json.Marshal(p)
	return kind.Opened{Stored: stored, Pin: text, Memory: joined.Memory() + int64(len(text)), Close: func() error { return nil }}, err
}

func partError(url string, err error) error { return fmt.Errorf("%s: %w", url, err) }

// redactingFile is a redactingReader of a file in several pieces.
type redactingFile struct {
	redactingReader
	file *concat.File
}

// Contiguous returns how many bytes from an offset on View can have at once.
func (r redactingFile) Contiguous(off int64) int64 { return r.file.Contiguous(off) }

// probeParts finds the files and reads their versions and headers.
func (a storedArrays) probeParts(ctx context.Context, urls []string) (p partsPin, err error) {
	if err := a.acquireProbe(ctx); err != nil {
		return p, err
	}
	defer a.releaseProbe()
	for _, url := range urls {
		list := []bucket.Entry{{Key: url, Version: bucket.Version{Size: -1}}}
		if strings.Contains(url, "*") {
			if list, err = a.buckets.Match(ctx, url, chunked.MaxFiles-len(p.Parts)); err != nil {
				return p, partError(url, err)
			}
		}
		for _, e := range list {
			p.Parts = append(p.Parts, partPin{URL: e.Key, Version: e.Version})
		}
		if len(p.Parts) > chunked.MaxFiles {
			return p, partError(url, fmt.Errorf("%w: the limit is %d", bucket.ErrTooMany, chunked.MaxFiles))
		}
	}
	headers := make([][]byte, len(p.Parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(probesOfParts)
	for i := range p.Parts {
		g.Go(func() (err error) {
			part := &p.Parts[i]
			if part.Size < 0 {
				part.Version, err = a.buckets.Stat(ctx, part.URL)
			}
			if err == nil {
				headers[i], err = a.readHeader(ctx, part.URL, part.Version, headOfPart)
			}
			if err != nil {
				return partError(part.URL, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return p, err
	}
	for i, h := range headers {
		k := slices.IndexFunc(p.Headers, func(other []byte) bool { return bytes.Equal(h, other) })
		if k < 0 {
			k = len(p.Headers)
			p.Headers = append(p.Headers, h)
		}
		p.Parts[i].Header = k
	}
	return p, nil
}

// readHeader returns the header of an .npy file, of which it reads a piece first.
func (a storedArrays) readHeader(ctx context.Context, url string, v bucket.Version, piece int) ([]byte, error) {
	object, err := a.buckets.Object(url, v)
	if err != nil {
		return nil, err
	}
	return headerOf(&directReader{ctx: ctx, o: object}, piece)
}

// headerOf returns the header at the beginning of an .npy file, of which it reads a piece first.
func headerOf(file io.Reader, piece int) ([]byte, error) {
	var head bytes.Buffer // at most npy.MaxHeader, which bounds the reads
	h, err := npy.ParseHeader(io.TeeReader(bufio.NewReaderSize(file, piece), &head))
	if err != nil {
		return nil, err
	}
	return head.Bytes()[:h.Offset], nil
}
