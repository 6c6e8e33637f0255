package chunked

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"gather/internal/exactsum"
)

// ErrPartial is wrapped by errors about a partial that no task of the plan could return.
var ErrPartial = errors.New("chunked: not a partial of this task")

// ErrVersion is wrapped by errors about a partial that a later version of the package wrote.
var ErrVersion = errors.New("chunked: a partial of a later version")

// partialVersion is the version of the plan's tasks and of the format of partials, the high half of a partial's first
// byte. Version 1 had other tasks.
const partialVersion = 2

// The first byte of a partial: the format version in the high half, the type of the content in the low half.
const (
	// wholeChunks: the state of all chunks.
	wholeChunks = partialVersion<<4 | iota
	// partOfChunks: the state of each chunk of a strip.
	partOfChunks
	// wholeOutputs: the numbers of each output.
	wholeOutputs
	// partOfOutputs: the state of each output.
	partOfOutputs
	// rangeOfOutputs: the range of the outputs, for each statistic.
	rangeOfOutputs
)

// maxIntBytes is the maximum size of an encoded integer result. 2^62 elements of 64 bits add up to 16 bytes.
const maxIntBytes = 16

// appendNumber appends a float as its bits, little endian; an integer as a length byte and the minimum number of bytes
// of its two's complement, little endian: none for 0.
func appendNumber(dst []byte, n Number) []byte {
	if n.dtype.IsFloat() {
		dst, _ = n.AppendRaw(dst) // floats always fit
		return dst
	}
	if n.wide != nil || n.dtype.isUnsigned() && n.bits>>63 != 0 {
		return appendWide(dst, n.Int())
	}
	v := int64(n.bits)
	start := len(dst)
	for dst = append(dst, 0); v != 0; v >>= 8 {
		dst = append(dst, byte(v))
		if v >= -0x80 && v < 0x80 { // the sign is in this byte too
			break
		}
		if v>>8 == 0 { // the sign needs another byte
			dst = append(dst, 0)
		}
	}
	dst[start] = byte(len(dst) - start - 1)
	return dst
}

// appendWide is appendNumber for an integer beyond 64 bits.
func appendWide(dst []byte, v *big.Int) []byte {
	magnitude := v
	if v.Sign() < 0 { // the bytes of -v-1 and the sign
		magnitude = new(big.Int).Not(v)
	}
	n := magnitude.BitLen()/8 + 1
	b := magnitude.FillBytes(make([]byte, n))
	slices.Reverse(b)
	if v.Sign() < 0 {
		for i := range b {
			b[i] = ^b[i]
		}
	}
	return append(append(dst, byte(n)), b...)
}

// cutNumber parses the output of appendNumber strictly.
func cutNumber(data []byte, t DType) (n Number, rest []byte, ok bool) {
	if t.IsFloat() {
		size := t.Size()
		if len(data) < size {
			return n, nil, false
		}
		var b [8]byte
		copy(b[:], data[:size])
		return Number{dtype: t, bits: binary.LittleEndian.Uint64(b[:])}, data[size:], true
	}
	if len(data) == 0 || int(data[0]) > min(maxIntBytes, len(data)-1) {
		return n, nil, false
	}
	b, rest := data[1:1+data[0]], data[1+data[0]:]
	if len(b) == 0 {
		return Number{dtype: t}, rest, true
	}
	top := b[len(b)-1]
	negative := top >= 0x80
	// A last byte that only repeats the sign is superfluous, and so is a zero byte for 0.
	if (top == 0 || top == 0xff) && (len(b) == 1 && top == 0 || len(b) > 1 && b[len(b)-2] >= 0x80 == negative) {
		return n, nil, false
	}
	if len(b) <= 8 && (!negative || !t.isUnsigned()) {
		var word [8]byte
		if negative {
			word = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
		copy(word[:], b)
		return Number{dtype: t, bits: binary.LittleEndian.Uint64(word[:])}, rest, true
	}
	mag := slices.Clone(b)
	slices.Reverse(mag)
	v := new(big.Int).SetBytes(mag)
	if negative {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return numberOfInt(v, t), rest, true
}

func appendAccumulator(dst []byte, a *exactsum.Accumulator) []byte {
	var scratch [maxEncoded]byte
	b, _ := a.AppendBinary(scratch[:0]) // never fails
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// cutAccumulator decodes the output of appendAccumulator into a, which is unchanged on an error.
func cutAccumulator(data []byte, a *exactsum.Accumulator) (rest []byte, err error) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) || size > 1 && n>>(7*(size-1)) == 0 {
		return nil, errors.New("an accumulator's length is invalid")
	}
	return data[size+int(n):], a.UnmarshalBinary(data[size : size+int(n)])
}

// body checks the first byte and returns the rest.
func (p *Plan) body(task int, partial []byte) (kind byte, body []byte, err error) {
	if task < 0 || task >= p.Tasks() {
		return 0, nil, fmt.Errorf("%w: there is no task %d of %d", ErrPartial, task, p.Tasks())
	}
	switch c := p.cut.(type) {
	case *fullReduction:
		kind = partOfChunks
		if c.ranges[task].chunks > 0 {
			kind = wholeChunks
		}
	case outputPartitioner:
		kind = c.partialKind()
	}
	if len(partial) > 0 && partial[0]>>4 > partialVersion {
		return 0, nil, fmt.Errorf("%w: %d", ErrVersion, partial[0]>>4)
	}
	if len(partial) == 0 || partial[0] != kind {
		return 0, nil, fmt.Errorf("%w: it does not begin with %#x", ErrPartial, kind)
	}
	return kind, partial[1:], nil
}

// outputPartitioner is the partitioner of a reduction over some of the axes.
type outputPartitioner interface {
	partitioner
	// outputs returns the range of outputs, in order of their numbers, that a task sums.
	outputs(task int) (first, n int64)
	partialKind() byte
}

// outputKind returns the type of the partials of tasks that sum segments of the outputs.
func outputKind(segments int64, merged bool) byte {
	switch {
	case segments > 1:
		return partOfOutputs
	case merged:
		return wholeOutputs
	}
	return rangeOfOutputs
}

// outputs appends the outputs of a task to its partial.
type outputs struct {
	plan   *Plan
	kind   byte
	dst    []byte
	ranges ranges
}

func (p *Plan) newOutputs(kind byte, dst []byte) *outputs {
	return &outputs{p, kind, append(dst, kind), newRanges(len(p.red.ops))}
}

// add appends output i, whose state is state k of s, and yields its item if the task completes it.
func (o *outputs) add(w *Worker, i int64, s states, k int64, yield func(Item) error) error {
	if o.kind == partOfOutputs {
		o.dst = s.append(o.dst, k)
		return nil
	}
	a, m := s.at(k)
	var err error
	if w.values, err = o.plan.red.outputs(w.values[:0], a, m); err != nil {
		return err
	}
	it := Item{o.plan.itemIndex(i), w.values}
	if err := yield(it); err != nil {
		return err
	}
	if o.kind == rangeOfOutputs {
		o.ranges.add(it)
		return nil
	}
	for _, v := range it.Values {
		o.dst = appendNumber(o.dst, v)
	}
	return nil
}

// end returns the partial.
func (o *outputs) end() []byte {
	if o.kind == rangeOfOutputs {
		return o.ranges.append(o.dst)
	}
	return o.dst
}
