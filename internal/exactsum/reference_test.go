package exactsum_test

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"gather/internal/exactsum"
)

// reference is a sum computed with math/big.
type reference struct {
	units               *big.Int // of 2^-1074
	count               int
	onlyNegZero         bool
	nan, posInf, negInf bool
}

func newReference() *reference { return &reference{units: new(big.Int), onlyNegZero: true} }

func (r *reference) add(x float64) {
	r.count++
	if math.Float64bits(x) != 1<<63 {
		r.onlyNegZero = false
	}
	switch {
	case math.IsNaN(x):
		r.nan = true
	case math.IsInf(x, 1):
		r.posInf = true
	case math.IsInf(x, -1):
		r.negInf = true
	case x != 0:
		f := new(big.Float).SetPrec(2200).SetFloat64(x)
		n, _ := f.SetMantExp(f, 1074).Int(nil)
		r.units.Add(r.units, n)
	}
}

func referenceOf(x []float64) *reference {
	r := newReference()
	for _, v := range x {
		r.add(v)
	}
	return r
}

// exact returns the finite sum as an unrounded big.Float.
func (r *reference) exact() *big.Float {
	f := new(big.Float).SetPrec(4000).SetInt(r.units)
	return f.SetMantExp(f, -1074)
}

func (r *reference) special() (float64, bool) {
	switch {
	case r.nan || r.posInf && r.negInf:
		return math.NaN(), true
	case r.posInf:
		return math.Inf(1), true
	case r.negInf:
		return math.Inf(-1), true
	case r.count > 0 && r.onlyNegZero:
		return math.Copysign(0, -1), true
	}
	return 0, false
}

func (r *reference) float64() float64 {
	if v, ok := r.special(); ok {
		return v
	}
	v, _ := r.exact().Float64()
	return v
}

func (r *reference) float32() float32 {
	if v, ok := r.special(); ok {
		return float32(v)
	}
	v, _ := r.exact().Float32()
	return v
}

// float16 finds the nearest binary16 by comparing all of them, following the format's definition.
func (r *reference) float16() uint16 {
	if v, ok := r.special(); ok {
		switch {
		case math.IsNaN(v):
			return 0x7e00
		case v == 0:
			return 0x8000
		case v < 0:
			return 0xfc00
		}
		return 0x7c00
	}
	mag := new(big.Float).Abs(r.exact())
	best, bestDistance := uint16(0), mag
	for h := uint16(1); h <= 0x7c00; h++ {
		v := float16Value(h)
		if h == 0x7c00 {
			v = 65536 // the next larger value: rounding to it is overflow
		}
		d := new(big.Float).Sub(mag, big.NewFloat(v))
		d.Abs(d)
		if c := d.Cmp(bestDistance); c < 0 || c == 0 && h&1 == 0 {
			best, bestDistance = h, d
		}
	}
	if r.units.Sign() < 0 {
		best |= 0x8000
	}
	return best
}

// float16Value returns the value of finite, positive binary16 bits.
func float16Value(h uint16) float64 {
	exp, frac := int(h>>10), float64(h&0x3ff)
	if exp == 0 {
		return math.Ldexp(frac, -24)
	}
	return math.Ldexp(1024+frac, exp-25)
}

// units decodes the documented encoding with math/big.
func units(t *testing.T, a *exactsum.Accumulator) *big.Int {
	t.Helper()
	data, err := a.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := data[3:]
	if len(body) != 8*int(data[2]) {
		t.Fatalf("%d bytes of words, header says %d words", len(body), data[2])
	}
	n := new(big.Int)
	for _, b := range slices.Backward(body) {
		n.Lsh(n, 8)
		n.Or(n, big.NewInt(int64(b)))
	}
	if len(body) > 0 && body[len(body)-1]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(body))))
	}
	return n.Lsh(n, 64*uint(data[1]))
}

// check compares every result of a with the reference.
func check(t *testing.T, a *exactsum.Accumulator, want *reference) {
	t.Helper()
	special, isSpecial := want.special()
	if !isSpecial || special == 0 {
		if got := units(t, a); got.Cmp(want.units) != 0 {
			t.Fatalf("state is %v units, want %v", got, want.units)
		}
	}
	if got, want := a.Float64(), want.float64(); !same(got, want) {
		t.Fatalf("Float64() = %v (%#x), want %v (%#x)", got, math.Float64bits(got), want, math.Float64bits(want))
	}
	if got, want := a.Float32(), want.float32(); !same(float64(got), float64(want)) {
		t.Fatalf("Float32() = %v, want %v", got, want)
	}
	n, ok := a.Int()
	whole, rest := new(big.Int).DivMod(want.units, new(big.Int).Lsh(big.NewInt(1), 1074), new(big.Int))
	wantOK := rest.Sign() == 0 && (!isSpecial || special == 0)
	if ok != wantOK || ok && n.Cmp(whole) != 0 {
		t.Fatalf("Int() = %v, %v, want %v, %v", n, ok, whole, wantOK)
	}
}

// same compares bits, except that all NaNs are equal.
func same(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

// scalar adds values one by one: the path that is checked against math/big, and then used to check the others.
func scalar(x []float64) *exactsum.Accumulator {
	var a exactsum.Accumulator
	for _, v := range x {
		a.AddFloat64(v)
	}
	return &a
}
