package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// squareVectors is the number of vectors per iteration of an integer kernel for squares.
const squareVectors = 4

// squaresInt writes the sum of squares of integers. Products of 64 bits are added in two halves.
func (t integer) squaresInt() {
	doc := "sets sums[0] to the sum of the squares of n elements, a multiple of 128 and at most 2^19."
	halves := 1 // pairs of accumulators for halves
	switch t.size {
	case 4:
		doc = "sets sums to the sums of the lower and upper halves of the squares of n elements, a multiple of 128."
	case 8:
		doc = "sets sums to the sums of the lower and upper halves of l*l, l*h and h*h for n elements, a multiple of 128, " +
			"with lower halves l and upper halves h of their magnitudes."
		halves = 3
	}
	function(doc, "squares"+t.name+"AVX2", "(x *"+t.goType+", n int, sums *[6]uint64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	out := Load(Param("sums"), GP64())
	var lower, upper []reg.VecVirtual
	for range halves {
		lower, upper = append(lower, avx2.zero()), append(upper, avx2.zero())
	}
	k := t.newSquareInts()
	elements := 4
	if t.size == 1 || t.name == "Int16" {
		elements = 16
	}
	loop("squares", n, squareVectors*elements, func() {
		for i := range squareVectors {
			x, m := YMM(), at(p, i*elements*t.size)
			if t.size == 1 {
				if t.signed {
					VPMOVSXBW(m, x)
				} else {
					VPMOVZXBW(m, x)
				}
				VPMADDWD(x, x, x)
				VPADDD(x, lower[0], lower[0]) // 2^15 times below 2^17
				continue
			}
			if t.name == "Int16" {
				VMOVDQU(m, x)
				VPMADDWD(x, x, x) // sums of two squares, at most 2^31
				k.split(x, lower[0], lower[0])
				continue
			}
			k.add(m, lower, upper)
		}
		ADDQ(operand.U32(squareVectors*elements*t.size), p)
	})
	if t.size == 1 {
		VPSRLQ(operand.Imm(32), lower[0], upper[0])
		VPAND(k.mask, lower[0], lower[0])
		VPADDQ(upper[0], lower[0], lower[0])
	}
	for i := range halves {
		MOVQ(avx2.sum64(lower[i:i+1]).(reg.GPVirtual), at(out, 16*i))
		if t.size >= 4 {
			MOVQ(avx2.sum64(upper[i:i+1]).(reg.GPVirtual), at(out, 16*i+8))
		}
	}
	VZEROUPPER()
	RET()
}

// squareInts adds squares of integers to sums of halves of products.
type squareInts struct {
	integer
	zero, mask reg.VecVirtual
}

func (t integer) newSquareInts() squareInts {
	k := squareInts{t, avx2.zero(), YMM()}
	VPCMPEQD(k.mask, k.mask, k.mask)
	VPSRLQ(operand.Imm(32), k.mask, k.mask)
	return k
}

// halves returns the number of sums of lower and of upper halves.
func (t integer) halves() (lower, upper int) {
	switch t.size {
	case 8:
		return 3, 3
	case 4:
		return 1, 1
	}
	return 1, 0
}

// split adds the halves of 64 bits to lower and upper.
func (k squareInts) split(x, lower, upper reg.VecVirtual) {
	low := YMM()
	VPAND(k.mask, x, low)
	VPADDQ(low, lower, lower)
	VPSRLQ(operand.Imm(32), x, x)
	VPADDQ(x, upper, upper)
}

// add adds the squares of four elements.
func (k squareInts) add(m operand.Mem, lower, upper []reg.VecVirtual) {
	split := func(i int, product reg.VecVirtual) { k.split(product, lower[i], upper[i]) }
	x := YMM()
	k.widen(m, x)
	switch {
	case k.size <= 2:
		VPMULDQ(x, x, x)
		VPADDQ(x, lower[0], lower[0])
	case k.size == 4 && k.signed:
		VPMULDQ(x, x, x)
		split(0, x)
	case k.size == 4:
		VPMULUDQ(x, x, x)
		split(0, x)
	default:
		if k.signed {
			sign := YMM()
			VPCMPGTQ(x, k.zero, sign)
			VPXOR(sign, x, x)
			VPSUBQ(sign, x, x)
		}
		high, product := YMM(), YMM()
		VPSRLQ(operand.Imm(32), x, high)
		VPMULUDQ(x, x, product)
		split(0, product)
		VPMULUDQ(x, high, product)
		split(1, product)
		VPMULUDQ(high, high, product)
		split(2, product)
	}
}

// squareColumnsInt writes the sums of squares of columns.
func (t integer) squareColumnsInt() {
	function("adds the squares of width columns, a positive multiple of 4, to the sums of the halves that squares"+t.name+
		"AVX2 sets. Rows are stride bytes apart.", "squareColumns"+t.name+"AVX2",
		"(x *"+t.goType+", stride, width, rows int, sums *[6][1024]uint64)")
	sums := Load(Param("sums"), GP64())
	k := t.newSquareInts()
	nLower, nUpper := t.halves()
	byColumns(t.size, 4, func(mems []operand.Mem, v reg.Register) {
		state := func(i int) operand.Mem { return operand.Mem{Base: sums, Index: v, Scale: 8, Disp: i * 8 * tileLen} }
		lower, upper := avx2.regs(nLower), avx2.regs(nUpper)
		for i, r := range lower {
			VMOVDQU(state(2*i), r)
		}
		for i, r := range upper {
			VMOVDQU(state(2*i+1), r)
		}
		for _, m := range mems {
			k.add(m, lower, upper)
		}
		for i, r := range lower {
			VMOVDQU(r, state(2*i))
		}
		for i, r := range upper {
			VMOVDQU(r, state(2*i+1))
		}
	})
	VZEROUPPER()
	RET()
}
