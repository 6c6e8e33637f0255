// Package extrema finds the smallest and largest elements of slices and of columns, and counts zeros and NaNs, in one
// pass at memory speed. The kernels are AVX2 assembly, selected at startup, or pure Go on other CPUs and under the purego
// build tag.
package extrema

import (
	"bytes"
	"unsafe"

	"gather/internal/npy"
)

// Number is an element type. Values of binary16 are given as their bits, and have functions of their own.
type Number interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64
}

// Summary has the extremes and counts of a slice.
type Summary[T Number] struct {
	// Min and Max are the smallest and the largest element that is not NaN, or 0 without one. Of zeros of both signs they
	// are any.
	Min, Max T
	// Zeros and NaNs are numbers of elements.
	Zeros, NaNs int
}

func isNaN[T Number](v T) bool { return v != v } //nolint:revive // only a NaN differs from itself

const (
	// iteration is the number of bytes of vectors that a kernel reads at once: it divides what the assembly reads, and Go
	// reads the rest.
	iteration = 128
	// maxScan is the largest number of elements per call of a kernel that counts.
	maxScan = 1 << 19
	// perIterationFloat16 is the number of binary16 values of an iteration, which a vector holds as float32.
	perIterationFloat16 = iteration / 4
)

// Of returns the summary of x.
func Of[T Number](x []T) Summary[T] {
	var e extremes[T]
	vectors := vectorLen(len(x), perIteration[T]())
	for at := 0; at < vectors; at += maxScan {
		n := min(maxScan, vectors-at)
		var v vectorResult
		scan(&x[at], n, &v)
		e.addVectors(&v, n)
	}
	e.add(x[vectors:])
	return e.summary()
}

// perIteration returns the number of elements of an iteration.
func perIteration[T Number]() int {
	var t T
	return iteration / int(unsafe.Sizeof(t))
}

// OfFloat16s returns the summary of x.
func OfFloat16s(x []uint16) Summary[float32] {
	var e extremes[float32]
	vectors := vectorLen(len(x), perIterationFloat16)
	for at := 0; at < vectors; at += maxScan {
		n := min(maxScan, vectors-at)
		var v vectorResult
		scanFloat16(&x[at], n, &v)
		e.addVectors(&v, n)
	}
	eachWide(x[vectors:], e.add)
	return e.summary()
}

// eachWide calls add with the elements of x as float32, some at a time.
func eachWide(x []uint16, add func([]float32)) {
	var wide [perIterationFloat16]float32
	for len(x) > 0 {
		n := min(len(x), len(wide))
		for i, h := range x[:n] {
			wide[i] = float32(npy.Float16frombits(h))
		}
		add(wide[:n])
		x = x[n:]
	}
}

// OfBools returns the summary of x, where every byte that is not 0 is 1.
func OfBools(x []byte) Summary[uint8] {
	s := Summary[uint8]{Zeros: bytes.Count(x, []byte{0})}
	if s.Zeros == 0 && len(x) > 0 {
		s.Min = 1
	}
	if s.Zeros < len(x) {
		s.Max = 1
	}
	return s
}

// Index returns the index of the first element of x that equals v, or is NaN if v is, of those that are stride elements
// apart; -1 without one.
func Index[T Number](x []T, stride int, v T) int {
	i := 0
	if n := vectorLen(len(x), perIteration[T]()); n > 0 && stride == 1 && !isNaN(v) {
		i = index(&x[0], n, v)
	}
	for at := i * stride; at < len(x); at += stride {
		if x[at] == v || isNaN(v) && isNaN(x[at]) {
			return at / stride
		}
	}
	return -1
}

// IndexOfFloat16 is Index for binary16.
func IndexOfFloat16(x []uint16, stride int, v float32) int {
	i := 0
	if n := vectorLen(len(x), perIterationFloat16); n > 0 && stride == 1 && !isNaN(v) {
		i = indexFloat16(&x[0], n, v)
	}
	for at := i * stride; at < len(x); at += stride {
		if w := float32(npy.Float16frombits(x[at])); w == v || isNaN(v) && isNaN(w) {
			return at / stride
		}
	}
	return -1
}

// extremes are the values and counts of elements.
type extremes[T Number] struct {
	lo, hi      T // 0 unless n > nans
	n           int
	zeros, nans int
}

// summary returns the result.
func (e *extremes[T]) summary() Summary[T] {
	return Summary[T]{Min: e.lo, Max: e.hi, Zeros: e.zeros, NaNs: e.nans}
}

// add adds elements one by one.
func (e *extremes[T]) add(x []T) {
	e.n += len(x)
	for len(x) > 0 && e.n-len(x) == e.nans { // up to the first that is not NaN
		if !isNaN(x[0]) {
			e.lo, e.hi = x[0], x[0]
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
func lanes[T any](v []uint64) []T { return elements[T](v[:4]) }

// elements returns memory as elements.
func elements[T any](v []uint64) []T {
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(&v[0])), 8*len(v)/int(unsafe.Sizeof(t)))
}

// laneSum adds the counters of a vector, which have the size of the elements.
func laneSum[T Number](v []uint64) (n int) {
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
