package chunked

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON values off a byte slice without building anything, which is what millions of inline numbers need.
// Its methods return false at the first byte that is not what was asked for.
type scanner struct {
	data []byte
	pos  int
}

// peek is the next byte that is not space, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) eat(c byte) bool {
	if s.peek() != c || s.pos == len(s.data) {
		return false
	}
	s.pos++
	return true
}

// more is called after an element of a list or object: true after a comma, false after the closing byte.
func (s *scanner) more(closing byte) (more, ok bool) {
	if s.eat(',') {
		return true, true
	}
	return false, s.eat(closing)
}

// number reads a JSON number; integer says that it has neither fraction nor exponent.
func (s *scanner) number() (text []byte, integer, ok bool) {
	s.peek()
	start, i, data := s.pos, s.pos, s.data
	digits := func() bool {
		from := i
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if i < len(data) && data[i] == '-' {
		i++
	}
	first := i
	if !digits() || data[first] == '0' && i > first+1 {
		return nil, false, false
	}
	integer = true
	if i < len(data) && data[i] == '.' {
		i++
		if integer = false; !digits() {
			return nil, false, false
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if integer = false; !digits() {
			return nil, false, false
		}
	}
	s.pos = i
	return data[start:i], integer, true
}

func (s *scanner) word(w string) bool {
	s.peek()
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return false
	}
	s.pos += len(w)
	return true
}

// text reads a JSON string of valid UTF-8.
func (s *scanner) text() (string, bool) {
	start := s.pos
	if !s.skipString() {
		return "", false
	}
	raw := bytes.TrimLeft(s.data[start:s.pos], " \t\r\n")
	return unquote(raw[1 : len(raw)-1])
}

// unquote is the text of a JSON string without its quotes.
func unquote(body []byte) (string, bool) {
	if !utf8.Valid(body) {
		return "", false
	}
	text := make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		c := body[i]
		if c < 0x20 {
			return "", false
		}
		if c != '\\' {
			text = append(text, c)
			continue
		}
		i++ // there is one: an escape cannot be cut by the closing quote
		if at := strings.IndexByte(`"\/bfnrt`, body[i]); at >= 0 {
			text = append(text, "\"\\/\b\f\n\r\t"[at])
			continue
		}
		r, ok := hexRune(body[i:])
		if !ok {
			return "", false
		}
		i += 4
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if len(body) > i+1 && body[i+1] == '\\' {
				low, ok = hexRune(body[i+2:])
			}
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return "", false
			}
			i += 6
		}
		text = utf8.AppendRune(text, r)
	}
	return string(text), true
}

// hexRune reads uXXXX.
func hexRune(b []byte) (rune, bool) {
	if len(b) < 5 || b[0] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[1:5]), 16, 16)
	return rune(v), err == nil
}

func (s *scanner) skipString() bool {
	if !s.eat('"') {
		return false
	}
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case '"':
			s.pos++
			return true
		case '\\':
			s.pos++
		}
		s.pos++
	}
	s.pos = len(s.data)
	return false
}

// raw returns the next value unread. Only its brackets and strings are looked at: whoever reads it checks the rest.
func (s *scanner) raw() ([]byte, bool) {
	c := s.peek()
	start, depth := s.pos, 0
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case '"':
			if !s.skipString() {
				return nil, false
			}
			if depth == 0 {
				return s.data[start:s.pos], c == '"'
			}
			continue
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth < 0 { // the end of what a bare value is in
				return s.data[start:s.pos], s.pos > start
			}
			if depth == 0 {
				s.pos++
				return s.data[start:s.pos], c == '[' || c == '{'
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return s.data[start:s.pos], s.pos > start
			}
		}
		s.pos++
	}
	return s.data[start:s.pos], depth == 0 && s.pos > start
}
