package chunked

import "gather/internal/exactsum"

// addWeighted adds the products of elements and weights to m, and the weights to a.
func (w *Worker) addWeighted(a *exactsum.Accumulator, m *moments, r *Reduction, mem, weights []byte) {
	t, of := r.elements, r.weights.source.DType()
	w.add(a, of, weights)
	if !t.IsFloat() && !of.IsFloat() {
		n := len(mem) / t.Size()
		for i := range n {
			x, xNegative := magnitude(t, mem, i)
			y, yNegative := magnitude(of, weights, i)
			m.squares.ProductInt(x, y, xNegative != yNegative)
		}
		return
	}
	if w.block.factors == nil {
		w.block.factors = new([4][momentsBlock]float64)
	}
	if !t.IsFloat() {
		t, of, mem, weights = of, t, weights, mem
	}
	x := floatsOf(t, mem, w.block.factors[0][:])
	if of != Int64 && of != Uint64 {
		w.adder.Products64(&m.squares, x, floatsOf(of, weights, w.block.factors[1][:]))
		return
	}
	// A float64 does not hold these integers, but two do.
	hi, lo := w.block.factors[1][:len(x)], w.block.factors[2][:len(x)]
	finite := w.block.factors[3][:len(x)]
	copy(finite, x)
	for i, v := range x {
		hi[i], lo[i] = halves(of, integerAt(of, weights, i))
		if v-v != 0 { // an infinity or NaN, whose products with the halves would differ in their sign
			hi[i], finite[i] = hi[i]+lo[i], 0
		}
	}
	w.adder.Products64(&m.squares, x, hi)
	w.adder.Products64(&m.squares, finite, lo)
}

// halves returns two floats that add up to an integer of 64 bits.
func halves(t DType, v uint64) (hi, lo float64) {
	const low = 1<<32 - 1
	lo = float64(v & low)
	if t == Int64 {
		return float64(int64(v &^ low)), lo
	}
	return float64(v &^ low), lo
}

// magnitude returns the absolute value of integer i, and whether it is negative.
func magnitude(t DType, mem []byte, i int) (v uint64, negative bool) {
	bits := integerAt(t, mem, i)
	if n := int64(bits); n < 0 && !t.isUnsigned() {
		return -bits, true
	}
	return bits, false
}

// integerAt returns integer i as in Number.
func integerAt(t DType, mem []byte, i int) uint64 {
	switch t {
	case Bool:
		return uint64(min(mem[i], 1))
	case Int8:
		return uint64(int8(mem[i]))
	case Int16:
		return uint64(view[int16](mem)[i])
	case Int32:
		return uint64(view[int32](mem)[i])
	case Uint8:
		return uint64(mem[i])
	case Uint16:
		return uint64(view[uint16](mem)[i])
	case Uint32:
		return uint64(view[uint32](mem)[i])
	}
	return view[uint64](mem)[i]
}

// floatsOf returns the elements of a block, which are exact as float64, in the memory of to if they are of another type.
func floatsOf(t DType, mem []byte, to []float64) []float64 {
	if t == Float64 {
		return view[float64](mem)
	}
	to = to[:len(mem)/t.Size()]
	switch t {
	case Float32:
		for i, v := range view[float32](mem) {
			to[i] = float64(v)
		}
	case Float16:
		for i, v := range view[uint16](mem) {
			to[i] = floatOf(Float16, uint64(v))
		}
	default:
		for i := range to {
			to[i] = float64(int64(integerAt(t, mem, i)))
		}
	}
	return to
}
