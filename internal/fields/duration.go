package fields

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrDuration is wrapped by errors for values that are not a duration.
var ErrDuration = errors.New(`must be a duration such as "250ms" or "1m30s", or a number of seconds`)

// maxDurationText is the maximum length of a duration's text, in bytes. The longest text with each unit once has about
// 200.
const maxDurationText = 1000

// ParseDuration parses a duration from JSON: a string in the form of time.ParseDuration without a sign (a plus before a
// number with a unit is allowed), or a number of seconds, which is rounded to nanoseconds. It returns ErrDuration for
// anything else and for a text of more than 1000 bytes, and an error for a duration that is negative or above most.
func ParseDuration(v jsontext.Value, most time.Duration) (time.Duration, error) {
	var d time.Duration
	var err error
	switch v.Kind() {
	case '"':
		d, err = parseText(Text(v))
	case '0':
		d, err = parseSeconds(string(v), most)
	default:
		err = ErrDuration
	}
	switch {
	case err != nil:
		return 0, err
	case d > most:
		return 0, errAbove(most)
	}
	return d, nil
}

func parseText(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case len(text) > maxDurationText || err != nil || text == "+0" || d == 0 && text[0] == '-':
		return 0, fmt.Errorf("%w; got %q", ErrDuration, short(text))
	case strings.HasPrefix(text, "-"):
		return 0, errNegative
	}
	return d, nil
}

func parseSeconds(number string, most time.Duration) (time.Duration, error) {
	s, err := strconv.ParseFloat(number, 64)
	switch {
	case s < 0:
		return 0, errNegative
	case err != nil || s > most.Seconds():
		return 0, errAbove(most)
	}
	return time.Duration(math.Round(s * 1e9)), nil
}

// short shortens a text for an error.
func short(s string) string {
	if len(s) > 40 {
		s = s[:37] + "..."
	}
	return s
}

var errNegative = errors.New("must not be negative")

func errAbove(most time.Duration) error { return fmt.Errorf("must be at most %s", most) }
