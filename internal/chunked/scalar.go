package chunked

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"gather/internal/npy"
	"gather/internal/number"
)

// scalar is one JSON element: a number, a boolean, or a string for a special value.
type scalar struct {
	kind scalarKind
	text []byte // text of a number
	f    float64
}

type scalarKind uint8

const (
	boolScalar scalarKind = iota
	intScalar
	floatScalar   // a number with a fraction or an exponent
	specialScalar // "NaN", "Infinity" or "-Infinity"
)

// parseScalar parses an element; false for other JSON values.
func parseScalar(raw []byte) (v scalar, ok bool) {
	if len(raw) == 0 {
		return scalar{}, false
	}
	switch c := raw[0]; {
	case c == '"':
		f, ok := number.Special(raw)
		return scalar{kind: specialScalar, f: f}, ok
	case c == '-' || c-'0' <= 9:
		for _, c := range raw[1:] {
			if c-'0' > 9 {
				return scalar{kind: floatScalar, text: raw}, true
			}
		}
		return scalar{kind: intScalar, text: raw}, c != '-' || len(raw) > 1
	case string(raw) == "true":
		return scalar{kind: boolScalar, f: 1}, true
	case string(raw) == "false":
		return scalar{kind: boolScalar}, true
	}
	return scalar{}, false
}

// wantScalar is the error for a value that is not an element.
const wantScalar = `is not an element: write a number, true, false, "NaN", "Infinity" or "-Infinity"`

// string returns the text of v, which is valid until its JSON changes.
func (v scalar) string() string { return unsafe.String(unsafe.SliceData(v.text), len(v.text)) }

// short returns the text for an error.
func (v scalar) short() string {
	switch {
	case v.kind == boolScalar:
		return strconv.FormatBool(v.f != 0)
	case v.kind == specialScalar:
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	case len(v.text) > 40:
		return string(v.text[:37]) + "..."
	}
	return string(v.text)
}

// whole returns v as an integer if it is a number without a fractional part, such as 2.0 or 1e3.
func (v scalar) whole() (scalar, bool) {
	if v.kind == floatScalar {
		if text, ok := number.Integer(v.text); ok {
			v = scalar{kind: intScalar, text: text}
		}
	}
	return v, v.kind == intScalar
}

// int64 returns the value of an integer that fits, including literals such as 2.0.
func (v scalar) int64() (int64, bool) {
	v, ok := v.whole()
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(v.string(), 10, 64)
	return n, err == nil
}

// sign returns -1 for a negative value and 1 for others.
func (v scalar) sign() int {
	if v.f < 0 || len(v.text) > 0 && v.text[0] == '-' {
		return -1
	}
	return 1
}

// float64 rounds the value once; false if it is finite but exceeds float64.
func (v scalar) float64() (float64, bool) {
	if v.kind == boolScalar || v.kind == specialScalar {
		return v.f, true
	}
	f, err := strconv.ParseFloat(v.string(), 64)
	return f, err == nil
}

// encode returns the value as the low bytes of an element of type t. The error has advice for the client.
func (v scalar) encode(t DType) (uint64, error) {
	switch {
	case t.IsFloat():
		return v.encodeFloat(t)
	case v.kind == boolScalar:
		return uint64(v.f), nil
	}
	v, ok := v.whole()
	if !ok {
		return 0, fmt.Errorf("%s is not an integer, as %s needs: write an integer, or use a float dtype", v.short(), t)
	}
	if t == Bool {
		n, ok := v.int64()
		if !ok || n&^1 != 0 {
			return 0, fmt.Errorf("%s is not a bool: write true or false", v.short())
		}
		return uint64(n), nil
	}
	if t.isUnsigned() {
		n, err := strconv.ParseUint(v.string(), 10, 8*t.Size())
		if err == nil || v.string() == "-0" {
			return n, nil
		}
	} else if n, err := strconv.ParseInt(v.string(), 10, 8*t.Size()); err == nil {
		return uint64(n), nil
	}
	if t.Size() == 8 {
		return 0, fmt.Errorf("%s does not fit %s: use float64", v.short(), t)
	}
	return 0, fmt.Errorf("%s does not fit %s: use a wider dtype", v.short(), t)
}

func (v scalar) encodeFloat(t DType) (bits uint64, err error) {
	f := v.f
	switch {
	case v.kind == boolScalar || v.kind == specialScalar:
	case t == Float32: // rounded once from the decimal, not by way of float64
		f, err = strconv.ParseFloat(v.string(), 32)
	default:
		f, err = strconv.ParseFloat(v.string(), 64)
	}
	bits = floatBits(t, f)
	finite := v.kind != specialScalar
	if errors.Is(err, strconv.ErrRange) || finite && t == Float16 && bits&0x7fff == 0x7c00 {
		return 0, fmt.Errorf(`%s is beyond %s: use a wider dtype, or write "Infinity"`, v.short(), t)
	}
	return bits, err
}

// floatBits returns the bits of f rounded to the float type t.
func floatBits(t DType, f float64) uint64 {
	switch t {
	case Float16:
		return uint64(npy.Float16bits(f))
	case Float32:
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}

// floatOf returns the value of an element of the float type t.
func floatOf(t DType, bits uint64) float64 {
	switch t {
	case Float16:
		return npy.Float16frombits(uint16(bits))
	case Float32:
		return float64(math.Float32frombits(uint32(bits)))
	}
	return math.Float64frombits(bits)
}
