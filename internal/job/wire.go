package job

import (
	"encoding/binary"
	"fmt"
	"time"
)

// The stored encodings are sequences of varints and length-prefixed bytes, with a version byte first in records that are stored
// separately. They are private to this package and the journals; package api encodes the JSON for clients.

func appendUint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }
func appendInt(dst []byte, v int64) []byte   { return binary.AppendVarint(dst, v) }

func appendBytes(dst, v []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

func appendString(dst []byte, v string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// appendTime appends nanoseconds since 1970; 0 for the zero time.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return appendInt(dst, 0)
	}
	return appendInt(dst, t.UnixNano())
}

// A reader decodes values from b. After the first error err is set and every further value is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) { r.failWith(fmt.Errorf("%w: %s", ErrCorrupt, what)) }

// unknown fails with ErrVersion, because a later version may have written the value.
func (r *reader) unknown(what string) { r.failWith(fmt.Errorf("%w: %s", ErrVersion, what)) }

// failWith fails with err, unless it is nil.
func (r *reader) failWith(err error) {
	if err == nil {
		return
	}
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// enough fails unless n values of at least one byte each can follow.
func (r *reader) enough(n int) bool {
	if n > len(r.b) {
		r.fail("truncated")
		return false
	}
	return true
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a non-negative number that fits into an int.
func (r *reader) count() int {
	v := r.uint()
	if v > 1<<40 {
		r.fail("count")
		return 0
	}
	return int(v)
}

// bytes returns a slice of the input; nil for an empty one.
func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail("length")
		return nil
	}
	if n == 0 {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) bool() bool {
	switch v := r.uint(); v {
	case 0, 1:
		return v == 1
	default:
		r.fail("bool")
		return false
	}
}

func (r *reader) time() time.Time {
	v := r.int()
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v).UTC()
}

// end returns the first error, or an error for trailing bytes.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", what, r.err)
	}
	return nil
}
