package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// squares writes the fold of squares: of each float64 the rounded product into three levels and its error, one level
// lower, into three, and of each float32 the product, which is exact, into three.
func squares(v isa, t float) {
	function("folds the squares of n elements, a multiple of 32, into levels that start at init. moved and rest are as in "+
		"fold64.", "squares"+t.name+v.name,
		"(x *"+t.goType+", n int, init *[4]float64, levels *[4]int64) (moved, rest uint64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	inits, out := Load(Param("init"), GP64()), Load(Param("levels"), GP64())
	init := v.reg()
	VBROADCASTSD(at(inits, 0), init)
	c := newCheck(v, init, v.bytes == 64)
	depth := t.squareDepth()
	lanes := v.bytes / 16 // as many as there are registers for
	s := make([][]reg.VecVirtual, depth)
	for level := range s {
		s[level] = v.regs(lanes)
		VBROADCASTSD(at(inits, 8*level), s[level][0])
		for i := range lanes - 1 {
			move(s[level][0], s[level][i+1])
		}
	}
	step := lanes * v.bytes / 8
	loop("squares", n, step, func() {
		for i := range lanes {
			x := v.reg()
			t.load(at(p, i*v.bytes/8*t.size), x)
			c.addSquare(t, x, func(level int) reg.VecVirtual { return s[level][i] })
		}
		ADDQ(operand.U32(step*t.size), p)
	})
	for _, r := range s[0] {
		c.end(r)
	}
	c.results(0)
	for level := range s {
		start := v.reg()
		VBROADCASTSD(at(inits, 8*level), start)
		for _, r := range s[level] {
			VPSUBQ(start, r, r)
		}
		MOVQ(v.sum64(s[level]).(reg.GPVirtual), at(out, 8*level))
	}
	VZEROUPPER()
	RET()
}

// squareDepth returns the number of levels for squares.
func (t float) squareDepth() int {
	if t.size == 4 {
		return 3
	}
	return 4
}

// addSquare adds the square of x to the levels.
func (c check) addSquare(t float, x reg.VecVirtual, s func(level int) reg.VecVirtual) {
	if t.size == 4 {
		VMULPD(x, x, x)
		c.first(s(0), x)
		c.next(s(1), x)
		c.last(s(2), x)
		return
	}
	product, rest := c.reg(), c.reg()
	c.square(x, product, rest)
	c.first(s(0), product)
	c.next(s(1), product)
	c.next(s(1), rest)
	c.last(s(2), product)
	c.next(s(2), rest)
	c.last(s(3), rest)
}

// squareColumns writes the fold of squares for columns.
func squareColumns(v isa, t float) {
	function("folds the squares of width columns, a positive multiple of 8, each into its levels, of which the first "+
		"started at init. Rows are stride bytes apart. moved and rest are as in fold64.", "squareColumns"+t.name+v.name,
		"(x *"+t.goType+", stride, width, rows int, init *float64, levels *[4][1024]float64) (moved, rest uint64)")
	c := newCheck(v, nil, v.bytes == 64)
	init, levels := Load(Param("init"), GP64()), Load(Param("levels"), GP64())
	byColumns(t.size, v.bytes/8, func(mems []operand.Mem, i reg.Register) {
		state := func(level int) operand.Mem {
			return operand.Mem{Base: levels, Index: i, Scale: 8, Disp: level * 8 * tileLen}
		}
		s := v.regs(t.squareDepth())
		for level := range s {
			VMOVUPD(state(level), s[level])
		}
		c := c.startAt(init, i)
		for _, m := range mems {
			x := v.reg()
			t.load(m, x)
			c.addSquare(t, x, func(level int) reg.VecVirtual { return s[level] })
		}
		for level := range s {
			VMOVUPD(s[level], state(level))
		}
	})
	c.endColumns(init, levels)
	c.results(0)
	VZEROUPPER()
	RET()
}

// square sets product to the rounded square of x and rest to its error, and records whether the error underflowed.
func (c check) square(x, product, rest reg.VecVirtual) {
	if c.sticky {
		VMULPD_RN_SAE(x, x, product) // rounded intentionally
		move(product, rest)
		VFMSUB231PD(x, x, rest) // rounded only if it underflows
		return
	}
	VMULPD(x, x, product)
	move(product, rest)
	VFMSUB231PD(x, x, rest)
	// A product that is not 0 and underflowed is too small for the last level. One that became 0 would be missed: it
	// counts x as lost.
	zero := c.zero()
	VCMPPD(operand.Imm(0), product, zero, zero)
	VANDPD(zero, x, x)
	VORPD(x, c.rest, c.rest)
}
