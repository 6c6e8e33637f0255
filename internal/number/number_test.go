package number_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"gather/internal/number"
)

// The texts are from Python's repr and float.hex, without the zeros that C's %a omits.
func TestAppendFloat(t *testing.T) {
	for _, tt := range []struct {
		v         float64
		text, hex string
	}{
		{0, `0.0`, `"0x0p+00"`},
		{math.Copysign(0, -1), `-0.0`, `"-0x0p+00"`},
		{1, `1.0`, `"0x1p+00"`},
		{-2.5, `-2.5`, `"-0x1.4p+01"`},
		{0.1, `0.1`, `"0x1.999999999999ap-04"`},
		{1e-4, `0.0001`, `"0x1.a36e2eb1c432dp-14"`},
		{9.999e-5, `9.999e-05`, `"0x1.a36371ea531a8p-14"`},
		{1e16, `1e+16`, `"0x1.1c37937e08p+53"`},
		{9007199254740993, `9007199254740992.0`, `"0x1p+53"`},
		{math.MaxFloat64, `1.7976931348623157e+308`, `"0x1.fffffffffffffp+1023"`},
		{math.SmallestNonzeroFloat64, `5e-324`, `"0x1p-1074"`},
		{math.NaN(), `"NaN"`, `"NaN"`},
		{math.Inf(1), `"Infinity"`, `"Infinity"`},
		{math.Inf(-1), `"-Infinity"`, `"-Infinity"`},
	} {
		if got := string(number.AppendFloat([]byte("x"), tt.v)); got != "x"+tt.text {
			t.Errorf("AppendFloat(%v) = %s, want x%s", tt.v, got, tt.text)
		}
		if got := string(number.AppendHex([]byte("x"), tt.v)); got != "x"+tt.hex {
			t.Errorf("AppendHex(%v) = %s, want x%s", tt.v, got, tt.hex)
		}
	}
}

// For all bits, both texts are JSON and parse to the same value.
func FuzzAppendFloat(f *testing.F) {
	for _, v := range []float64{0, math.Copysign(0, -1), 1, 1e16, math.MaxFloat64, 5e-324, math.NaN(), math.Inf(1), math.Inf(-1)} {
		f.Add(math.Float64bits(v))
	}
	f.Fuzz(func(t *testing.T, bits uint64) {
		v := math.Float64frombits(bits)
		for _, text := range [][]byte{number.AppendFloat(nil, v), number.AppendHex(nil, v)} {
			var decoded any
			if err := json.Unmarshal(text, &decoded); err != nil {
				t.Fatalf("%x is %s: %v", bits, text, err)
			}
			back, special := number.Special(text)
			switch d := decoded.(type) {
			case float64:
				back = d
			case string:
				if !special {
					back, _ = strconv.ParseFloat(d, 64)
				}
			}
			if math.Float64bits(back) != bits && !(math.IsNaN(back) && math.IsNaN(v)) {
				t.Errorf("%x is %s, which reads back as %v", bits, text, back)
			}
		}
	})
}

// A value with its integers quoted is otherwise the same JSON.
func FuzzAppendQuoted(f *testing.F) {
	for _, seed := range []string{`1`, `-10`, `1.5`, `1e3`, `"1"`, `[1,[2.0,"a\"3"],{"4":5}]`, `null`, `true`, `""`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		if !json.Valid(v) {
			return
		}
		got := number.AppendQuoted(nil, v)
		if !json.Valid(got) {
			t.Fatalf("%s -> %s", v, got)
		}
		if again := number.AppendQuoted(nil, got); !bytes.Equal(again, got) {
			t.Fatalf("%s -> %s -> %s", v, got, again)
		}
	})
}
