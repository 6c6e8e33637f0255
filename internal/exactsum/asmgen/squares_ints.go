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
	zero, mask := avx2.zero(), YMM()
	VPCMPEQD(mask, mask, mask)
	VPSRLQ(operand.Imm(32), mask, mask)
	split := func(i int, product reg.VecVirtual) {
		low := YMM()
		VPAND(mask, product, low)
		VPADDQ(low, lower[i], lower[i])
		VPSRLQ(operand.Imm(32), product, product)
		VPADDQ(product, upper[i], upper[i])
	}
	elements := 4
	if t.size == 1 {
		elements = 16
	}
	loop("squares", n, squareVectors*elements, func() {
		prefetchLines(p, squareVectors*elements*t.size)
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
			t.widen(m, x)
			switch t.size {
			case 2:
				VPMULDQ(x, x, x)
				VPADDQ(x, lower[0], lower[0])
			case 4:
				if t.signed {
					VPMULDQ(x, x, x)
				} else {
					VPMULUDQ(x, x, x)
				}
				split(0, x)
			default:
				if t.signed {
					sign := YMM()
					VPCMPGTQ(x, zero, sign)
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
		ADDQ(operand.U32(squareVectors*elements*t.size), p)
	})
	if t.size == 1 {
		VPSRLQ(operand.Imm(32), lower[0], upper[0])
		VPAND(mask, lower[0], lower[0])
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
