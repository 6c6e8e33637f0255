package chunked

import (
	"encoding/binary"
	"fmt"
	"math/big"
)

// numberRange is the range of a set of integers, and those that their dtype cannot hold. Of floats, which always fit, it
// has nothing.
type numberRange struct {
	n      int64
	lo, hi Number
	// beyond is the number of integers that do not fit, first the smallest index of one.
	beyond, first int64
}

func (r *numberRange) add(index int64, v Number) {
	if v.dtype.IsFloat() {
		return
	}
	if v.fits() {
		r.merge(numberRange{n: 1, lo: v, hi: v})
	} else {
		r.merge(numberRange{n: 1, lo: v, hi: v, beyond: 1, first: index})
	}
}

// ranges has the range of each statistic.
type ranges []numberRange

func newRanges(n int) ranges { return make(ranges, n) }

func (r ranges) add(it Item) {
	for i, v := range it.Values {
		r[i].add(it.Index, v)
	}
}

func (r ranges) append(dst []byte) []byte {
	for i := range r {
		dst = r[i].append(dst)
	}
	return dst
}

// cutRanges decodes the ranges of n outputs, which must be all of data. Errors: ErrPartial.
func cutRanges(data []byte, dtypes []DType, n int64) (ranges, error) {
	r := newRanges(len(dtypes))
	for i, t := range dtypes {
		var err error
		if r[i], data, err = cutRange(data, t, n); err != nil {
			return nil, err
		}
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%w: %d bytes follow its ranges", ErrPartial, len(data))
	}
	return r, nil
}

func (r ranges) merge(o ranges) {
	for i := range o {
		r[i].merge(o[i])
	}
}

func (r *numberRange) merge(o numberRange) {
	if o.n == 0 {
		return
	}
	if r.n == 0 || o.lo.cmp(r.lo) < 0 {
		r.lo = o.lo
	}
	if r.n == 0 || o.hi.cmp(r.hi) > 0 {
		r.hi = o.hi
	}
	if r.beyond == 0 || o.beyond > 0 && o.first < r.first {
		r.first = o.first
	}
	r.n += o.n
	r.beyond += o.beyond
}

// append appends the encoded range: its count and, unless that is 0, the other fields.
func (r *numberRange) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.n))
	if r.n == 0 {
		return dst
	}
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(r.beyond)), uint64(r.first))
	return appendNumber(appendNumber(dst, r.lo), r.hi)
}

// cutRange decodes the range of n numbers from the front of data. Errors: ErrPartial.
func cutRange(data []byte, t DType, n int64) (r numberRange, rest []byte, err error) {
	fail := func(what string) (numberRange, []byte, error) {
		return numberRange{}, nil, fmt.Errorf("%w: %s of its range is malformed", ErrPartial, what)
	}
	if t.IsFloat() {
		n = 0
	}
	var counts [3]uint64 // n, beyond, first
	for i := range counts {
		v, size := binary.Uvarint(data)
		if size <= 0 || size > 1 && v>>(7*(size-1)) == 0 || v > 1<<62 {
			return fail("a count")
		}
		counts[i], data = v, data[size:]
		if v == 0 && i == 0 {
			break
		}
	}
	r = numberRange{n: int64(counts[0]), beyond: int64(counts[1]), first: int64(counts[2])}
	if r.n != n || r.beyond > n {
		return fail("the count")
	}
	if n > 0 {
		var ok bool
		if r.lo, data, ok = cutNumber(data, t); !ok {
			return fail("the minimum")
		}
		if r.hi, data, ok = cutNumber(data, t); !ok || r.lo.cmp(r.hi) > 0 {
			return fail("the maximum")
		}
		if r.beyond == 0 && (r.first != 0 || !r.lo.fits() || !r.hi.fits()) || r.beyond > 0 && r.lo.fits() && r.hi.fits() {
			return fail("the number of integers that do not fit")
		}
	}
	return r, data, nil
}

// narrowest returns the narrowest integer type that holds the range, with the same signedness if possible; Float64 if
// there is none.
func (r *numberRange) narrowest() DType {
	var lo, hi big.Int
	r.lo.setInt(&lo)
	r.hi.setInt(&hi)
	dtype := r.lo.dtype
	for _, unsigned := range []bool{dtype.isUnsigned(), !dtype.isUnsigned()} {
		for t := Int8; t <= Uint64; t++ {
			if t.isUnsigned() == unsigned && numberOfInt(&lo, t).fits() && numberOfInt(&hi, t).fits() {
				return t
			}
		}
	}
	return Float64
}
