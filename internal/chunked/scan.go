package chunked

import (
	"bytes"
	"encoding/json"
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
	if body := raw[1 : len(raw)-1]; bytes.IndexByte(body, '\\') < 0 && printable(body) {
		return string(body), true
	}
	var v string
	if !utf8.Valid(raw) || json.Unmarshal(raw, &v) != nil {
		return "", false
	}
	return v, true
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
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
