package number_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"gather/internal/number"
)

func TestInteger(t *testing.T) {
	for literal, want := range map[string]string{
		"0": "0", "-0": "-0", "7": "7", "-12": "-12", "2.0": "2", "-2.0": "-2", "0.0": "0", "-0.0": "0", "1e3": "1000", "1E+3": "1000", "-1.5e1": "-15",
		"120e-1": "12", "100.00e-2": "1", "0.002e3": "2", "0e999999999999999999999": "0", "0.00e-5": "0", "1e399": "1" + strings.Repeat("0", 399),
		"2.5": "", "1e-1": "", "-0.5": "", "1e400": "", "1e999999999999999999999": "", "1e-999999999999999999999": "", "12.5e0": "",
		strings.Repeat("9", 1000): strings.Repeat("9", 1000),
	} {
		got, ok := number.Integer([]byte(literal))
		if string(got) != want || ok != (want != "") {
			t.Errorf("Integer(%.40s) = %.40s, %v, want %.40s", literal, got, ok, want)
		}
	}
}

// FuzzInteger compares Integer with arbitrary-precision arithmetic.
func FuzzInteger(f *testing.F) {
	for _, literal := range []string{"1.50e1", "-0.0", "123.4500e-1", "9e99"} {
		f.Add(literal)
	}
	f.Fuzz(func(t *testing.T, literal string) {
		if len(literal) > 50 || !json.Valid([]byte(literal)) || strings.Trim(literal, "0123456789.eE+-") != "" {
			return
		}
		if _, after, ok := strings.Cut(strings.ToLower(literal), "e"); ok && len(after) > 2 {
			return
		}
		want, ok := new(big.Rat).SetString(literal)
		if !ok {
			t.Fatal(literal)
		}
		got, whole := number.Integer([]byte(literal))
		switch {
		case whole != want.IsInt():
			t.Errorf("Integer(%s) is %v, want %v", literal, whole, want.IsInt())
		case whole && want.Cmp(rat(string(got))) != 0:
			t.Errorf("Integer(%s) = %s, want %s", literal, got, want)
		}
	})
}

func rat(s string) *big.Rat {
	r, _ := new(big.Rat).SetString(s)
	return r
}
