package api

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"gather/internal/job"
)

const (
	mediaNPY   = "application/x-npy"
	mediaBytes = "application/octet-stream"
)

// listArrays implements GET /v1/arrays.
func (s *server) listArrays(x *requestState) error {
	query := x.query()
	size := min(integer(query, "page_size", defaultPage), maxPage)
	// Request one more to detect a next page.
	list, err := s.Arrays.List(x, x.principal.Tenant, query.Get("after"), int(size)+1)
	if err != nil {
		return err
	}
	resp := ArrayList{Arrays: make([]StoredArray, 0, len(list))}
	if int64(len(list)) > size {
		list = list[:size]
		resp.NextAfter = &list[size-1].Name
	}
	var unreadable []string
	for i := range list {
		if list[i].Unreadable {
			unreadable = append(unreadable, list[i].Name)
		} else {
			resp.Arrays = append(resp.Arrays, storedArray(&list[i]))
		}
	}
	if unreadable != nil {
		resp.Unreadable = &unreadable
	}
	return x.writeJSON(http.StatusOK, resp)
}

// getArray implements GET /v1/arrays/{array_name}: the description of an array, or its file.
func (s *server) getArray(x *requestState) error {
	p, err := precondition(x.req.Header)
	if err != nil {
		return err
	}
	a, err := s.Arrays.Get(x, x.principal.Tenant, x.param("array_name"))
	if err != nil {
		return err
	}
	if (job.Precondition{Match: p.Match}).Check(a.SHA256) != nil {
		return job.ErrPrecondition
	}
	if fresh := p.Check(a.SHA256); errors.Is(fresh, job.ErrPrecondition) {
		s.describeArray(x, &a)
		return x.writeNothing(http.StatusNotModified)
	}
	if x.media == mediaNPY {
		return s.writeArrayFile(x, x.param("array_name"))
	}
	s.describeArray(x, &a)
	return x.writeJSON(http.StatusOK, storedArray(&a))
}

// describeArray sets the validators and caching headers of a stored array.
func (s *server) describeArray(x *requestState, a *job.Array) {
	h := x.Header()
	h["Cache-Control"] = privateNoCache
	x.vary(varyAccept)
	x.set("Etag", arrayTag(a))
}

// arrayTag returns the entity tag of an array.
func arrayTag(a *job.Array) string { return `"` + a.SHA256 + `"` }

// deleteArray implements DELETE /v1/arrays/{array_name}.
func (s *server) deleteArray(x *requestState) error {
	p, err := precondition(x.req.Header)
	if err != nil {
		return err
	}
	if err := s.Arrays.Delete(x, x.principal.Tenant, x.param("array_name"), p); err != nil {
		return err
	}
	return x.writeNothing(http.StatusNoContent)
}

// minUploadMemory is the share of the upload budget that an upload reserves when it starts, for its buffers here and in
// the store. The share grows as bytes arrive, up to UploadMemory.
const minUploadMemory = 128 << 10

