package exactsum_test

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// lengths are around multiples of blocks (4096) and groups (32).
var lengths = []int{0, 1, 2, 7, 31, 32, 33, 64, 100, 4095, 4096, 4097, 4128, 8192 + 5, 20000}

// datasets return n values each. Each targets one way in which a fold could be wrong.
var datasets = map[string]func(rng *rand.Rand, n int) []float64{
	"uniform": each(func(rng *rand.Rand, _ int) float64 { return rng.Float64() }),
	"normal":  each(func(rng *rand.Rand, _ int) float64 { return rng.NormFloat64() }),
	"ones":    each(func(*rand.Rand, int) float64 { return 1 }),
	"zeros":   each(func(*rand.Rand, int) float64 { return 0 }),
	"only -0": each(func(*rand.Rand, int) float64 { return minZero }),
	"-0 and at last a value": each(func(_ *rand.Rand, i int) float64 {
		if i == 4000 {
			return -3
		}
		return minZero
	}),
	// Needs four levels.
	"exponents over 100 bits": each(func(rng *rand.Rand, _ int) float64 {
		return math.Ldexp(rng.NormFloat64(), rng.IntN(100)-50)
	}),
	// Needs buckets.
	"exponents over all bits": each(func(rng *rand.Rand, _ int) float64 { return anyFinite(rng) }),
	"subnormal":               each(func(rng *rand.Rand, _ int) float64 { return tiny * float64(rng.IntN(1000)-500) }),
	"around the smallest normal": each(func(rng *rand.Rand, _ int) float64 {
		return math.Ldexp(rng.NormFloat64(), -1022-rng.IntN(40))
	}),
	"near overflow": each(func(rng *rand.Rand, _ int) float64 { return largest * (rng.Float64()*2 - 1) }),
	"overflows":     each(func(*rand.Rand, int) float64 { return largest }),
	// The scale of one block does not fit the next.
	"blocks grow": each(func(rng *rand.Rand, i int) float64 { return math.Ldexp(rng.Float64(), i/4096*70) }),
	"blocks shrink": each(func(rng *rand.Rand, i int) float64 {
		return math.Ldexp(rng.Float64(), -(i / 4096 * 70))
	}),
	"a block of small integers, then large ones": each(func(_ *rand.Rand, i int) float64 {
		return math.Ldexp(1, i/4096*(20+i/4096))
	}),
	"ones, then far below": each(func(_ *rand.Rand, i int) float64 { return math.Ldexp(1+float64(i%2), -i/4096*90) }),
	// One level is enough for ones, and then it is not.
	"ones, then far above":             onesThen(func(int) float64 { return 0x1p45 }),
	"ones, then a bit more":            onesThen(func(int) float64 { return 1 + 0x1p-50 }),
	"ones, then one with a remainder":  onesThen(func(i int) float64 { return 1 + float64(i/500%2)*0x1p-50 }),
	"ones, then far above and back":    onesThen(thereAndBack(0x1p40)),
	"ones, then out of sight and back": onesThen(thereAndBack(0x1p100)),
	"ill-conditioned": func(rng *rand.Rand, n int) []float64 {
		x := each(func(rng *rand.Rand, _ int) float64 { return math.Ldexp(rng.Float64(), 60) })(rng, n)
		for i := n / 2; i < n; i++ {
			x[i] = -x[n-1-i]
		}
		if n > 0 {
			x[0] += 1e-3
		}
		rng.Shuffle(n, func(i, j int) { x[i], x[j] = x[j], x[i] })
		return x
	},
	"an infinity":     with(inf),
	"both infinities": with(inf, -inf),
	"a nan":           with(nan),
	"all specials":    with(nan, -inf, inf, minZero, tiny, largest),
	"one huge value":  with(1e300),
	"one tiny value":  with(tiny),
}

// Half a unit of the first level is 2^-40 to 2^-44 for a block with the largest value 1, depending on the lanes of the
// kernel. Values just below it go to the second level unchanged and with the same sign, which drives that level
// furthest.
func init() {
	for bits := 40; bits <= 45; bits++ {
		for _, sign := range []float64{1, -1} {
			datasets[fmt.Sprintf("one-sided remainders of %v * 2^-%d", sign, bits)] = each(func(_ *rand.Rand, i int) float64 {
				if i%4096 == 0 {
					return 1
				}
				return sign * (math.Ldexp(1, -bits) - math.Ldexp(float64(i%3+1), -bits-30))
			})
		}
	}
}

func each(f func(rng *rand.Rand, i int) float64) func(*rand.Rand, int) []float64 {
	return func(rng *rand.Rand, n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = f(rng, i)
		}
		return x
	}
}

// onesThen returns two blocks of ones and then other values.
func onesThen(f func(i int) float64) func(*rand.Rand, int) []float64 {
	return each(func(_ *rand.Rand, i int) float64 {
		if i < 8192 {
			return 1
		}
		return f(i)
	})
}

// thereAndBack returns far and, in the same lane of any kernel, -far among ones.
func thereAndBack(far float64) func(i int) float64 {
	return func(i int) float64 {
		switch i % 500 {
		case 100:
			return far
		case 100 + 32:
			return -far
		}
		return 1
	}
}

// with returns ordinary values mixed with the given ones.
func with(v ...float64) func(*rand.Rand, int) []float64 {
	return func(rng *rand.Rand, n int) []float64 {
		x := each(func(rng *rand.Rand, _ int) float64 { return rng.NormFloat64() })(rng, n)
		for i := range v {
			if n > 0 {
				x[rng.IntN(n)] = v[i]
			}
		}
		return x
	}
}

func anyFinite(rng *rand.Rand) float64 {
	for {
		if v := math.Float64frombits(rng.Uint64()); !math.IsNaN(v) && !math.IsInf(v, 0) {
			return v
		}
	}
}

// float32s rounds to float32; overflows become infinities.
func float32s(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func widened(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// float16s takes the top bits of float32: unrounded values of all kinds.
func float16s(x []float64) []uint16 {
	y := make([]uint16, len(x))
	for i, v := range x {
		b := math.Float32bits(float32(v))
		exp := int(b>>23&0xff) - 127 + 15
		h := uint16(b >> 16 & 0x8000)
		switch {
		case exp > 31 || b<<1 > 0xff<<24:
			h |= 0x7c00 | uint16(b>>13&0x3ff)
		case exp > 0:
			h |= uint16(exp)<<10 | uint16(b>>13&0x3ff)
		default:
			h |= uint16(b >> 13 & 0x3ff)
		}
		y[i] = h
	}
	return y
}

func widened16(x []uint16) []float64 {
	y := make([]float64, len(x))
	for i, h := range x {
		switch mag := h &^ 0x8000; {
		case mag > 0x7c00:
			y[i] = nan
		case mag == 0x7c00:
			y[i] = inf
		default:
			y[i] = float16Value(mag)
		}
		if h&0x8000 != 0 {
			y[i] = -y[i]
		}
	}
	return y
}
