package exactsum

import "math"

const (
	// blockLen is the number of elements folded per check.
	blockLen = 4096
	// group divides the length of all slices passed to kernels: the last elements are padded with zeros.
	group = 32
)

// Adder adds slices to accumulators. Reuse it, because it holds scratch memory and the scale of the last block: one per
// worker, for any number of accumulators. It must be created by [NewAdder] and is not safe for concurrent use.
type Adder struct {
	// scale is the exponent k that suited the last block; see levels.
	scale int
	// single is true if the last block left the second level empty, so that the next one is tried with one level.
	single bool
	// upper and lower are the undrained sums of the two levels at that scale. They are empty between calls.
	upper, lower  int128
	buckets       *bucketTable
	columns       *columnScratch
	squareColumns *squareColumns
	squares       *[2][blockLen]float64
	squareLevels  squareFold

	wide   [blockLen]float64 // a block of another type, as float64
	rest   [blockLen]float64 // the remainders of a block
	tail64 [group]float64
	tail32 [group]float32
	tail16 [group]uint16
}

// NewAdder returns an Adder.
func NewAdder() *Adder { return &Adder{scale: scaleFor(1023, laneBits)} }

// Float64s adds every element of x to a.
func (f *Adder) Float64s(a *Accumulator, x []float64) {
	if !open(a, x, isNegZero64) {
		return
	}
	addBlocks(f, a, x, &f.tail64, fold1x64, fold2x64, func(x []float64) []float64 { return x })
}

// Float32s adds every element of x to a.
func (f *Adder) Float32s(a *Accumulator, x []float32) {
	if !open(a, x, isNegZero32) {
		return
	}
	addBlocks(f, a, x, &f.tail32, fold1x32, fold2x32, f.widen32)
}

func (f *Adder) widen32(x []float32) []float64 {
	for i, v := range x {
		f.wide[i] = float64(v)
	}
	return f.wide[:len(x)]
}

// Float16s adds every element of x, given as IEEE 754 binary16 bits, to a.
//
// A finite binary16 value is a multiple of 2^-24 below 2^16, so a block is added without rounding and needs no check.
func (f *Adder) Float16s(a *Accumulator, x []uint16) {
	if !open(a, x, isNegZero16) {
		return
	}
	for len(x) > 0 && a.class != nan {
		block := nextBlock(&x, &f.tail16)
		if units, ok := sum16(block); ok {
			a.addInt128(units>>63, uint64(units), point-24)
			continue
		}
		for i, h := range block {
			f.wide[i] = widen16(h)
		}
		addEach(a, f.wide[:len(block)])
	}
}

// open prepares a for x and reports whether anything is left to add; a sum of only -0 is handled here.
func open[T any](a *Accumulator, x []T, isNegZero func(T) bool) bool {
	if a.class >= finite {
		return len(x) > 0 && a.class != nan
	}
	for _, v := range x {
		if !isNegZero(v) {
			a.join(finite)
			return true
		}
	}
	if len(x) > 0 {
		a.join(negZero)
	}
	return false
}

func isNegZero64(v float64) bool { return math.Float64bits(v) == 1<<63 }
func isNegZero32(v float32) bool { return math.Float32bits(v) == 1<<31 }
func isNegZero16(v uint16) bool  { return v == 1<<15 }

// nextBlock cuts the next block off x: at most blockLen elements, a multiple of group, padded in tail at the end of x.
func nextBlock[T any](x *[]T, tail *[group]T) []T {
	n := min(len(*x), blockLen) &^ (group - 1)
	if n == 0 {
		clear(tail[copy(tail[:], *x):])
		*x = nil
		return tail[:]
	}
	block := (*x)[:n]
	*x = (*x)[n:]
	return block
}

// addBlocks adds x to a in blocks: with a fast kernel while its result is exact, otherwise with the slower ones.
func addBlocks[T any](
	f *Adder, a *Accumulator, x []T, tail *[group]T,
	one func(x []T, k int) (level int64, ok bool),
	fast func(x []T, k int) (upper, lower int64, ok bool), widen func([]T) []float64,
) {
	for len(x) > 0 && a.class <= finite {
		block := nextBlock(&x, tail)
		if f.single {
			if level, ok := one(block, f.scale); ok {
				f.upper.add(level)
				continue
			}
			f.single = false
		}
		if upper, lower, ok := fast(block, f.scale); ok {
			f.upper.add(upper)
			f.lower.add(lower)
			// A sum of 0 may have cancelled remainders: then the next block is read twice.
			f.single = lower == 0
			continue
		}
		f.refold(a, widen(block))
	}
	f.drain(a)
	// After an infinity only a NaN or the opposite infinity matters.
	for len(x) > 0 && a.class != nan {
		addEach(a, widen(nextBlock(&x, tail)))
	}
}

// refold adds a block for which the fast kernel failed.
func (f *Adder) refold(a *Accumulator, x []float64) {
	lo, hi := exponentSpan(x)
	if hi == exponentMask {
		addEach(a, x)
		return
	}
	if k := scaleFor(hi, laneBits); k != f.scale {
		if upper, lower, ok := fold2x64(x, k); ok {
			f.drain(a)
			f.scale = k
			f.upper.add(upper)
			f.lower.add(lower)
			return
		}
	}
	if hi-lo <= reach(maxLevels, laneBits) && f.fold4(a, x, scaleFor(hi, laneBits)) {
		return
	}
	if f.buckets == nil {
		f.buckets = new(bucketTable)
	}
	if f.buckets.full() {
		f.buckets.drain(a)
	}
	f.buckets.add(x, lo, hi)
}

// fold4 adds x to a through up to four levels, the first at scale k. If that is not exact it returns false and adds
// nothing.
func (f *Adder) fold4(a *Accumulator, x []float64, k int) bool {
	var levels [maxLevels]int64
	for i := range levels {
		level, inRange, more := extract(f.rest[:len(x)], x, levelScale(k, i, laneBits))
		levels[i] = level
		if !inRange {
			return false
		}
		if !more {
			for i, v := range levels {
				a.addInt128(v>>63, uint64(v), unitPos(levelScale(k, i, laneBits)))
			}
			return true
		}
		x = f.rest[:len(x)]
	}
	return false
}

// drain moves all pending sums into a.
func (f *Adder) drain(a *Accumulator) {
	a.addInt128(f.upper.hi, f.upper.lo, unitPos(f.scale))
	a.addInt128(f.lower.hi, f.lower.lo, unitPos(levelScale(f.scale, 1, laneBits)))
	f.upper, f.lower = int128{}, int128{}
	if f.buckets != nil {
		f.buckets.drain(a)
	}
}

// addEach adds one element at a time, including special values.
func addEach(a *Accumulator, x []float64) {
	for _, v := range x {
		a.AddFloat64(v)
	}
}
