package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Settings store their parse errors instead of reporting them while the command line is parsed, so that validate can
// list all errors.

// count is a setting with a whole number.
type count struct {
	n   int64
	err error
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *count) UnmarshalText(text []byte) error {
	c.n, c.err = strconv.ParseInt(string(text), 10, 64)
	if c.err != nil {
		c.err = fmt.Errorf("%q is not a whole number", text)
	}
	return nil
}

func (c *count) check(least, most int64) error {
	if c.err != nil {
		return c.err
	}
	if c.n < least || c.n > most {
		return fmt.Errorf("%d is not from %d to %d", c.n, least, most)
	}
	return nil
}

// duration is a setting with a duration.
type duration struct {
	d   time.Duration
	err error
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	d.d, d.err = time.ParseDuration(string(text))
	if d.err != nil {
		d.err = fmt.Errorf("%q is not a duration such as 30s or 24h", text)
	}
	return nil
}

func (d *duration) check(least time.Duration) error {
	if d.err != nil {
		return d.err
	}
	if d.d < least {
		return fmt.Errorf("%s is less than %s", d.d, least)
	}
	return nil
}

// size is a setting with a number of bytes.
type size struct {
	n   int64
	err error
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	n, ok := parseSize(string(text))
	s.n, s.err = n, nil
	if !ok {
		s.err = fmt.Errorf("%q is not a size such as 512MiB or 2GB", text)
	}
	return nil
}

func parseSize(text string) (int64, bool) {
	for _, u := range sizeUnits {
		if digits, ok := strings.CutSuffix(text, u.suffix); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 62)
			return int64(n) * u.bytes, err == nil && n <= (1<<62)/uint64(u.bytes)
		}
	}
	return 0, false
}

func (s *size) check(least int64) error {
	if s.err != nil {
		return s.err
	}
	if s.n < least {
		return fmt.Errorf("%d bytes are less than %d", s.n, least)
	}
	return nil
}

// checkOrZero is check, but allows 0, which selects a default.
func (s *size) checkOrZero(least int64) error {
	if s.err == nil && s.n == 0 {
		return nil
	}
	return s.check(least)
}

// logLevel is a setting with a level of slog.
type logLevel struct {
	level slog.Level
	err   error
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *logLevel) UnmarshalText(text []byte) error {
	if err := l.level.UnmarshalText(text); err != nil {
		l.err = errors.New("must be debug, info, warn or error")
	}
	return nil
}

// logFormat is a setting with json, text or auto.
type logFormat struct {
	text string
	err  error
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *logFormat) UnmarshalText(text []byte) error {
	l.text = string(text)
	if l.text != "json" && l.text != "text" && l.text != "auto" {
		l.err = errors.New("must be json, text or auto")
	}
	return nil
}
