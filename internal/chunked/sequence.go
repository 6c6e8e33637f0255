package chunked

import (
	"context"
	"math"

	"gather/internal/npy"
)

// arangeInts is numpy.arange of an integer type: start + i*step, which was checked to fit the type.
type arangeInts struct {
	dtype       DType
	start, step uint64 // two's complement, so that one arithmetic serves all integer types
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

// arangeFloats is numpy.arange of a float type. NumPy computes the first two elements, takes their difference in the
// element type as the step, and then start + i*step in that type (float32 for float16), each operation rounded.
//
// The conversions around products keep compilers from fusing them with the sum, which would make an element depend on
// the CPU.
type arangeFloats struct {
	dtype       DType
	start, step float64 // exact in the type the arithmetic is done in
}

// newArangeFloats rounds start and step as NumPy does.
func newArangeFloats(t DType, start, step float64) arangeFloats {
	a := arangeFloats{dtype: t, start: start}
	second := float64(start + step)
	if t != Float64 {
		a.start, second = floatOf(t, floatBits(t, start)), floatOf(t, floatBits(t, second))
		a.step = float64(float32(second) - float32(a.start))
		return a
	}
	a.step = float64(second - start)
	return a
}

func (a arangeFloats) DType() DType   { return a.dtype }
func (a arangeFloats) Constant() bool { return false }

func (a arangeFloats) Fill(_ context.Context, dst []byte, lo int64) error {
	switch a.dtype {
	case Float64:
		for i, x := 0, view[float64](dst); i < len(x); i++ {
			x[i] = a.start + float64(float64(lo+int64(i))*a.step)
		}
	case Float32:
		start, step := float32(a.start), float32(a.step)
		for i, x := 0, view[float32](dst); i < len(x); i++ {
			x[i] = start + float32(float32(lo+int64(i))*step)
		}
	case Float16:
		start, step := float32(a.start), float32(a.step)
		for i, x := 0, view[uint16](dst); i < len(x); i++ {
			x[i] = npy.Float16bits(float64(start + float32(float32(lo+int64(i))*step)))
		}
	}
	return nil
}

// linspace is numpy.linspace: computed in float64 as i*step + start, the last element exactly stop if the end point is in,
// then rounded to the type.
type linspace struct {
	dtype             DType
	start, stop, step float64
	delta, div        float64
	last              int64 // the element that is stop, -1 if none is
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

// arangeLen is ceil((stop-start)/step), the length of numpy.arange, for floats; false if that is no length.
func arangeLen(start, stop, step float64) (int64, bool) {
	n := math.Ceil((stop - start) / step)
	if math.IsNaN(n) || n > 1<<62 {
		return 0, false
	}
	return int64(max(n, 0)), true
}