// putArray implements PUT /v1/arrays/{array_name}. It streams the body through a buffer; an upload may take any time as
// long as it arrives at minRate.
func (s *server) putArray(x *requestState) error {
	if media, _, err := mime.ParseMediaType(x.req.Header.Get("Content-Type")); err != nil ||
		media != mediaNPY && media != mediaBytes || x.req.Header.Get("Content-Encoding") != "" {
		x.set("Accept", mediaNPY+", "+mediaBytes)
		return &problem{entry: unsupportedMedia, detail: "Send the unmodified .npy file as Content-Type: " + mediaNPY + "; with curl: -T FILE -H 'Content-Type: " + mediaNPY + "'."}
	}
	if x.req.Header["Content-Range"] != nil { // RFC 9110, section 14.5
		return malformed("header", "Content-Range", "partial uploads are not supported; send the whole file without this header")
	}
	sum, err := contentDigest(x.req.Header)
	if err != nil {
		return err
	}
	p, err := precondition(x.req.Header)
	if err != nil {
		return err
	}
	if !s.openStream() {
		return errStreams
	}
	defer s.closeStream()
	x.mode = modeStream
	body := &upload{x: x, pace: pace{window: s.BodyTimeout}}
	defer body.release()
	if err := body.reserve(minUploadMemory); err != nil {
		return err
	}
	a, created, err := s.Arrays.Put(x, x.principal.Tenant, x.param("array_name"), body, job.ArrayUpload{
		Bytes: x.req.ContentLength, SHA256: sum, Precondition: p,
	})
	if body.failed != nil && !errors.Is(err, job.ErrStorage) {
		return x.bodyError(body.failed, "; nothing was stored")
	}
	if err != nil {
		return err
	}
	x.set("Etag", arrayTag(&a))
	if created {
		x.set("Location", "/v1/arrays/"+a.Name)
		return x.writeJSON(http.StatusCreated, storedArray(&a))
	}
	return x.writeJSON(http.StatusOK, storedArray(&a))
}

// upload reads a body of any length and fails when it arrives more slowly than minRate.
type upload struct {
	x      *requestState
	pace   pace
	held   int64
	failed error
}

func (u *upload) reserve(n int64) error {
	if n = min(n, u.x.srv.UploadMemory-u.held); n <= 0 {
		return nil
	}
	if err := u.x.srv.uploads.acquire(u.x.principal.Tenant, u.held, n); err != nil {
		return err
	}
	u.held += n
	return nil
}

func (u *upload) release() { u.x.srv.uploads.release(u.x.principal.Tenant, u.held) }

func (u *upload) Read(p []byte) (int, error) {
	began := time.Now()
	_ = http.NewResponseController(u.x.w).SetReadDeadline(began.Add(u.pace.left()))
	n, err := u.x.req.Body.Read(p)
	u.pace.add(n, time.Since(began))
	switch {
	case u.x.revoked(): // perhaps while this read waited
		return n, errRevoked
	case errors.Is(err, io.EOF):
		u.x.unread = false
	case err != nil:
		u.failed = err
	default:
		err = u.reserve(int64(n))
	}
	return n, err
}

// contentDigest returns the SHA-256 of a Content-Digest or Repr-Digest header (RFC 9530) in hexadecimal; "" without
// one. It ignores other algorithms, as the RFC requires.
func contentDigest(h http.Header) (string, error) {
	for _, name := range []string{"Content-Digest", "Repr-Digest"} {
		for _, line := range h[name] {
			for part := range strings.SplitSeq(line, ",") {
				algorithm, value, _ := strings.Cut(strings.TrimSpace(part), "=")
				if !strings.EqualFold(algorithm, "sha-256") {
					continue
				}
				inner, ok := strings.CutPrefix(value, ":")
				inner, ok2 := strings.CutSuffix(inner, ":")
				sum, err := base64.StdEncoding.DecodeString(inner)
				if !ok || !ok2 || err != nil || len(sum) != 32 {
					return "", malformed("header", name, "sha-256 must be 32 bytes in base64 between colons")
				}
				return hex.EncodeToString(sum), nil
			}
		}
	}
	return "", nil
}

func storedArray(a *job.Array) StoredArray {
	v := StoredArray{
		Name: a.Name, Dtype: DType(a.DType), Shape: a.Shape, Order: StoredArrayOrderC, ByteOrder: StoredArrayByteOrderLittle,
		Bytes: a.Bytes, Sha256: a.SHA256, CreatedAt: a.CreatedAt, InUse: a.InUse,
		State: StoredArrayStateReady,
	}
	if a.Damaged {
		v.State = StoredArrayStateDamaged
	}
	if v.Shape == nil {
		v.Shape = []int64{}
	}
	if a.Fortran {
		v.Order = StoredArrayOrderF
	}
	if a.BigEndian {
		v.ByteOrder = StoredArrayByteOrderBig
	}
	return v
}
