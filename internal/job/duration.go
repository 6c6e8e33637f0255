package job

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrDuration is returned for a value of a submission that is not a duration.
var ErrDuration = errors.New(`must be a duration such as "250ms" or "1m30s", or a number of seconds`)

// maxDurationText is the most bytes of a duration's text. The longest text with each unit once has about 200.
const maxDurationText = 1000

// ParseDuration reads the text of a duration in a submission: the form of time.ParseDuration without a sign, but for a
// plus before a number with a unit. It returns ErrDuration, also for a text of more than 1000 bytes, or an error for a
// duration that is negative or above most.
func ParseDuration(text string, most time.Duration) (time.Duration, error) {
	if len(text) > maxDurationText {
		return 0, ErrDuration
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || text == "+0":
		return 0, ErrDuration
	case strings.HasPrefix(text, "-"):
		return 0, errNegative
	}
	return bounded(d, most)
}

// ParseSeconds reads the JSON number of a duration in seconds, rounded to nanoseconds. It returns an error for a duration
// that is negative or above most.
func ParseSeconds(number string, most time.Duration) (time.Duration, error) {
	s, err := strconv.ParseFloat(number, 64)
	switch {
	case s < 0:
		return 0, errNegative
	case err != nil || s > most.Seconds():
		return 0, errAbove(most)
	}
	return bounded(time.Duration(math.Round(s*1e9)), most)
}

var errNegative = errors.New("must not be negative")

func errAbove(most time.Duration) error { return fmt.Errorf("must be at most %s", most) }

func bounded(d, most time.Duration) (time.Duration, error) {
	if d > most {
		return 0, errAbove(most)
	}
	return d, nil
}
