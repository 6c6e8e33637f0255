package exactsum

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrEncoding is wrapped by all errors of [Accumulator.UnmarshalBinary].
var ErrEncoding = errors.New("exactsum: not a canonical accumulator")

const (
	// codecVersion is the high nibble of the first byte; the class is the low nibble.
	codecVersion = 1 << 4
	headerSize   = 3
)

// AppendBinary appends the canonical encoding of a: a byte of version and class, the index of the first word, the
// number of words, and those words, little endian. It omits low zero words and high words that only repeat the sign. It
// takes 3 to 275 bytes, 19 to 35 for ordinary data. The error is always nil.
func (a *Accumulator) AppendBinary(dst []byte) ([]byte, error) {
	lo, hi := a.span()
	dst = append(dst, codecVersion|byte(a.class), byte(lo), byte(hi-lo))
	for _, w := range a.sum[lo:hi] {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst, nil
}

// MarshalBinary returns the encoding of AppendBinary; the error is always nil.
func (a *Accumulator) MarshalBinary() ([]byte, error) { return a.AppendBinary(nil) }

// span returns the shortest range of words whose sign extension is the sum; 0, 0 when the sum is zero.
func (a *Accumulator) span() (lo, hi int) {
	for lo < words && a.sum[lo] == 0 {
		lo++
	}
	if lo == words {
		return 0, 0
	}
	hi = words
	for hi-1 > lo && a.sum[hi-1] == signOf(a.sum[hi-2]) {
		hi--
	}
	return lo, hi
}

// signOf returns the word that extends w in two's complement.
func signOf(w uint64) uint64 { return uint64(int64(w) >> 63) }

// UnmarshalBinary replaces a with the decoded sum. It accepts only encodings of AppendBinary; otherwise it leaves a
// unchanged and returns an error that wraps [ErrEncoding].
func (a *Accumulator) UnmarshalBinary(data []byte) error {
	if len(data) < headerSize {
		return fmt.Errorf("%w: %d bytes, the header alone has %d", ErrEncoding, len(data), headerSize)
	}
	c, lo, n := class(data[0]-codecVersion), int(data[1]), int(data[2])
	if c > nan {
		return fmt.Errorf("%w: unknown version or class %#02x", ErrEncoding, data[0])
	}
	if lo+n > words || n == 0 && lo != 0 || n != 0 && c != finite {
		return fmt.Errorf("%w: class %d with words %d to %d", ErrEncoding, c, lo, lo+n)
	}
	if len(data) != headerSize+8*n {
		return fmt.Errorf("%w: %d bytes for %d words", ErrEncoding, len(data), n)
	}
	d := Accumulator{class: c}
	for i := range n {
		d.sum[lo+i] = binary.LittleEndian.Uint64(data[headerSize+8*i:])
	}
	if n > 0 {
		for i := lo + n; i < words; i++ {
			d.sum[i] = signOf(d.sum[lo+n-1])
		}
	}
	if l, h := d.span(); l != lo || h != lo+n {
		return fmt.Errorf("%w: words %d to %d could be %d to %d", ErrEncoding, lo, lo+n, l, h)
	}
	*a = d
	return nil
}
