package bucket

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Every response of a store is checked against the version of the object: its entity tag, range and length. A store may
// ignore Range (RFC 9110, section 14.2) and If-Match, and some do.

// maxSkip bounds the bytes skipped when a store sends the whole object instead of a range.
const maxSkip = 64 << 20

// invalidRange replaces the missing Content-Range of a 206 in the header.
const invalidRange = "none"

// rangeStatus makes the header of a response show whether it is a range, because the S3 client only reports headers: it
// has a Content-Range if and only if the status is 206.
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

// checkVersion returns ErrUnsupported for an object without a length or a strong entity tag, because its replacement
// would be undetected.
func checkVersion(etag string, size int64) error {
	switch {
	case size < 0:
		return fmt.Errorf("%w: the response has no object length", ErrUnsupported)
	case etag == "":
		return fmt.Errorf("%w: the response has no entity tag", ErrUnsupported)
	case strings.HasPrefix(etag, "W/"):
		return fmt.Errorf("%w: the entity tag is weak", ErrUnsupported)
	}
	return nil
}

// fillRange fills p from a response that should have the bytes from off of a version of the object. Errors: ErrChanged,
// ErrUnsupported, errors of body.
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
		return fmt.Errorf("%w: requested bytes %d to %d, received %d to %d", ErrUnsupported, off, off+int64(len(p))-1, lo, hi)
	case info.Size >= 0 && info.Size != int64(len(p)):
		return fmt.Errorf("%w: a range of %d bytes has a length of %d", ErrUnsupported, len(p), info.Size)
	}
	_, err = io.ReadFull(body, p)
	return err
}

// fillFromWhole is fillRange for a response with the whole object.
func fillFromWhole(body io.Reader, size int64, v Version, p []byte, off int64) error {
	if size >= 0 && size != v.Size {
		return ErrChanged
	}
	if v.Size > int64(len(p)) && v.Size > maxSkip {
		return fmt.Errorf("%w: it sends whole objects instead of ranges, and this object has more than %d bytes", ErrUnsupported, maxSkip)
	}
	if _, err := io.CopyN(io.Discard, body, off); err != nil {
		return err
	}
	_, err := io.ReadFull(body, p)
	return err
}

// parseContentRange parses the Content-Range of a 206; total is -1 for "*".
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
