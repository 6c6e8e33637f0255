package fields

import (
	"bytes"
	"iter"
)

// Elements iterates over the elements of a JSON array with their indices. The elements refer to raw.
func Elements(raw []byte) iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		i := int64(0)
		for at, end := range Spans(raw) {
			if !yield(i, raw[at:end:end]) {
				return
			}
			i++
		}
	}
}

// Spans iterates over the elements of a JSON array, as offsets of the first byte and the end.
func Spans(raw []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		at := skipSpace(raw, 0)
		if at == len(raw) || raw[at] != '[' {
			return
		}
		for first := true; ; first = false {
			at = skipSpace(raw, at+1) // after '[' or ','
			if at >= len(raw) || first && raw[at] == ']' {
				return
			}
			end := skipValue(raw, at)
			if !yield(at, end) {
				return
			}
			if at = skipSpace(raw, end); at >= len(raw) || raw[at] != ',' {
				return
			}
		}
	}
}

// members iterates over the quoted names and the values of a JSON object.
func members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		at := skipSpace(raw, 0)
		if at == len(raw) || raw[at] != '{' {
			return
		}
		for first := true; ; first = false {
			at = skipSpace(raw, at+1) // after '{' or ','
			if at >= len(raw) || first && raw[at] == '}' {
				return
			}
			end := skipValue(raw, at)
			name := raw[at:end]
			at = skipSpace(raw, skipSpace(raw, end)+1) // after ':'
			end = skipValue(raw, at)
			if !yield(name, raw[min(at, end):end:end]) {
				return
			}
			if at = skipSpace(raw, end); at >= len(raw) || raw[at] != ',' {
				return
			}
		}
	}
}

// skipSpace returns the offset of the first byte from at that is not white space.
func skipSpace(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\n' || raw[at] == '\t' || raw[at] == '\r') {
		at++
	}
	return at
}

// Width returns the length of the JSON value at the beginning of raw.
func Width(raw []byte) int { return skipValue(raw, 0) }

// skipValue returns the end of the value that begins at an offset.
func skipValue(raw []byte, at int) int {
	if at >= len(raw) {
		return len(raw)
	}
	switch raw[at] {
	case '"':
		return skipString(raw, at)
	case '[', '{':
		depth := 0
		for at < len(raw) {
			switch raw[at] {
			case '"':
				at = skipString(raw, at)
				continue
			case '[', '{':
				depth++
			case ']', '}':
				if depth--; depth == 0 {
					return at + 1
				}
			}
			at++
		}
		return len(raw)
	}
	start := at
	for at < len(raw) && raw[at] != ',' && raw[at] != ']' && raw[at] != '}' && raw[at] != ':' && raw[at] > ' ' {
		at++
	}
	return max(at, min(start+1, len(raw))) // invalid JSON
}

// skipString returns the end of the string that begins at an offset.
func skipString(raw []byte, at int) int {
	for at++; at < len(raw); {
		n := bytes.IndexByte(raw[at:], '"')
		if n < 0 {
			return len(raw)
		}
		escapes := 0
		for i := at + n - 1; i >= at && raw[i] == '\\'; i-- {
			escapes++
		}
		if at += n + 1; escapes%2 == 0 {
			return at
		}
	}
	return len(raw)
}
