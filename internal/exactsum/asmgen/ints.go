package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// integer is an element type of the integer kernels.
type integer struct {
	name, goType string
	size         int
	signed       bool
	// widen loads four elements as 64-bit ones.
	widen func(mem, to operand.Op)
	// widen32 loads eight elements of at most 16 bits as 32-bit ones.
	widen32 func(mem, to operand.Op)
}

var integers = []integer{
	{"Int64", "int64", 8, true, func(mem, to operand.Op) { VMOVDQU(mem, to) }, nil},
	{"Uint64", "uint64", 8, false, func(mem, to operand.Op) { VMOVDQU(mem, to) }, nil},
	{"Int32", "int32", 4, true, func(mem, to operand.Op) { VPMOVSXDQ(mem, to) }, nil},
	{"Uint32", "uint32", 4, false, func(mem, to operand.Op) { VPMOVZXDQ(mem, to) }, nil},
	{"Int16", "int16", 2, true, func(mem, to operand.Op) { VPMOVSXWQ(mem, to) }, func(mem, to operand.Op) { VPMOVSXWD(mem, to) }},
	{"Uint16", "uint16", 2, false, func(mem, to operand.Op) { VPMOVZXWQ(mem, to) }, func(mem, to operand.Op) { VPMOVZXWD(mem, to) }},
	{"Int8", "int8", 1, true, func(mem, to operand.Op) { VPMOVSXBQ(mem, to) }, func(mem, to operand.Op) { VPMOVSXBD(mem, to) }},
	{"Uint8", "uint8", 1, false, func(mem, to operand.Op) { VPMOVZXBQ(mem, to) }, func(mem, to operand.Op) { VPMOVZXBD(mem, to) }},
	{"Bool", "uint8", 1, false, func(mem, to operand.Op) { VPMOVZXBQ(mem, to) }, func(mem, to operand.Op) { VPMOVZXBD(mem, to) }},
}

// vectors is the number of vectors per iteration of an integer kernel, each with its own sum.
const vectors = 4

// sums writes the sum of a slice for every integer type.
func sums() {
	for _, t := range integers {
		switch {
		case t.size == 8:
			t.sumHalves()
		case t.size == 4:
			t.sum("", nil, func(m operand.Mem, _, s reg.VecVirtual) {
				for _, half := range []operand.Mem{m, m.Offset(16)} {
					x := YMM()
					t.widen(half, x)
					VPADDQ(x, s, s)
				}
			})
		case t.size == 2:
			t.sumPairs()
		case t.name == "Bool":
			t.sum(", times 255, of the bytes that are zero", zeros, func(m operand.Mem, zero, s reg.VecVirtual) {
				x := YMM()
				VPCMPEQB(m, zero, x)
				VPSADBW(zero, x, x)
				VPADDQ(x, s, s)
			})
		case t.signed:
			t.sum(" plus 128*n", signBytes, func(m operand.Mem, flip, s reg.VecVirtual) {
				x := YMM()
				VPXOR(m, flip, x)
				sumBytes(x, s)
			})
		default:
			t.sum("", nil, func(m operand.Mem, _, s reg.VecVirtual) {
				x := YMM()
				VMOVDQU(m, x)
				sumBytes(x, s)
			})
		}
	}
}

func zeros() reg.VecVirtual { return avx2.zero() }

// signBytes has the top bit of every byte set.
func signBytes() reg.VecVirtual {
	r := YMM()
	VPCMPEQD(r, r, r)
	VPSLLW(operand.Imm(15), r, r) // -32768 in every word, which saturates to -128
	VPACKSSWB(r, r, r)
	return r
}

func sumBytes(x, s reg.VecVirtual) {
	zero := avx2.zero()
	VPSADBW(zero, x, x)
	VPADDQ(x, s, s)
}

