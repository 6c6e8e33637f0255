package apitest

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf16"
)

// hostileTokens replace other values: other types, limits of number types, special floats, invalid JSON, unusual texts.
var hostileTokens = []string{
	"null", "true", "false", "{}", "[]", "[[]]", `[{}]`, `{"":null}`, `""`, `" "`, `"x"`, `"0"`, `"-0"`, `"1"`, `"007"`, `"-007"`,
	"0", "-0", "-0.0", "1", "-1", "1.0", "2.0", "0.5", "1e2", "1E+2", "1e-2", "127", "128", "-129", "255", "256", "65504", "65520", "65536",
	"2147483647", "2147483648", "-2147483649", "4294967296", "9007199254740991", "9007199254740993", "9223372036854775807",
	"9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
	"1e18", "1e19", "1e22", "1e308", "1.7976931348623157e308", "1.7976931348623159e308", "1e309", "-1e309", "5e-324", "1e-400",
	"1e99999", "1e-99999", "1e999999999", "1e-999999999", "0e999999999", "1e2147483648", "1e9223372036854775808",
	"0.1", "0.30000000000000004", "123456789.123456789", "33000", "1e-9", "1e10", "9223372036.854775807", "9223372037",
	`"NaN"`, `"Infinity"`, `"-Infinity"`, `"+Infinity"`, `"nan"`, `"inf"`, "NaN", "Infinity", "-Infinity", "nan", "undefined", "None", "True",
	"01", "+1", ".5", "1.", "-", "1e", "0x10", "1_000", "'x'", `"\x41"`, `"\ud800"`, `"\udc00\ud800"`, "\"\xff\"", "\"\xc0\x80\"", "\"\x00\"", "\"\n\"",
	`"\u0000"`, `"\u2028"`, `"\ud83d\ude00"`, `"` + "\u202e" + `"`, `"0001-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`, `"2024-02-30T00:00:00Z"`,
	`"2026-11-26T10:00:00+24:00"`, `"2026-11-26t10:00:00z"`, `"2016-12-31T23:59:60Z"`, `"1h1h"`, `"1.5"`, `"-1s"`, `"1e3s"`, `"9999999h"`, `"0s"`, `"1ns"`, `"µs"`,
	`"1.0"`, `"1e5"`, `"٣"`, `"auto"`, `"-1"`, `"16MiB"`, `"1YiB"`, `"0B"`, `"99999999999GiB"`,
	`"../../etc/passwd"`, `"file:///etc/passwd"`, `"file:///%00"`, `"s3://"`, `"http://169.254.169.254/"`, `"//"`, `"\\"`, `"a/b"`, `"."`, `".."`, `"%2e%2e"`,
}

// hostileNames replace names of members.
var hostileNames = []string{
	`""`, `" "`, `"KIND"`, `"Kind"`, `"k\u0069nd"`, `"kind "`, `"__proto__"`, `"\ud800"`, "\"\xff\"", `"\u0000"`, `"/"`, `"~"`, `"a~1b"`, `"0"`, `"-1"`, "kind", `"ünknown"`,
}

// mutate changes a value in one to three places.
func (g *generator) mutate(v *value) *value {
	v = v.clone()
	for range 1 + g.IntN(3) {
		g.mutateOnce(v)
	}
	return v
}

func (g *generator) mutateOnce(v *value) {
	all := v.all()
	at := pick(g.Rand, all)
	object := at
	for range 8 { // most member mutations need an object
		if object.open == '{' && len(object.sub) > 0 {
			break
		}
		object = pick(g.Rand, all)
	}
	members := object.open == '{' && len(object.sub) > 0
	switch n := g.IntN(14); {
	case n < 5:
		*at = *token(pick(g.Rand, hostileTokens))
	case n == 5 && members:
		i := g.IntN(len(object.sub))
		object.sub = append(object.sub[:i:i], object.sub[i+1:]...)
		object.names = append(object.names[:i:i], object.names[i+1:]...)
	case n == 6 && members:
		i := g.IntN(len(object.sub))
		object.sub, object.names = append(object.sub, object.sub[i].clone()), append(object.names, object.names[i])
	case n == 7 && members:
		object.names[g.IntN(len(object.names))] = pick(g.Rand, hostileNames)
	case n == 8 && members:
		object.names, object.sub = append(object.names, pick(g.Rand, hostileNames)), append(object.sub, token(pick(g.Rand, hostileTokens)))
	case n == 9:
		*at = value{open: '[', sub: []*value{at.clone()}}
	case n == 10:
		*at = *pick(g.Rand, all).clone()
	case n == 11 && members:
		i, j := g.IntN(len(object.sub)), g.IntN(len(object.sub))
		object.sub[i], object.sub[j] = object.sub[j], object.sub[i]
	case n == 12 && at.open == '[' && len(at.sub) > 0:
		for range g.IntN(40) {
			at.sub = append(at.sub, pick(g.Rand, at.sub).clone())
		}
	default:
		*at = *token(g.long(2000))
	}
}

