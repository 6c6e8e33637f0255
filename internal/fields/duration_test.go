package fields_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"gather/internal/fields"
)

// TestDuration tests the durations of submissions against the pattern, the length and the minimum in openapi.yaml.
func TestDuration(t *testing.T) {
	const most = time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "1.5s": 1500 * time.Millisecond, "250ms": 250 * time.Millisecond, "59m60s": time.Hour, "+5s": 5 * time.Second,
		"5.s": 5 * time.Second, ".5s": time.Second / 2, "1\u00b5s": time.Microsecond, "1\u03bcs": time.Microsecond, "3ns": 3,
		"-0": -1, "-0s": -1, "+0": -1, "-5s": -1, "": -1, "5": -1, "s": -1, ".s": -1, "1h1ns": -1, "5 s": -1, "1d": -1, "1S": -1, "0x1s": -1,
		strings.Repeat("0s", 500): 0, strings.Repeat("0s", 500) + "0s": -1, // maxLength
		"++5s": -1, "-+5s": -1, "9999999999h": -1,
	} {
		got, err := fields.ParseDuration([]byte(strconv.Quote(text)), most)
		if (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("text %q: %v, %v; want %v", text, got, err, want)
		}
		if text == "-0" && !errors.Is(err, fields.ErrDuration) {
			t.Errorf("text %q: got %v, want %v", text, err, fields.ErrDuration)
		}
	}
	for number, want := range map[string]time.Duration{
		"0": 0, "-0": 0, "-0.0": 0, "1.5": 1500 * time.Millisecond, "36e2": time.Hour, "0.0000000014": 1, "0.0000000016": 2,
		"-1": -1, "-1e-300": -1, "-1e999": -1, "3600.000001": -1, "1e999": -1,
	} {
		got, err := fields.ParseDuration([]byte(number), most)
		if (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("number %s: %v, %v; want %v", number, got, err, want)
		}
	}
}
