package exactsum_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gather/internal/exactsum"
)

// forEachDataset runs a test per dataset with all lengths, twice in a row with one folder so that scales carry over.
func forEachDataset(t *testing.T, test func(t *testing.T, f *exactsum.Folder, x []float64)) {
	t.Helper()
	for name, generate := range datasets {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(len(name))))
			f := exactsum.NewFolder()
			for _, n := range lengths {
				// An odd start, so that nothing relies on the alignment of a slice.
				x := generate(rng, n+1)[1:]
				for range 2 {
					test(t, f, x)
				}
			}
		})
	}
}

func TestFloat64s(t *testing.T) {
	forEachDataset(t, func(t *testing.T, f *exactsum.Folder, x []float64) {
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
	forEachDataset(t, func(t *testing.T, f *exactsum.Folder, x []float64) {
		t.Helper()
		var a exactsum.Accumulator
		y := float32s(x)
		f.Float32s(&a, y)
		compare(t, &a, widened(y))
	})
}

func TestFloat16s(t *testing.T) {
	forEachDataset(t, func(t *testing.T, f *exactsum.Folder, x []float64) {
		t.Helper()
		var a exactsum.Accumulator
		y := float16s(x)
		f.Float16s(&a, y)
		compare(t, &a, widened16(y))
	})
	t.Run("every value", func(t *testing.T) {
		f := exactsum.NewFolder()
		for h := range 1 << 16 {
			for _, y := range [][]uint16{{uint16(h)}, {uint16(h), 0x8000, 0x3c00}} {
				var a exactsum.Accumulator
				f.Float16s(&a, y)
				compare(t, &a, widened16(y))
			}
		}
	})
}

// compare wants the state that adding one by one leaves, which TestSumOfFewValues and FuzzOrder compare with math/big.
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

// A sum that the fast path must get right against math/big itself, not only against the scalar path.
func TestFloat64sAgainstBig(t *testing.T) {
	for name, generate := range datasets {
		t.Run(name, func(t *testing.T) {
			x := generate(rand.New(rand.NewPCG(1, 2)), 5000)
			var a exactsum.Accumulator
			exactsum.NewFolder().Float64s(&a, x)
			check(t, &a, referenceOf(x))
		})
	}
}

// longRunLen is more than is held back anywhere, and not a round number; in so many columns nothing lies side by side.
const (
	longRunCols = 130
	longRunLen  = longRunCols * 16500
)

// So many values that every limit on what is held back from the accumulator is met.
func TestFloatsOfLongRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	f := exactsum.NewFolder()
	for _, name := range []string{"exponents over all bits", "ones", "normal"} {
		x := datasets[name](rng, longRunLen)
		var a exactsum.Accumulator
		f.Float64s(&a, x)
		compare(t, &a, x)
		rows := len(x) / longRunCols
		accs := make([]exactsum.Accumulator, longRunCols)
		f.ColumnsFloat64(accs, x, rows)
		compareColumns(t, accs, x, rows)
		accs = accs[:1]
		clear(accs)
		f.ColumnsFloat64(accs, x, len(x))
		compareColumns(t, accs, x, len(x))
	}
}

// Levels are exact whatever the scale: blocks at every exponent, up and down, through one folder.
func TestFloat64sAtEveryExponent(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	f := exactsum.NewFolder()
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

// FuzzFloat64s repeats a few fuzzed values over blocks, so that a fuzzer can steer scales and failures of the check.
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
		folder := exactsum.NewFolder()
		for range 2 {
			var a exactsum.Accumulator
			folder.Float64s(&a, x)
			compare(t, &a, x)
		}
		y := float32s(x)
		var a exactsum.Accumulator
		folder.Float32s(&a, y)
		compare(t, &a, widened(y))
		if cols := int(cut)%600 + 1; cols <= len(x) {
			rows := len(x) / cols
			accs := make([]exactsum.Accumulator, cols)
			folder.ColumnsFloat64(accs, x[:rows*cols], rows)
			compareColumns(t, accs, x, rows)
		}
	})
}

func TestFolderDoesNotAllocate(t *testing.T) {
	f := exactsum.NewFolder()
	x := datasets["exponents over all bits"](rand.New(rand.NewPCG(1, 1)), 10001)
	y, h := float32s(x), float16s(x)
	var a exactsum.Accumulator
	f.Float64s(&a, x) // the table is made once
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

func ExampleFolder() {
	// The same values in another order, cut in another way: a float64 loop would give two answers.
	x := []float64{1e16, 1, -1e16, 3.25}
	f := exactsum.NewFolder()

	var all, left, right exactsum.Accumulator
	f.Float64s(&all, x)
	f.Float64s(&left, []float64{3.25, 1})
	f.Float64s(&right, []float64{-1e16, 1e16})
	left.Merge(&right)

	fmt.Println(all.Float64(), left.Float64(), all == left)
	// Output: 4.25 4.25 true
}