// long returns one long token of about n bytes: a text, an integer, a fraction, an array, an object, or deep nesting.
func (g *generator) long(n int) string {
	repeat := func(s string) string { return strings.Repeat(s, n/len(s)+1) }
	list := func(element string) string { return strings.TrimSuffix(repeat(element+","), ",") }
	switch g.IntN(12) {
	case 0:
		return `"` + repeat("x") + `"`
	case 1:
		return `"` + repeat(`\u00e9`) + `"`
	case 2:
		return "1" + repeat("0")
	case 3:
		return `"-` + repeat("9") + `"`
	case 4:
		return "0." + repeat("3")
	case 5:
		return "[" + list("1") + "]"
	case 6:
		return "[" + list(pick(g.Rand, hostileTokens)) + "]"
	case 7, 8:
		var b strings.Builder
		b.WriteByte('{')
		for i := 0; b.Len() < n; i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"` + strconv.Itoa(i) + `":1`)
		}
		return b.String() + "}"
	case 9:
		return strings.Repeat("[", n/2) + strings.Repeat("]", n/2)
	case 10:
		return strings.Repeat(`{"a":`, n/6) + "1" + strings.Repeat("}", n/6)
	default:
		return "[" + list("[]") + "]"
	}
}

// enlarge returns a body of up to size bytes with one huge member, or huge as a whole.
func (g *generator) enlarge(v *value, size int) []byte {
	v = v.clone()
	huge := token(g.long(size))
	switch places := v.all(); {
	case v.open == '{' && one(g.Rand, 3): // members of the whole
		if inner, ok := strings.CutPrefix(huge.token, "{"); ok {
			return append(v.append(nil)[:len(v.append(nil))-1], ","+inner...)
		}
		v.set("x", huge)
	default:
		*pick(g.Rand, places) = *huge
	}
	return v.append(nil)
}

// corrupt corrupts the text of a body: truncation, changed bytes, other encodings, prefixes and suffixes.
func (g *generator) corrupt(b []byte) []byte {
	b = bytes.Clone(b)
	at := 0
	if len(b) > 0 {
		at = g.IntN(len(b))
	}
	switch g.IntN(12) {
	case 0:
		return b[:at]
	case 1:
		if len(b) > 0 {
			b[at] = byte(g.Uint32())
		}
		return b
	case 2:
		return bytes.Join([][]byte{b[:at], {byte(g.Uint32())}, b[at:]}, nil)
	case 3:
		return append(b, pick(g.Rand, []string{"x", "{}", "\x00", ",", "]", "}", " 1"})...)
	case 4:
		return append([]byte("\ufeff"), b...)
	case 5:
		var wide []byte
		for _, unit := range utf16.Encode([]rune(string(b))) {
			wide = binary.LittleEndian.AppendUint16(wide, unit)
		}
		return wide
	case 6:
		return bytes.ReplaceAll(b, []byte(","), []byte(" ,\n\t"))
	case 7:
		return bytes.ReplaceAll(b, []byte("}"), []byte(",}"))
	case 8:
		return append([]byte("// comment\n"), b...)
	case 9:
		return bytes.ReplaceAll(b, []byte(`"`), []byte("'"))
	case 10:
		return nil
	default:
		return bytes.ReplaceAll(b, []byte(":"), []byte("\u00a0:"))
	}
}
