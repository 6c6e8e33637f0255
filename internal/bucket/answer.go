package bucket

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Every answer of a store is checked against the version of the object: its entity tag, its range and its length. A store
// may ignore Range (RFC 9110, section 14.2) and If-Match, and some do.

// maxSkip bounds the bytes that are skipped when a store sends the whole object instead of a range.
const maxSkip = 64 << 20

// invalidRange stands in a header for the Content-Range that a 206 lacks.
const invalidRange = "none"

// rangeStatus makes the header of an answer show whether it is a range: a Content-Range is there if, and only if, the status
// is 206. The S3 client reports headers only.
type rangeStatus struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t rangeStatus) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	switch {
	case err != nil:
	case resp.StatusCode != http.StatusPartialContent:
		resp.Header.Del("Content-Range")
	case resp.Header.Get("Content-Range") == "":
		resp.Header.Set("Content-Range", invalidRange)
	}
	return resp, err
}

// checkVersion returns ErrUnsupported for an object without a length or a strong entity tag: its replacement would go unnoticed.
func checkVersion(etag string, size int64) error {
	switch {
	case size < 0:
		return fmt.Errorf("%w: it gives no length of the object", ErrUnsupported)
	case etag == "":
		return fmt.Errorf("%w: it gives no entity tag of the object", ErrUnsupported)
	case strings.HasPrefix(etag, "W/"):
		return fmt.Errorf("%w: the entity tag of the object is weak", ErrUnsupported)
	}
	return nil
}

// fillRange fills p from an answer that should have the bytes from off of a version of the object. Errors: ErrChanged,
// ErrUnsupported, those of body.
func fillRange(body io.Reader, info minio.ObjectInfo, header http.Header, v Version, p []byte, off int64) error {
	if err := checkVersion(info.ETag, 0); err != nil {
		return err
	}
	if info.ETag != v.ETag {
		return ErrChanged
	}
	text := header.Get("Content-Range")
	if text == "" {
		return fillFromWhole(body, info.Size, v, p, off)
	}
	lo, hi, total, err := parseContentRange(text)
	switch {
	case err != nil:
		return err
	case total >= 0 && total != v.Size:
		return ErrChanged
	case lo != off || hi != off+int64(len(p))-1:
		return fmt.Errorf("%w: asked for bytes %d to %d it sent %d to %d", ErrUnsupported, off, off+int64(len(p))-1, lo, hi)
	case info.Size >= 0 && info.Size != int64(len(p)):
		return fmt.Errorf("%w: a range of %d bytes has a length of %d", ErrUnsupported, len(p), info.Size)
	}
	_, err = io.ReadFull(body, p)
	return err
}

// fillFromWhole is fillRange for an answer with the whole object.
func fillFromWhole(body io.Reader, size int64, v Version, p []byte, off int64) error {
	if size >= 0 && size != v.Size {
		return ErrChanged
	}
	if v.Size > int64(len(p)) && v.Size > maxSkip {
		return fmt.Errorf("%w: it sends whole objects instead of ranges, and this one has more than %d bytes", ErrUnsupported, maxSkip)
	}
	if _, err := io.CopyN(io.Discard, body, off); err != nil {
		return err
	}
	_, err := io.ReadFull(body, p)
	return err
}

// parseContentRange reads the Content-Range of a 206; total is -1 for "*".
func parseContentRange(text string) (lo, hi, total int64, err error) {
	fail := func() (int64, int64, int64, error) {
		return 0, 0, 0, fmt.Errorf("%w: a range with Content-Range %.64q", ErrUnsupported, text)
	}
	unit, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	bounds, length, ok := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(bounds, "-")
	if !strings.EqualFold(unit, "bytes") || !ok || !ok2 {
		return fail()
	}
	numbers := [3]int64{-1, -1, -1}
	for i, s := range []string{first, last, length} {
		if i == 2 && s == "*" {
			break
		}
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			return fail()
		}
		numbers[i] = int64(n)
	}
	return numbers[0], numbers[1], numbers[2], nil
}
