// Package number writes numbers as JSON literals, and reads them.
//
// Every number of a result is written here, so that whatever its value the text around it is JSON: a float has a '.' or
// an 'e', and so stays a float; NaN and the infinities, which JSON has no numbers for, are strings.
package number

import (
	"bytes"
	"math"
	"strconv"
)

// AppendFloat appends the shortest literal that reads back as v, in the notation of Python's repr: 1.0, 1e+16, -0.0. NaN and
// the infinities are the strings "NaN", "Infinity" and "-Infinity", in quotes.
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

// AppendHex appends v, exactly, as a JSON string of the hexadecimal form that C's %a writes, such as "0x1.8p+01". NaN and
// the infinities are as AppendFloat writes them.
func AppendHex(dst []byte, v float64) []byte {
	if specialOf(v) != "" {
		return AppendFloat(dst, v)
	}
	return append(strconv.AppendFloat(append(dst, '"'), v, 'x', -1, 64), '"')
}

// specialOf returns the name of a float that JSON has no number for; "" for any other.
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

// Special returns the float that a JSON string, with its quotes, names: "NaN", "Infinity" or "-Infinity".
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
