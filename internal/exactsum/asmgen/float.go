package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// float is an element type that is widened to float64 when loaded.
type float struct {
	name, goType string
	size         int
	load         func(ops ...operand.Op)
}

var floats = []float{
	{"64", "float64", 8, VMOVUPD},
	{"32", "float32", 4, VCVTPS2PD},
}

// check tracks whether a fold is exact.
type check struct {
	isa
	init, moved reg.VecVirtual
	rest        reg.VecVirtual // the or of all lost remainders, without signs
	sticky      bool           // instead of rest, use the status word's flag for inexact results
	mxcsr       operand.Mem    // memory for the status word
	one         reg.VecVirtual // 1: some additions are fused multiplications by it, which other ports execute
}

// newCheck begins a fold. The status word is only usable where no addition is rounded intentionally, or where AVX-512
// can suppress the flags of additions that are.
func newCheck(v isa, init reg.VecVirtual, sticky bool) check {
	c := check{isa: v, init: init, moved: v.zero(), one: v.constant(1), sticky: sticky}
	if c.sticky {
		// Clear the sticky flags: at the end the flag for inexact results shows whether the last level lost anything.
		c.mxcsr = AllocLocal(8)
		STMXCSR(c.mxcsr)
		w := GP32()
		MOVL(c.mxcsr, w)
		ANDL(operand.U32(0xffffffc0), w)
		MOVL(w, c.mxcsr)
		LDMXCSR(c.mxcsr)
	} else {
		c.rest = v.zero()
	}
	return c
}

// next adds x to s, a level of which the range is not checked, and turns x into the remainder.
func (c check) next(s, x reg.VecVirtual) {
	t := c.reg()
	if c.bytes == 64 {
		// This addition is rounded intentionally: with SAE it does not set flags in the status word.
		VADDPD_RN_SAE(x, s, t)
	} else {
		VADDPD(x, s, t)
	}
	VFMSUB231PD(c.one, t, s)
	VSUBPD(s, x, x)
	move(t, s)
}

// first adds x to s, a first level that starts at init, and turns x into the remainder. It records whether s left its
// binade, unless the status word shows that: then every addition that was exact stays so outside of it, and end looks
// whether s has come back.
func (c check) first(s, x reg.VecVirtual) {
	c.next(s, x)
	if !c.sticky {
		c.stays(s)
	}
}

// end is called for each first level after all additions.
func (c check) end(s reg.VecVirtual) {
	if c.sticky {
		c.stays(s)
	}
}

// stays records whether s, a first level, has left its binade.
func (c check) stays(s reg.VecVirtual) {
	if c.bytes == 64 {
		VPTERNLOGQ(operand.Imm(0xf6), c.init, s, c.moved) // moved |= s ^ init
		return
	}
	moved := c.reg()
	VXORPD(c.init, s, moved)
	VORPD(moved, c.moved, c.moved)
}

// last adds x to s, a last level, and records whether anything was lost.
func (c check) last(s, x reg.VecVirtual) {
	if c.sticky {
		VFMADD231PD(c.one, x, s)
		return
	}
	t := c.reg()
	VADDPD(x, s, t)
	VSUBPD(s, t, s)
	// s moved by exactly x if their bits are equal, apart from the sign of zero.
	VXORPD(s, x, x)
	VORPD(x, c.rest, c.rest)
	move(t, s)
}

// results stores moved and rest as the results from i on.
func (c check) results(i int) {
	Store(c.or64(c.moved), ReturnIndex(i))
	if c.sticky {
		w := GP64()
		STMXCSR(c.mxcsr)
		MOVL(c.mxcsr, w.As32())
		ANDL(operand.Imm(0x20), w.As32())
		Store(w, ReturnIndex(i+1))
		return
	}
	Store(c.or64(c.rest), ReturnIndex(i+1))
}

func move(from, to reg.VecVirtual) { VMOVAPD(from, to) }

