package npy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ParseHeader reads exactly the header from r, so that the next byte of r is the first of the data. The error wraps
// [ErrFormat] if the header is not accepted or r ends within it; other errors are from r.
func ParseHeader(r io.Reader) (Header, error) {
	var fixed [12]byte
	if err := readFull(r, fixed[:8]); err != nil {
		return Header{}, err
	}
	if string(fixed[:6]) != magic {
		return Header{}, fmt.Errorf("%w: it does not start with the magic \\x93NUMPY; save the array with numpy.save", ErrFormat)
	}
	var lenBytes int
	switch v := [2]byte(fixed[6:8]); v {
	case [2]byte{1, 0}:
		lenBytes = 2
	case [2]byte{2, 0}, [2]byte{3, 0}:
		lenBytes = 4
	default:
		return Header{}, fmt.Errorf("%w: format version %d.%d; 1.0, 2.0 and 3.0 are read", ErrFormat, v[0], v[1])
	}
	if err := readFull(r, fixed[8:8+lenBytes]); err != nil {
		return Header{}, err
	}
	size := binary.LittleEndian.Uint32(fixed[8:12]) // two bytes are still zero in version 1.0
	if size > MaxHeader {
		return Header{}, fmt.Errorf("%w: a header of %d bytes; at most %d are read", ErrFormat, size, MaxHeader)
	}
	text := make([]byte, size)
	if err := readFull(r, text); err != nil {
		return Header{}, err
	}
	h, err := parseDict(string(text))
	if err != nil {
		return Header{}, err
	}
	h.Offset = int64(8+lenBytes) + int64(size)
	if err := h.check(); err != nil {
		return Header{}, err
	}
	return h, nil
}

func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within its header", ErrFormat)
	}
	if err != nil {
		return fmt.Errorf("npy: read header: %w", err)
	}
	return nil
}

// dict scans the Python literal of a header. Its methods return false if the text does not match.
type dict struct {
	text string
	pos  int
}

// parseDict parses "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }": each key exactly once, in any order.
func parseDict(text string) (Header, error) {
	d := dict{text: text}
	var h Header
	seen := map[string]bool{}
	if !d.eat('{') {
		return h, d.errorAt("expected '{'")
	}
	for !d.eat('}') {
		key, ok := d.quoted()
		if !ok || !d.eat(':') {
			return h, d.errorAt("expected a quoted key and ':'")
		}
		if seen[key] {
			return h, fmt.Errorf("%w: its header has %q twice", ErrFormat, key)
		}
		seen[key] = true
		if err := d.value(key, &h); err != nil {
			return h, err
		}
		if !d.eat(',') && d.peek() != '}' {
			return h, d.errorAt("expected ',' or '}'")
		}
	}
	if d.peek() != 0 || d.pos != len(d.text) {
		return h, d.errorAt("text after '}'")
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return h, fmt.Errorf("%w: its header lacks %q", ErrFormat, key)
		}
	}
	return h, nil
}

func (d *dict) value(key string, h *Header) error {
	switch key {
	case "descr":
		if d.peek() == '[' {
			return fmt.Errorf("%w: a structured dtype; save one plain field of it", ErrFormat)
		}
		s, ok := d.quoted()
		if !ok {
			return d.errorAt("expected a quoted dtype")
		}
		return parseDescr(s, h)
	case "fortran_order":
		switch {
		case d.word("True"):
			h.Fortran = true
		case !d.word("False"):
			return d.errorAt("expected True or False")
		}
		return nil
	case "shape":
		return d.shape(h)
	}
	return fmt.Errorf("%w: its header has an unknown key %q", ErrFormat, key)
}

func (d *dict) shape(h *Header) error {
	if !d.eat('(') {
		return d.errorAt("expected '('")
	}
	for !d.eat(')') {
		start := d.skipSpace()
		for d.pos < len(d.text) && d.text[d.pos] >= '0' && d.text[d.pos] <= '9' {
			d.pos++
		}
		n, err := strconv.ParseInt(d.text[start:d.pos], 10, 64)
		if err != nil {
			return d.errorAt("expected a length below 2^63")
		}
		if len(h.Shape) == MaxDims {
			return fmt.Errorf("%w: more than %d dimensions", ErrFormat, MaxDims)
		}
		h.Shape = append(h.Shape, n)
		if d.pos < len(d.text) && d.text[d.pos] == 'L' { // a Python 2 long
			d.pos++
		}
		comma := d.eat(',')
		if !comma && (d.peek() != ')' || len(h.Shape) == 1) { // (3) is a number, not a tuple
			return d.errorAt("expected ','")
		}
	}
	return nil
}

// parseDescr parses a dtype such as "<f8" into h.
func parseDescr(s string, h *Header) error {
	t := Type{}
	if len(s) == 3 {
		t = Type{Kind: s[1], Size: int(s[2]) - '0'}
	}
	if !t.valid() || !strings.ContainsRune("<>|", rune(s[0])) || s[0] == '|' && t.Size != 1 {
		return fmt.Errorf("%w: dtype %q; convert with a.astype to bool, int8-64, uint8-64 or float16-64", ErrFormat, s)
	}
	h.Type = t
	h.BigEndian = s[0] == '>' && t.Size > 1
	return nil
}

func (d *dict) skipSpace() int {
	for d.pos < len(d.text) && strings.IndexByte(" \t\r\n", d.text[d.pos]) >= 0 {
		d.pos++
	}
	return d.pos
}

// peek returns the next byte that is not space, or 0 at the end.
func (d *dict) peek() byte {
	if d.skipSpace() == len(d.text) {
		return 0
	}
	return d.text[d.pos]
}

func (d *dict) eat(c byte) bool {
	if d.skipSpace() == len(d.text) || d.text[d.pos] != c {
		return false
	}
	d.pos++
	return true
}

func (d *dict) word(w string) bool {
	d.skipSpace()
	if !strings.HasPrefix(d.text[d.pos:], w) {
		return false
	}
	d.pos += len(w)
	return true
}

// quoted parses a Python string without escapes; no accepted key or dtype needs one.
func (d *dict) quoted() (string, bool) {
	q := d.peek()
	if q != '\'' && q != '"' {
		return "", false
	}
	rest := d.text[d.pos+1:]
	end := strings.IndexByte(rest, q)
	if end < 0 || strings.IndexByte(rest[:end], '\\') >= 0 {
		return "", false
	}
	d.pos += end + 2
	return rest[:end], true
}

func (d *dict) errorAt(what string) error {
	return fmt.Errorf("%w: %s at byte %d of its header", ErrFormat, what, d.pos)
}
