// Package number formats and parses numbers as JSON literals.
//
// It formats every number of a result, so that the surrounding text is valid JSON for all values: a float has a '.' or
// an 'e' and therefore stays a float; NaN and the infinities, which JSON numbers cannot represent, are strings.
package number

import (
	"bytes"
	"math"
	"strconv"
)

// AppendFloat appends the shortest literal that parses to v, in the notation of Python's repr: 1.0, 1e+16, -0.0. NaN
// and the infinities are the strings "NaN", "Infinity" and "-Infinity", in quotes.
func AppendFloat(dst []byte, v float64) []byte {
	if special := specialOf(v); special != "" {
		return append(append(append(dst, '"'), special...), '"')
	}
	at := len(dst)
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	dst = strconv.AppendFloat(dst, v, 'f', -1, 64)
	if bytes.IndexByte(dst[at:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}

// AppendHex appends v, exactly, as a JSON string in the hexadecimal notation of C's %a, such as "0x1.8p+01". NaN and
// the infinities are formatted as by AppendFloat.
func AppendHex(dst []byte, v float64) []byte {
	if specialOf(v) != "" {
		return AppendFloat(dst, v)
	}
	return append(strconv.AppendFloat(append(dst, '"'), v, 'x', -1, 64), '"')
}

// specialOf returns the name of a float that JSON numbers cannot represent; "" for others.
func specialOf(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return ""
}

// Special returns the float of a quoted JSON string: "NaN", "Infinity" or "-Infinity".
func Special(literal []byte) (v float64, ok bool) {
	switch string(literal) {
	case `"NaN"`:
		return math.NaN(), true
	case `"Infinity"`:
		return math.Inf(1), true
	case `"-Infinity"`:
		return math.Inf(-1), true
	}
	return 0, false
}

// AppendQuoted copies a JSON value with its integers as strings, for clients whose numbers are float64.
func AppendQuoted(dst, v []byte) []byte {
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case c == '"':
			end := i + 1
			for end < len(v) && v[end] != '"' {
				if v[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(v))
			dst = append(dst, v[i:end]...)
			i = end
		case c == '-' || c >= '0' && c <= '9':
			end, whole := i+1, true
			for end < len(v) && (v[end] >= '0' && v[end] <= '9' || v[end] == '.' || v[end]|0x20 == 'e' || v[end] == '+' || v[end] == '-') {
				whole = whole && v[end] >= '0' && v[end] <= '9'
				end++
			}
			if whole {
				dst = append(append(append(dst, '"'), v[i:end]...), '"')
			} else {
				dst = append(dst, v[i:end]...)
			}
			i = end
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// maxIntegerDigits bounds the integers that Integer expands.
const maxIntegerDigits = 400

// Integer returns the digits of a JSON number without a fractional part, such as 2.0, 1e3 or -0.0; false for other
// numbers, and for a number with a fraction or exponent that has more than 400 digits.
func Integer(literal []byte) ([]byte, bool) {
	rest, negative := bytes.CutPrefix(literal, []byte{'-'})
	mantissa, exponent := rest, 0
	if i := bytes.IndexAny(rest, "eE"); i >= 0 {
		mantissa = rest[:i]
		var err error
		if exponent, err = strconv.Atoi(string(rest[i+1:])); err != nil {
			exponent = 1 << 30 // or as far below 0, which only matters for 0
		}
	}
	whole, fraction, isFloat := bytes.Cut(mantissa, []byte{'.'})
	if !isFloat && len(mantissa) == len(rest) {
		return literal, true
	}
	digits := bytes.TrimLeft(append(bytes.Clone(whole), fraction...), "0")
	exponent -= len(fraction)
	trimmed := bytes.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	switch {
	case len(trimmed) == 0:
		return []byte{'0'}, true
	case exponent < 0 || exponent > maxIntegerDigits || len(trimmed)+exponent > maxIntegerDigits:
		return nil, false
	}
	text := make([]byte, 0, len(trimmed)+exponent+1)
	if negative {
		text = append(text, '-')
	}
	return append(append(text, trimmed...), bytes.Repeat([]byte{'0'}, exponent)...), true
}
