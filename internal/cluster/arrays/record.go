package arrays

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"gather/internal/array"
	"gather/internal/job"
	"gather/internal/npy"
)

// record is what the bucket says of an array.
type record struct {
	Version int       `json:"version"`
	Tenant  string    `json:"tenant"`
	Name    string    `json:"name"`
	Upload  string    `json:"upload"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Created time.Time `json:"created"`
	// Header is that of the file, so that nothing else is read to describe an array.
	Header header `json:"header"`
	// Blocks have BlockBytes each, but the last.
	BlockBytes int64 `json:"block_bytes"`
	Blocks     int64 `json:"blocks"`
	// Sealed names who is about to replace or delete the array; it is not opened meanwhile.
	Sealed string `json:"sealed,omitempty"`

	seq uint64 // of the message
	// broken says why the record cannot be read; then only Tenant and Name are known.
	broken error
}

// tag returns the entity tag of an array; "" if there is none.
func (r *record) tag() string {
	switch {
	case r == nil:
		return ""
	case r.broken != nil:
		return "?" // one that no client has
	}
	return r.SHA256
}

// lockedAs reports whether the record is still as another one that was locked by an operation. One that cannot be read is
// not locked, but is the same message.
func (r *record) lockedAs(before *record, by string) bool {
	if before.broken != nil {
		return r.seq == before.seq
	}
	return r.Sealed == by
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

// parseRecord reads and checks a record: what is computed of it must make sense.
func parseRecord(data []byte, seq uint64) (*record, error) {
	r := &record{seq: seq}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%w: record of an array: %w", job.ErrCorrupt, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("the record of array %q has format version %d; this version reads %d", r.Name, r.Version, recordVersion)
	}
	if len(r.Header.Kind) != 1 || r.BlockBytes <= 0 || r.BlockBytes > maxBlock || r.Blocks != (r.Bytes+r.BlockBytes-1)/r.BlockBytes ||
		r.header().CheckSize(r.Bytes) != nil {
		return nil, fmt.Errorf("%w: record of array %q", job.ErrCorrupt, r.Name)
	}
	return r, nil
}

// maxBlock is far above any block that is written.
const maxBlock = 64 << 20

func (r *record) header() npy.Header {
	h := &r.Header
	return npy.Header{
		Type: npy.Type{Kind: h.Kind[0], Size: h.Size}, BigEndian: h.BigEndian, Fortran: h.Fortran, Shape: h.Shape, Offset: h.Offset,
	}
}

func (r *record) key() arrayKey { return arrayKey{r.Tenant, r.Name} }
func (r *record) mark() string  { return array.Use(r.Tenant, r.Name, r.SHA256) }

func (s *Store) describe(r *record) job.Array {
	if r.broken != nil {
		return job.Array{Name: r.Name, Damaged: true, Unreadable: true}
	}
	c := array.Content{Header: r.header(), Bytes: r.Bytes, SHA256: r.SHA256}
	if s.cfg.Uses != nil { // which knows better than handles what is unfinished
		return c.Describe(r.Name, r.Created, s.cfg.Uses.Uses(r.mark()))
	}
	return c.Describe(r.Name, r.Created, s.inUse(r))
}

// token makes a key's token of a name: bytes but letters, digits, '-' and '_' are written as "=" and two digits.
func token(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	if b.Len() == 0 {
		return "=" // no name is written so
	}
	return b.String()
}

// untoken is the inverse of token; what token does not write gives some other name.
func untoken(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '=' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		if text[i] != '=' {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// tally is what the arrays of a tenant are together. Every change of one carries the tally after it.
type tally struct{ arrays, bytes int64 }

const tallyHeader = "Gather-Tally"

func (t tally) String() string { return fmt.Sprintf("%d %d", t.arrays, t.bytes) }

// tallyOf returns false for a message that this package did not write.
func tallyOf(h nats.Header) (t tally, ok bool) {
	_, err := fmt.Sscanf(h.Get(tallyHeader), "%d %d", &t.arrays, &t.bytes)
	return t, err == nil
}

// with returns the tally after a record took the place of another; nil is none.
func (t tally) with(old, next *record) tally {
	if old != nil {
		t.arrays, t.bytes = t.arrays-1, t.bytes-old.Bytes
	}
	if next != nil {
		t.arrays, t.bytes = t.arrays+1, t.bytes+next.Bytes
	}
	return t
}