// sum writes a kernel whose sums are 64-bit lanes. It returns the sum, modified as in the remark.
func (t integer) sum(remark string, constant func() reg.VecVirtual, add func(m operand.Mem, constant, s reg.VecVirtual)) {
	function("returns the sum"+remark+", of n elements, a multiple of 128.", "sum"+t.name+"AVX2",
		"(x *"+t.goType+", n int) (sum int64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	var k reg.VecVirtual
	if constant != nil {
		k = constant()
	}
	s := []reg.VecVirtual{avx2.zero(), avx2.zero(), avx2.zero(), avx2.zero()}
	loop("sum", n, vectors*32/t.size, func() {
		for i := range vectors {
			add(at(p, 32*i), k, s[i])
		}
		ADDQ(operand.U32(32*vectors), p)
	})
	Store(avx2.sum64(s), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// sumPairs writes the kernel for 16-bit integers: it adds pairs into 32 bits, which hold 2^15 of them.
func (t integer) sumPairs() {
	remark := ""
	if !t.signed {
		remark = " minus 32768*n"
	}
	function("returns the sum"+remark+", of n elements, a multiple of 128 and at most 2^20.", "sum"+t.name+"AVX2",
		"(x *"+t.goType+", n int) (sum int64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	ones, flip := YMM(), YMM()
	VPCMPEQD(ones, ones, ones)
	VPSLLW(operand.Imm(15), ones, flip)
	VPSRLW(operand.Imm(15), ones, ones)
	s := []reg.VecVirtual{avx2.zero(), avx2.zero(), avx2.zero(), avx2.zero()}
	loop("sum", n, vectors*16, func() {
		for i := range vectors {
			x := YMM()
			if t.signed {
				VPMADDWD(at(p, 32*i), ones, x)
			} else {
				VPXOR(at(p, 32*i), flip, x)
				VPMADDWD(x, ones, x)
			}
			VPADDD(x, s[i], s[i])
		}
		ADDQ(operand.U32(32*vectors), p)
	})
	var wide []reg.VecVirtual
	for _, x := range s {
		low, high, half := YMM(), YMM(), XMM()
		VPMOVSXDQ(x.AsX(), low)
		VEXTRACTI128(operand.Imm(1), x, half)
		VPMOVSXDQ(half, high)
		wide = append(wide, low, high)
	}
	Store(avx2.sum64(wide), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// sumHalves writes the kernel for 64-bit integers.
func (t integer) sumHalves() {
	remark := ""
	if t.signed {
		remark = " plus 2^31*n"
	}
	function("returns the sum of n elements, a multiple of 128, modulo 2^64, and the sum of their upper halves"+remark+".",
		"sum"+t.name+"AVX2", "(x *"+t.goType+", n int) (sum, high uint64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	flip := t.signBit()
	s := []reg.VecVirtual{avx2.zero(), avx2.zero(), avx2.zero(), avx2.zero()}
	h := []reg.VecVirtual{avx2.zero(), avx2.zero(), avx2.zero(), avx2.zero()}
	loop("sum", n, vectors*4, func() {
		for i := range vectors {
			x := YMM()
			VMOVDQU(at(p, 32*i), x)
			VPADDQ(x, s[i], s[i])
			t.upper(x, flip)
			VPADDQ(x, h[i], h[i])
		}
		ADDQ(operand.U32(32*vectors), p)
	})
	Store(avx2.sum64(s), ReturnIndex(0))
	Store(avx2.sum64(h), ReturnIndex(1))
	VZEROUPPER()
	RET()
}

// signBit sets the top bit of every element; it is for upper, and nil for unsigned types.
func (t integer) signBit() reg.VecVirtual {
	if !t.signed {
		return nil
	}
	r := YMM()
	VPCMPEQD(r, r, r)
	VPSLLQ(operand.Imm(63), r, r)
	return r
}

// upper replaces x by its upper half. AVX2 has no arithmetic shift of 64 bits: with the top bit flipped first, the half
// of a signed number is unsigned and 2^31 too large, which the caller subtracts from the total.
func (t integer) upper(x, flip reg.VecVirtual) {
	if t.signed {
		VPXOR(flip, x, x)
	}
	VPSRLQ(operand.Imm(32), x, x)
}
