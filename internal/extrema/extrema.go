// Package extrema finds the smallest and largest elements of slices, and counts zeros and NaNs, in one pass at memory
// speed. The kernels are AVX2 assembly, selected at startup, or pure Go on other CPUs and under the purego build tag.
package extrema

import (
	"bytes"
	"unsafe"

	"gather/internal/npy"
)

// Summary has the extremes and counts of a slice.
type Summary struct {
	// Min and Max are the indices of the first smallest and the first largest element that is not NaN, or -1 without
	// one. -0 equals +0.
	Min, Max int
	// Zeros and NaNs are numbers of elements.
	Zeros, NaNs int
	// FirstNaN is the index of the first NaN, or -1.
	FirstNaN int
}

type number interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64
}

func isNaN[T number](v T) bool { return v != v } //nolint:revive // only a NaN differs from itself

const (
	// iteration is the number of bytes of vectors that a kernel reads at once: it divides what the assembly reads, and Go
	// reads the rest.
	iteration = 128
	// maxScan is the largest number of elements per call of a kernel.
	maxScan = 1 << 19
)

// Of returns the summary of x.
func Of[T number](x []T) Summary {
	var e extremes[T]
	perIteration := iteration / int(unsafe.Sizeof(e.lo))
	vectors := vectorLen(len(x), perIteration)
	for at := 0; at < vectors; at += maxScan {
		n := min(maxScan, vectors-at)
		var v vectorResult
		scan(&x[at], n, &v)
		e.addVectors(&v, n)
	}
	e.add(x[vectors:])
	return e.summary(len(x), func(v T) int {
		i := 0
		if vectors > 0 {
			i = index(&x[0], vectors, v)
		}
		for x[i] != v {
			i++
		}
		return i
	}, func() int {
		i := 0
		for !isNaN(x[i]) {
			i++
		}
		return i
	})
}

// OfFloat16s returns the summary of x, given as IEEE 754 binary16 bits.
func OfFloat16s(x []uint16) Summary {
	var e extremes[float32]
	const perIteration = iteration / 4 // a vector holds float32
	vectors := vectorLen(len(x), perIteration)
	for at := 0; at < vectors; at += maxScan {
		n := min(maxScan, vectors-at)
		var v vectorResult
		scanFloat16(&x[at], n, &v)
		e.addVectors(&v, n)
	}
	var wide [perIteration]float32
	for rest := x[vectors:]; len(rest) > 0; {
		n := min(len(rest), len(wide))
		for i, h := range rest[:n] {
			wide[i] = float32(npy.Float16frombits(h))
		}
		e.add(wide[:n])
		rest = rest[n:]
	}
	return e.summary(len(x), func(v float32) int {
		i := 0
		if vectors > 0 {
			i = indexFloat16(&x[0], vectors, v)
		}
		for float32(npy.Float16frombits(x[i])) != v {
			i++
		}
		return i
	}, func() int {
		i := 0
		for x[i]&0x7fff <= 0x7c00 {
			i++
		}
		return i
	})
}

// OfBools returns the summary of x, where every byte that is not 0 is true.
func OfBools(x []byte) Summary {
	s := Summary{Min: -1, Max: -1, FirstNaN: -1, Zeros: bytes.Count(x, []byte{0})}
	if len(x) == 0 {
		return s
	}
	s.Min, s.Max = max(bytes.IndexByte(x, 0), 0), 0
	if s.Zeros < len(x) {
		for x[s.Max] == 0 {
			s.Max++
		}
	}
	return s
}

// extremes are the values and counts of elements.
type extremes[T number] struct {
	lo, hi      T // if n > nans
	n           int
	zeros, nans int
}

// summary returns the summary of n elements. find returns the index of the first that equals a value, findNaN of the
// first NaN.
func (e *extremes[T]) summary(n int, find func(T) int, findNaN func() int) Summary {
	s := Summary{Min: -1, Max: -1, FirstNaN: -1, Zeros: e.zeros, NaNs: e.nans}
	if e.nans < n {
		s.Min, s.Max = find(e.lo), find(e.hi)
	}
	if e.nans > 0 {
		s.FirstNaN = findNaN()
	}
	return s
}

// add adds elements one by one.
func (e *extremes[T]) add(x []T) {
	e.n += len(x)
	for len(x) > 0 && e.n-len(x) == e.nans { // up to the first that is not NaN
		e.lo, e.hi = x[0], x[0]
		if !isNaN(x[0]) {
			break
		}
		e.nans++
		x = x[1:]
	}
	lo, hi, zeros, nans := e.lo, e.hi, 0, 0
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
		if v == 0 {
			zeros++
		}
		if isNaN(v) {
			nans++
		}
	}
	e.lo, e.hi = lo, hi
	e.zeros += zeros
	e.nans += nans
}

// vectorResult has four vectors of 32 bytes: the smallest and the largest elements of each lane, which are infinities in
// lanes of NaNs, and the numbers of zeros and NaNs.
type vectorResult [16]uint64

// addVectors adds the result of a kernel for n elements.
func (e *extremes[T]) addVectors(v *vectorResult, n int) {
	nans := laneSum[T](v[12:])
	if nans < n {
		if e.n == e.nans {
			e.lo, e.hi = lanes[T](v[0:])[0], lanes[T](v[4:])[0]
		}
		for _, x := range lanes[T](v[0:]) {
			e.lo = min(e.lo, x)
		}
		for _, x := range lanes[T](v[4:]) {
			e.hi = max(e.hi, x)
		}
	}
	e.n += n
	e.nans += nans
	e.zeros += laneSum[T](v[8:])
}

// lanes returns a vector as elements.
func lanes[T any](v []uint64) []T {
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(&v[0])), 32/unsafe.Sizeof(t))
}

// laneSum adds the counters of a vector, which have the size of the elements.
func laneSum[T number](v []uint64) (n int) {
	var t T
	switch unsafe.Sizeof(t) {
	case 8:
		return int(v[0] + v[1] + v[2] + v[3])
	case 4:
		for _, c := range lanes[uint32](v) {
			n += int(c)
		}
	case 2:
		for _, c := range lanes[uint16](v) {
			n += int(c)
		}
	default: // sums of bytes of 255
		return int(v[0]+v[1]+v[2]+v[3]) / 255
	}
	return n
}
