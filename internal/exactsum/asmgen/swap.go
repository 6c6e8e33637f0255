package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// swaps writes the kernels that swap bytes.
func swaps() {
	for _, c := range []struct {
		bits   string
		goType string
		size   int
	}{{"64", "uint64", 8}, {"32", "uint32", 4}, {"16", "uint16", 2}} {
		mask := GLOBL("swapMask"+c.bits, RODATA|NOPTR)
		for i := range 32 {
			DATA(i, operand.U8(i%16/c.size*c.size+c.size-1-i%c.size))
		}
		function("reverses the bytes of n elements, a multiple of 64.", "swap"+c.bits+"AVX2", "(x *"+c.goType+", n int)")
		p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
		m := YMM()
		VMOVDQU(mask, m)
		loop("swap", n, 128/c.size, func() {
			for i := range vectors {
				x := YMM()
				VMOVDQU(at(p, 32*i), x)
				VPSHUFB(m, x, x)
				VMOVDQU(x, at(p, 32*i))
			}
			ADDQ(operand.U32(128), p)
		})
		VZEROUPPER()
		RET()
	}
}
