package exactsum_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gather/internal/exactsum"
)

// forEachDataset runs a test for each dataset with all lengths, twice with one adder so that it reuses scales.
func forEachDataset(t *testing.T, test func(t *testing.T, f *exactsum.Adder, x []float64)) {
	t.Helper()
	for name, generate := range datasets {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(len(name))))
			f := exactsum.NewAdder()
			for _, n := range lengths {
				// Start at an odd element, so that nothing depends on the alignment of a slice.
				x := generate(rng, n+1)[1:]
				for range 2 {
					test(t, f, x)
				}
			}
		})
	}
}

func TestFloat64s(t *testing.T) {
	forEachDataset(t, func(t *testing.T, f *exactsum.Adder, x []float64) {
		t.Helper()
		var a exactsum.Accumulator
		f.Float64s(&a, x)
		compare(t, &a, x)
		a = *scalar(x[:len(x)/3])
		f.Float64s(&a, x[len(x)/3:])
		compare(t, &a, x)
	})
}

func TestFloat32s(t *testing.T) {
	forEachDataset(t, func(t *testing.T, f *exactsum.Adder, x []float64) {
		t.Helper()
		var a exactsum.Accumulator
		y := float32s(x)
		f.Float32s(&a, y)
		compare(t, &a, widened(y))
	})
}

func TestFloat16s(t *testing.T) {
	forEachDataset(t, func(t *testing.T, f *exactsum.Adder, x []float64) {
		t.Helper()
		var a exactsum.Accumulator
		y := float16s(x)
		f.Float16s(&a, y)
		compare(t, &a, widened16(y))
	})
	t.Run("every value", func(t *testing.T) {
		f := exactsum.NewAdder()
		for h := range 1 << 16 {
			for _, y := range [][]uint16{{uint16(h)}, {uint16(h), 0x8000, 0x3c00}} {
				var a exactsum.Accumulator
				f.Float16s(&a, y)
				compare(t, &a, widened16(y))
			}
		}
	})
}

// compare expects the state of adding elements one by one, which TestSumOfFewValues and FuzzOrder compare with
// math/big.
func compare(t *testing.T, a *exactsum.Accumulator, x []float64) {
	t.Helper()
	if want := scalar(x); *a != *want {
		t.Fatalf("%d values: state differs\n got %x, %v\nwant %x, %v", len(x), encode(a), a.Float64(), encode(want), want.Float64())
	}
}

func encode(a *exactsum.Accumulator) []byte {
	data, _ := a.MarshalBinary()
	return data
}

// Sums for which the fast path must equal math/big directly, not only the scalar path.
func TestFloat64sAgainstBig(t *testing.T) {
	for name, generate := range datasets {
		t.Run(name, func(t *testing.T) {
			x := generate(rand.New(rand.NewPCG(1, 2)), 5000)
			var a exactsum.Accumulator
			exactsum.NewAdder().Float64s(&a, x)
			check(t, &a, referenceOf(x))
		})
	}
}

// longRunLen exceeds every number of undrained values and is not round; with so many columns no rows are side by side.
const (
	longRunCols = 130
	longRunLen  = longRunCols * 16500
)

// Enough values to reach every limit of undrained sums.
func TestFloatsOfLongRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	f := exactsum.NewAdder()
	for _, name := range []string{"exponents over all bits", "ones", "normal"} {
		x := datasets[name](rng, longRunLen)
		var a exactsum.Accumulator
		f.Float64s(&a, x)
		compare(t, &a, x)
		rows := len(x) / longRunCols
		accs := make([]exactsum.Accumulator, longRunCols)
		f.ColumnsFloat64(accs, x, rows, len(accs))
		compareColumns(t, accs, x, rows)
		accs = accs[:1]
		clear(accs)
		f.ColumnsFloat64(accs, x, len(x), len(accs))
		compareColumns(t, accs, x, len(x))
	}
}

// Levels are exact at all scales: blocks at every exponent, ascending and descending, through one adder.
func TestFloat64sAtEveryExponent(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	f := exactsum.NewAdder()
	for _, step := range []int{1, -1, 37, -53} {
		for exp := -1100; exp <= 1023; exp++ {
			e := exp
			if step < 0 {
				e = -77 - exp
			}
			x := make([]float64, 40)
			for i := range x {
				x[i] = math.Ldexp(rng.Float64()*2-1, e-rng.IntN(max(step, -step)))
			}
			var a exactsum.Accumulator
			f.Float64s(&a, x)
			compare(t, &a, x)
		}
	}
}

// FuzzFloat64s repeats a few fuzzed values over blocks, so that a fuzzer can control scales and failures of the check.
func FuzzFloat64s(f *testing.F) {
	f.Add(bytesOf(1, 0x1p-44, -1), uint16(4096), uint16(3))
	f.Add(bytesOf(1e300, 1, 1e-300), uint16(9000), uint16(4095))
	f.Add(bytesOf(tiny, largest, -largest), uint16(5000), uint16(1))
	f.Add(bytesOf(inf, 1), uint16(40), uint16(33))
	f.Fuzz(func(t *testing.T, data []byte, n, cut uint16) {
		seeds := floatsOf(data)
		if len(seeds) == 0 {
			return
		}
		x := make([]float64, n)
		for i := range x {
			x[i] = seeds[i%len(seeds)]
			if i%4096 > int(cut) {
				x[i] = seeds[(i/7)%len(seeds)] * float64(i)
			}
		}
		adder := exactsum.NewAdder()
		for range 2 {
			var a exactsum.Accumulator
			adder.Float64s(&a, x)
			compare(t, &a, x)
		}
		y := float32s(x)
		var a exactsum.Accumulator
		adder.Float32s(&a, y)
		compare(t, &a, widened(y))
		if cols := int(cut)%600 + 1; cols <= len(x) {
			rows := len(x) / cols
			accs := make([]exactsum.Accumulator, cols)
			adder.ColumnsFloat64(accs, x[:rows*cols], rows, cols)
			compareColumns(t, accs, x, rows)
		}
	})
}

func TestAdderDoesNotAllocate(t *testing.T) {
	f := exactsum.NewAdder()
	x := datasets["exponents over all bits"](rand.New(rand.NewPCG(1, 1)), 10001)
	y, h := float32s(x), float16s(x)
	var a exactsum.Accumulator
	f.Float64s(&a, x) // creates the table
	if n := testing.AllocsPerRun(10, func() {
		a.Reset()
		f.Float64s(&a, x)
		f.Float32s(&a, y)
		f.Float16s(&a, h)
		f.Uint16s(&a, h)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func ExampleAdder() {
	// The same values in another order and other blocks: a float64 loop would return two results.
	x := []float64{1e16, 1, -1e16, 3.25}
	f := exactsum.NewAdder()

	var all, left, right exactsum.Accumulator
	f.Float64s(&all, x)
	f.Float64s(&left, []float64{3.25, 1})
	f.Float64s(&right, []float64{-1e16, 1e16})
	left.Merge(&right)

	fmt.Println(all.Float64(), left.Float64(), all == left)
	// Output: 4.25 4.25 true
}
