package exactsum_test

import (
	"bytes"
	"encoding"
	"errors"
	"testing"

	"gather/internal/exactsum"
)

var (
	_ encoding.BinaryAppender    = (*exactsum.Accumulator)(nil)
	_ encoding.BinaryMarshaler   = (*exactsum.Accumulator)(nil)
	_ encoding.BinaryUnmarshaler = (*exactsum.Accumulator)(nil)
)

func TestEncoding(t *testing.T) {
	for name, c := range map[string]struct {
		x    []float64
		size int
	}{
		"empty":            {nil, 3},
		"negative zero":    {[]float64{minZero}, 3},
		"zero":             {[]float64{0}, 3},
		"infinity":         {[]float64{inf, 1}, 3},
		"minus infinity":   {[]float64{-inf}, 3},
		"nan":              {[]float64{nan}, 3},
		"one":              {[]float64{1}, 11},
		"minus one":        {[]float64{-1}, 11},
		"a third":          {[]float64{1. / 3}, 19},
		"ordinary":         {[]float64{0.1, 1e6, -3e-7}, 27},
		"smallest":         {[]float64{tiny}, 11},
		"minus smallest":   {[]float64{-tiny}, 11},
		"fills its word":   {[]float64{0x1p-1011}, 19},
		"fills it, signed": {[]float64{-0x1p-1011}, 11},
		"whole range":      {[]float64{largest, tiny}, 3 + 8*33},
		"and negative":     {[]float64{-largest, tiny}, 3 + 8*33},
	} {
		t.Run(name, func(t *testing.T) {
			a := scalar(c.x)
			data, err := a.AppendBinary([]byte("before"))
			if err != nil || !bytes.HasPrefix(data, []byte("before")) {
				t.Fatalf("AppendBinary: %q, %v", data, err)
			}
			data = data[len("before"):]
			if len(data) != c.size {
				t.Errorf("%d bytes, want %d: %x", len(data), c.size, data)
			}
			b := *scalar([]float64{42, -1e-300})
			if err := b.UnmarshalBinary(data); err != nil || b != *a {
				t.Fatalf("UnmarshalBinary: %v\n%v\n%v", err, b, *a)
			}
		})
	}
}

func TestDecodeRejects(t *testing.T) {
	word := func(b byte) []byte { return bytes.Repeat([]byte{b}, 8) }
	cat := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	for name, data := range map[string][]byte{
		"nothing":               {},
		"short header":          {0x12, 0},
		"no version":            {0x02, 0, 0},
		"next version":          {0x22, 0, 0},
		"unknown class":         {0x16, 0, 0},
		"trailing byte":         {0x12, 0, 0, 0},
		"short word":            cat([]byte{0x12, 0, 1}, make([]byte, 7)),
		"empty with words":      cat([]byte{0x10, 0, 1}, word(1)),
		"infinite with words":   cat([]byte{0x13, 0, 1}, word(1)),
		"zero with an index":    {0x12, 1, 0},
		"beyond the last word":  cat([]byte{0x12, 34, 1}, word(1)),
		"across the last word":  cat([]byte{0x12, 33, 2}, word(1), word(1)),
		"zero word below":       cat([]byte{0x12, 3, 2}, word(0), word(1)),
		"zero word above":       cat([]byte{0x12, 3, 2}, word(1), word(0)),
		"redundant sign above":  cat([]byte{0x12, 3, 2}, word(0xfe), word(0xff)),
		"zero as a word":        cat([]byte{0x12, 3, 1}, word(0)),
		"index near the limit":  cat([]byte{0x12, 255, 255}, word(1)),
		"count without a start": {0x12, 0, 255},
	} {
		t.Run(name, func(t *testing.T) {
			a := *scalar([]float64{1, 2})
			before := a
			if err := a.UnmarshalBinary(data); !errors.Is(err, exactsum.ErrEncoding) {
				t.Fatalf("error is %v", err)
			}
			if a != before {
				t.Fatal("a failed decode changed the accumulator")
			}
		})
	}
}

// FuzzDecode tests that every accepted encoding is canonical and that its sum is usable.
func FuzzDecode(f *testing.F) {
	for _, x := range [][]float64{nil, {1}, {-1}, {largest, tiny}, {inf}, {nan}, {minZero}, {1e300, -1e-300}} {
		data, _ := scalar(x).MarshalBinary()
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a exactsum.Accumulator
		if err := a.UnmarshalBinary(data); err != nil {
			if !errors.Is(err, exactsum.ErrEncoding) || a != (exactsum.Accumulator{}) {
				t.Fatalf("%v, %v", err, a)
			}
			return
		}
		if again, _ := a.AppendBinary(nil); !bytes.Equal(again, data) {
			t.Fatalf("%x decodes, but is encoded %x", data, again)
		}
		a.Float64()
		a.Float32()
		a.Float16()
		a.Int()
		b := a
		a.Merge(&b)
		a.AddFloat64(-1)
	})
}
