package chunked_test

import (
	"strings"
	"testing"

	"gather/internal/chunked"
	"gather/internal/npy"
)

// An array may have as many dimensions as a stored one, for all sources.
func TestDimensions(t *testing.T) {
	list := func(n int, one string) string {
		return "[" + strings.Join(strings.Split(strings.Repeat(one, n), ""), ",") + "]"
	}
	for _, n := range []int{64, 65} {
		file := chunked.Stored{Header: npy.Header{Type: npy.Type{Kind: 'f', Size: 8}}, Reader: strings.NewReader(strings.Repeat("\x00", 8))}
		for range n {
			file.Header.Shape = append(file.Header.Shape, 1)
		}
		options := chunked.Options{
			Limits: chunked.DefaultLimits(), Open: func(chunked.Ref) (chunked.Stored, error) { return file, nil },
		}
		for name, text := range map[string]string{
			"shape":  `{"source":"ones","shape":` + list(n, "1") + `}`,
			"values": `{"values":` + strings.Repeat("[", n) + "1" + strings.Repeat("]", n) + `}`,
			"npy":    `{"source":"npy","name":"x"}`,
		} {
			a, errs := parseArray([]byte(text), options)
			if ok := a != nil && len(errs) == 0; ok != (n == 64) {
				t.Errorf("%s of %d dimensions: got %v", name, n, errs)
			}
			if n == 65 && (len(errs) == 0 || !strings.Contains(errs[0].Detail, "limit is 64 dimensions")) {
				t.Errorf("%s of %d dimensions: got %v, want the limit", name, n, errs)
			}
		}
	}
}
