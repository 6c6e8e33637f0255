package kind

import (
	"time"

	"gather/internal/outbound"
)

// Expand expands a URI template.
func Expand(template string, value func(name string) string) (string, error) {
	t, err := parseTemplate(template)
	if err != nil {
		return "", err
	}
	return t.expand(value), nil
}

// ParseURL is parseURL.
func ParseURL(text string) (string, error) {
	u, err := outbound.ParseURL(text)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// DecodeCheckpoint is decodeCheckpoint.
func DecodeCheckpoint(b []byte, n int64, started time.Time) ([]outbound.Retry, error) {
	return decodeCheckpoint(b, n, started)
}