// fold writes the two-level fold.
func fold(v isa, t float) {
	function("folds n elements, a multiple of 32, into two levels. The result is exact if moved has no exponent bit "+
		"and rest is zero except for the sign bit.", "fold"+t.name+v.name,
		"(x *"+t.goType+", n int, init1, init2 float64) (upper, lower int64, moved, rest uint64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	init1, init2 := v.broadcast("init1"), v.broadcast("init2")
	c := newCheck(v, init1, v.bytes == 64)
	const lanes = 4
	s1, s2 := v.regs(lanes), v.regs(lanes)
	for i := range lanes {
		move(init1, s1[i])
		move(init2, s2[i])
	}
	step := lanes * v.bytes / 8
	loop("fold", n, step, func() {
		x := v.regs(lanes)
		for i := range lanes {
			t.load(at(p, i*v.bytes/8*t.size), x[i])
		}
		for i := range lanes {
			c.first(s1[i], x[i])
		}
		for i := range lanes {
			c.last(s2[i], x[i])
		}
		ADDQ(operand.U32(step*t.size), p)
	})
	for i := range lanes {
		c.end(s1[i])
	}
	c.results(2)
	for i := range lanes {
		VPSUBQ(init1, s1[i], s1[i])
		VPSUBQ(init2, s2[i], s2[i])
	}
	Store(v.sum64(s1), ReturnIndex(0))
	Store(v.sum64(s2), ReturnIndex(1))
	VZEROUPPER()
	RET()
}

// single writes the one-level fold, for values without remainders. If nothing was lost every addition was exact, so a
// level may leave its binade temporarily.
func single(v isa, t float) {
	function("folds n elements, a multiple of 32, into one level. moved and rest are as in fold64.", "single"+t.name+v.name,
		"(x *"+t.goType+", n int, init float64) (level int64, moved, rest uint64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	init := v.broadcast("init")
	c := newCheck(v, init, true)
	lanes := 32 / (v.bytes / 8) // the vectors of 32 elements
	s := v.regs(lanes)
	for i := range lanes {
		move(init, s[i])
	}
	step := lanes * v.bytes / 8
	loop("single", n, step, func() {
		for i := range lanes {
			x := v.reg()
			t.load(at(p, i*v.bytes/8*t.size), x)
			c.last(s[i], x)
		}
		ADDQ(operand.U32(step*t.size), p)
	})
	for i := range lanes {
		c.end(s[i])
	}
	c.results(1)
	for i := range lanes {
		VPSUBQ(init, s[i], s[i])
	}
	Store(v.sum64(s), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// extract writes the one-level fold that keeps the remainders.
func extract(v isa) {
	function("folds n elements, a multiple of 32, into one level and writes the remainders to rest, which may be x. The "+
		"result is exact if moved has no exponent bit; left is the or of all remainders.", "extract"+v.name,
		"(rest, x *float64, n int, init float64) (level int64, moved, left uint64)")
	out, p := Load(Param("rest"), GP64()).(reg.GPVirtual), Load(Param("x"), GP64()).(reg.GPVirtual)
	n := Load(Param("n"), GP64()).(reg.GPVirtual)
	init := v.broadcast("init")
	c := newCheck(v, init, false)
	const lanes = 4
	s := v.regs(lanes)
	for i := range lanes {
		move(init, s[i])
	}
	loop("extract", n, lanes*4, func() {
		x := v.regs(lanes)
		for i := range lanes {
			VMOVUPD(at(p, 32*i), x[i])
			c.first(s[i], x[i])
			VMOVUPD(x[i], at(out, 32*i))
			VORPD(x[i], c.rest, c.rest)
		}
		ADDQ(operand.U32(32*lanes), p)
		ADDQ(operand.U32(32*lanes), out)
	})
	for i := range lanes {
		VPSUBQ(init, s[i], s[i])
	}
	Store(v.sum64(s), ReturnIndex(0))
	Store(c.or64(c.moved), ReturnIndex(1))
	Store(c.or64(c.rest), ReturnIndex(2))
	VZEROUPPER()
	RET()
}

// sum16 writes the sum of binary16 values, whose blocks are added in float64 without rounding.
func sum16(v isa) {
	function("adds n binary16 values, a multiple of 32 and at most 8192, without rounding.", "sum16"+v.name,
		"(x *uint16, n int) (sum float64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	s := []reg.VecVirtual{v.zero(), v.zero(), v.zero(), v.zero()}
	loop("sum", n, 32, func() {
		for i := range 4 {
			h, high := YMM(), XMM()
			VCVTPH2PS(at(p, 16*i), h)
			low := YMM()
			VCVTPS2PD(h.AsX(), low)
			VADDPD(low, s[2*i%4], s[2*i%4])
			VEXTRACTF128(operand.Imm(1), h, high)
			wide := YMM()
			VCVTPS2PD(high, wide)
			VADDPD(wide, s[(2*i+1)%4], s[(2*i+1)%4])
		}
		ADDQ(operand.Imm(64), p)
	})
	VADDPD(s[1], s[0], s[0])
	VADDPD(s[3], s[2], s[2])
	VADDPD(s[2], s[0], s[0])
	high := XMM()
	VEXTRACTF128(operand.Imm(1), s[0], high)
	low := s[0].AsX()
	VADDPD(high, low, low)
	VPERMILPD(operand.Imm(1), low, high)
	VADDSD(high, low, low)
	Store(low, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
