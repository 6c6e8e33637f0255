package arrays

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"gather/internal/array"
	"gather/internal/job"
	"gather/internal/npy"
)

// A record is the value of an array in the bucket.
type record struct {
	Version int       `json:"version"`
	Tenant  string    `json:"tenant"`
	Name    string    `json:"name"`
	Upload  string    `json:"upload"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
	// Header is the header of the file, so that a description reads no block.
	Header header `json:"header"`
	// BlockBytes is the size of each block but the last.
	BlockBytes int64 `json:"block_bytes"`
	Blocks     int64 `json:"blocks"`
	// LockedBy identifies the operation that is replacing or deleting the array, which cannot be opened meanwhile; "" for
	// none.
	LockedBy string `json:"sealed,omitempty"`

	seq uint64 // sequence of the message
	// broken is the error of a record that cannot be read; only Tenant and Name are set then.
	broken error
}

// tag returns the entity tag of an array; "" if there is none.
func (r *record) tag() string {
	switch {
	case r == nil:
		return ""
	case r.broken != nil:
		return "?" // matches no client's tag
	}
	return r.SHA256
}

// lockedAs reports whether the record is still before, locked by an operation. A record that cannot be read is not locked,
// and is compared by its message.
func (r *record) lockedAs(before *record, by string) bool {
	if before.broken != nil {
		return r.seq == before.seq
	}
	return r.LockedBy == by
}

type header struct {
	Kind      string  `json:"kind"`
	Size      int     `json:"size"`
	BigEndian bool    `json:"big_endian,omitempty"`
	Fortran   bool    `json:"fortran,omitempty"`
	Shape     []int64 `json:"shape"`
	Offset    int64   `json:"offset"`
}

const recordVersion = 1

func newRecord(key arrayKey, upload string, c *array.Content, blockBytes int64) *record {
	h := c.Header
	return &record{
		Version: recordVersion, Tenant: key.tenant, Name: key.name, Upload: upload, Bytes: c.Bytes, SHA256: c.SHA256,
		Created: time.Now().UTC(), BlockBytes: blockBytes, Blocks: (c.Bytes + blockBytes - 1) / blockBytes,
		Header: header{
			Kind: string(rune(h.Type.Kind)), Size: h.Type.Size, BigEndian: h.BigEndian, Fortran: h.Fortran, Shape: h.Shape,
			Offset: h.Offset,
		},
	}
}

// parseRecord parses a record and checks it, because other values are computed from it.
func parseRecord(data []byte, seq uint64) (*record, error) {
	r := &record{seq: seq}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%w: record of an array: %w", job.ErrCorrupt, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%w: the record of array %q has version %d; this release reads %d", job.ErrVersion, r.Name, r.Version, recordVersion)
	}
	if len(r.Header.Kind) != 1 || r.BlockBytes <= 0 || r.BlockBytes > maxBlock || r.Blocks != (r.Bytes+r.BlockBytes-1)/r.BlockBytes ||
		r.header().CheckSize(r.Bytes) != nil {
		return nil, fmt.Errorf("%w: record of array %q", job.ErrCorrupt, r.Name)
	}
	return r, nil
}

// maxBlock is larger than any block that is written.
const maxBlock = 64 << 20

func (r *record) header() npy.Header {
	h := &r.Header
	return npy.Header{
		Type: npy.Type{Kind: h.Kind[0], Size: h.Size}, BigEndian: h.BigEndian, Fortran: h.Fortran, Shape: h.Shape, Offset: h.Offset,
	}
}

func (r *record) key() arrayKey { return arrayKey{r.Tenant, r.Name} }
func (r *record) refID() string { return array.Use(r.Tenant, r.Name, r.SHA256) }

func (s *Store) describe(r *record) job.Array {
	if r.broken != nil {
		return job.Array{Name: r.Name, Damaged: true, Unreadable: true}
	}
	c := array.Content{Header: r.header(), Bytes: r.Bytes, SHA256: r.SHA256}
	if s.cfg.Uses != nil { // Uses has all unfinished jobs, unlike the handles
		return c.Describe(r.Name, r.Created, s.cfg.Uses.Uses(r.refID()))
	}
	return c.Describe(r.Name, r.Created, s.inUse(r))
}

// escapes completes a query escape: the other characters that it leaves are allowed in a token of a key.
var escapes = strings.NewReplacer("%", "=", "+", "=20", ".", "=2E", "~", "=7E")

// token returns a name as a token of a key: every byte other than letters, digits, '-' and '_' becomes "=" and two hex
// digits.
func token(name string) string {
	return cmp.Or(escapes.Replace(url.QueryEscape(name)), "=") // no other name yields "="
}

// untoken is the inverse of token. Text with an invalid escape yields "".
func untoken(text string) string {
	name, err := url.PathUnescape(strings.ReplaceAll(text, "=", "%"))
	if err != nil {
		return ""
	}
	return name
}

// usage is the number and the bytes of the arrays of a tenant. Every update of a record carries the usage after it.
type usage struct{ arrays, bytes int64 }

const usageHeader = "Gather-Tally"

func (t usage) String() string { return fmt.Sprintf("%d %d", t.arrays, t.bytes) }

// parseUsage returns the usage in a message; false for a message that this package did not write.
func parseUsage(h nats.Header) (t usage, ok bool) {
	_, err := fmt.Sscanf(h.Get(usageHeader), "%d %d", &t.arrays, &t.bytes)
	return t, err == nil
}

// with returns the usage after a record was replaced by another; nil for no record.
func (t usage) with(old, next *record) usage {
	if old != nil {
		t.arrays, t.bytes = t.arrays-1, t.bytes-old.Bytes
	}
	if next != nil {
		t.arrays, t.bytes = t.arrays+1, t.bytes+next.Bytes
	}
	return t
}
