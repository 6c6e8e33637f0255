package chunked

import (
	"context"
	"math"
	"math/big"

	"gather/internal/npy"
)

// arangeInts is numpy.arange of an integer type: start + i*step, which was checked to fit the type.
type arangeInts struct {
	dtype       DType
	start, step uint64 // two's complement, which suits all integer types
}

func (a arangeInts) DType() DType   { return a.dtype }
func (a arangeInts) Constant() bool { return a.step == 0 }

func (a arangeInts) Fill(_ context.Context, dst []byte, lo int64) error {
	v := a.start + uint64(lo)*a.step
	switch a.dtype.Size() {
	case 1:
		count(dst, byte(v), byte(a.step))
	case 2:
		count(view[uint16](dst), uint16(v), uint16(a.step))
	case 4:
		count(view[uint32](dst), uint32(v), uint32(a.step))
	default:
		count(view[uint64](dst), v, a.step)
	}
	return nil
}

func count[T byte | uint16 | uint32 | uint64](dst []T, v, step T) {
	for i := range dst {
		dst[i] = v
		v += step
	}
}

// arangeFloats is numpy.arange of a float type. NumPy stores start and start+step, each rounded to the type, uses their
// difference in the type as delta, and computes the others as start + i*delta in that type (float32 for float16),
// rounding each operation.
//
// The conversions around products prevent compilers from fusing them with the sum, which would make elements depend on
// the CPU.
type arangeFloats struct {
	dtype                DType
	start, second, delta float64 // exact in the type of the arithmetic
}

// newArangeFloats returns the range whose first elements round to start and second.
func newArangeFloats(t DType, start, second float64) arangeFloats {
	a := arangeFloats{dtype: t, start: floatOf(t, floatBits(t, start)), second: floatOf(t, floatBits(t, second))}
	if a.delta = a.second - a.start; t != Float64 {
		a.delta = float64(float32(a.second) - float32(a.start))
	}
	return a
}

func (a arangeFloats) DType() DType   { return a.dtype }
func (a arangeFloats) Constant() bool { return false }

func (a arangeFloats) Fill(_ context.Context, dst []byte, lo int64) error {
	switch a.dtype {
	case Float64:
		for i, x := 0, view[float64](dst); i < len(x); i++ {
			x[i] = a.start + float64(float64(lo+int64(i))*a.delta)
		}
	case Float32:
		start, delta := float32(a.start), float32(a.delta)
		for i, x := 0, view[float32](dst); i < len(x); i++ {
			x[i] = start + float32(float32(lo+int64(i))*delta)
		}
	case Float16:
		start, delta := float32(a.start), float32(a.delta)
		for i, x := 0, view[uint16](dst); i < len(x); i++ {
			x[i] = npy.Float16bits(float64(start + float32(float32(lo+int64(i))*delta)))
		}
	}
	for i, v := range [...]float64{a.start, a.second} {
		if at := int64(i) - lo; at >= 0 && at < int64(len(dst)/a.dtype.Size()) {
			put(dst, a.dtype.Size(), int(at), floatBits(a.dtype, v))
		}
	}
	return nil
}

// linspace is numpy.linspace: computed in float64 as i*step + start, with exactly stop as the last element if the end
// point is included, then rounded to the type.
type linspace struct {
	dtype             DType
	start, stop, step float64
	delta, div        float64
	last              int64 // the index of the element stop, or -1
}

func newLinspace(t DType, start, stop float64, num int64, endpoint bool) linspace {
	l := linspace{dtype: t, start: start, stop: stop, delta: stop - start, last: -1, div: float64(num)}
	if endpoint {
		l.div = float64(num - 1)
		if num > 1 {
			l.last = num - 1
		}
	}
	if l.div > 0 {
		l.step = l.delta / l.div
	}
	return l
}

func (l linspace) DType() DType   { return l.dtype }
func (l linspace) Constant() bool { return false }

func (l linspace) at(i int64) float64 {
	switch {
	case i == l.last:
		return l.stop
	case l.div <= 0: // a single element; NumPy multiplies by delta here
		return float64(float64(i)*l.delta) + l.start
	case l.step == 0: // the step underflowed, so divide first
		return float64(float64(i)/l.div*l.delta) + l.start
	}
	return float64(float64(i)*l.step) + l.start
}

func (l linspace) Fill(_ context.Context, dst []byte, lo int64) error {
	switch l.dtype {
	case Float64:
		for i, x := 0, view[float64](dst); i < len(x); i++ {
			x[i] = l.at(lo + int64(i))
		}
	case Float32:
		for i, x := 0, view[float32](dst); i < len(x); i++ {
			x[i] = float32(l.at(lo + int64(i)))
		}
	case Float16:
		for i, x := 0, view[uint16](dst); i < len(x); i++ {
			x[i] = npy.Float16bits(l.at(lo + int64(i)))
		}
	}
	return nil
}

// arangeLen returns the length of numpy.arange, ceil((stop-start)/step), for a float type; false for an invalid length.
// Like Python, it computes exactly with integers, and otherwise with float64.
func arangeLen(start, stop, step scalar) (int64, bool) {
	var q float64
	var different bool
	first, second, exact := pyInts(stop, start)
	if exact {
		distance := first.Sub(first, second)
		different = distance.Sign() != 0
		if step.kind == intScalar {
			by, _, _ := pyInts(step, step)
			q, _ = new(big.Rat).SetFrac(distance, by).Float64()
		} else {
			d, _ := new(big.Float).SetInt(distance).Float64()
			by, _ := step.float64()
			q = d / by
		}
	} else {
		from, _ := start.float64()
		to, _ := stop.float64()
		by, _ := step.float64()
		different = from != to
		q = (to - from) / by
	}
	if q == 0 && different { // the quotient underflowed
		if math.Signbit(q) {
			return 0, true
		}
		return 1, true
	}
	n := math.Ceil(q)
	if math.IsNaN(n) || n > 1<<62 {
		return 0, false
	}
	return int64(max(n, 0)), true
}

// pySum returns the sum of two numbers as Python computes it: integers exactly, rounded once.
func pySum(a, b scalar) float64 {
	if x, y, ok := pyInts(a, b); ok {
		sum, _ := new(big.Float).SetInt(x.Add(x, y)).Float64()
		return sum
	}
	x, _ := a.float64()
	y, _ := b.float64()
	return x + y
}

// pyInts returns the values of two integers; false if one is a float.
func pyInts(a, b scalar) (x, y *big.Int, ok bool) {
	if a.kind != intScalar || b.kind != intScalar {
		return nil, nil, false
	}
	x, _ = new(big.Int).SetString(a.string(), 10)
	y, _ = new(big.Int).SetString(b.string(), 10)
	return x, y, true
}
