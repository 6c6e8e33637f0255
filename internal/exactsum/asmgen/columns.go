package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileLen is the length of the arrays of levels and halves, as in package exactsum.
const tileLen = 1024

// rowsAtOnce is the number of rows added to a vector of columns between its load and its store.
const rowsAtOnce = 4

// byColumns writes the frame of a column kernel: for every few rows, body for every vector of columns. It loads the
// parameters x, stride (bytes), width (columns, a multiple of lanes) and rows; body gets the addresses of the rows'
// elements and the index of the first column.
func byColumns(size, lanes int, body func(x []operand.Mem, v reg.Register)) {
	x, stride := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("stride"), GP64()).(reg.GPVirtual)
	width, rows := Load(Param("width"), GP64()).(reg.GPVirtual), Load(Param("rows"), GP64()).(reg.GPVirtual)
	stride3 := GP64()
	LEAQ(operand.Mem{Base: stride, Index: stride, Scale: 2}, stride3)
	fromRow := func(p reg.Register) []operand.Mem {
		return []operand.Mem{
			{Base: p},
			{Base: p, Index: stride, Scale: 1},
			{Base: p, Index: stride, Scale: 2},
			{Base: p, Index: stride3, Scale: 1},
		}
	}
	for _, step := range []int{rowsAtOnce, 1} {
		name := fmt.Sprintf("rows%d", step)
		Label(name)
		CMPQ(rows, operand.Imm(uint64(step)))
		JLT(operand.LabelRef(name + "Done"))
		p, v := GP64(), GP64()
		MOVQ(x, p)
		LEAQ(operand.Mem{Base: x, Index: stride, Scale: uint8(step)}, x)
		var next reg.GPVirtual
		if step == rowsAtOnce {
			next = GP64()
			MOVQ(x, next)
		}
		XORQ(v, v)
		Label(name + "Columns")
		if step == rowsAtOnce {
			// Prefetch the following rows at the same columns, which the hardware cannot predict from the addresses.
			// Into the second-level cache: the first level has too few buffers for misses to reach the memory's speed.
			for _, m := range fromRow(next) {
				PREFETCHT1(m)
			}
			ADDQ(operand.U32(size*lanes), next)
		}
		body(fromRow(p)[:step], v)
		ADDQ(operand.U32(size*lanes), p)
		ADDQ(operand.U32(lanes), v)
		CMPQ(v, width)
		JLT(operand.LabelRef(name + "Columns"))
		SUBQ(operand.U32(step), rows)
		JMP(operand.LabelRef(name))
		Label(name + "Done")
	}
}

func foldColumns(v isa, t float) {
	function("folds width columns, a positive multiple of 8, each into its two levels s1 and s2. Rows are stride bytes "+
		"apart. moved and rest are as in fold64.", "foldColumns"+t.name+v.name,
		"(x *"+t.goType+", stride, width, rows int, init1, s1, s2 *float64) (moved, rest uint64)")
	c := newCheck(v, nil, v.bytes == 64)
	init1, s1, s2 := Load(Param("init1"), GP64()), Load(Param("s1"), GP64()), Load(Param("s2"), GP64())
	byColumns(t.size, v.bytes/8, func(mems []operand.Mem, i reg.Register) {
		state := func(p reg.Register) operand.Mem { return operand.Mem{Base: p, Index: i, Scale: 8} }
		a, b := v.reg(), v.reg()
		c := c.startAt(init1, i)
		VMOVUPD(state(s1), a)
		VMOVUPD(state(s2), b)
		for _, m := range mems {
			x := v.reg()
			t.load(m, x)
			c.first(a, x)
			c.last(b, x)
		}
		VMOVUPD(a, state(s1))
		VMOVUPD(b, state(s2))
	})
	c.endColumns(init1, s1)
	c.results(0)
	VZEROUPPER()
	RET()
}

// startAt returns c for columns from i on, with the start of their first levels if first needs it.
func (c check) startAt(init, i reg.Register) check {
	if !c.sticky {
		c.init = c.reg()
		VMOVUPD(operand.Mem{Base: init, Index: i, Scale: 8}, c.init)
	}
	return c
}

// endColumns is end for the first levels of all columns.
func (c check) endColumns(init, levels reg.Register) {
	if !c.sticky {
		return
	}
	i, width := GP64(), Load(Param("width"), GP64())
	XORQ(i, i)
	Label("end")
	s := c.reg()
	c.init = c.reg()
	VMOVUPD(operand.Mem{Base: init, Index: i, Scale: 8}, c.init)
	VMOVUPD(operand.Mem{Base: levels, Index: i, Scale: 8}, s)
	c.end(s)
	ADDQ(operand.U32(c.bytes/8), i)
	CMPQ(i, width)
	JLT(operand.LabelRef("end"))
}

func columns16(v isa) {
	function("adds width columns of binary16 values, a positive multiple of 4, to sum. Rows are stride bytes apart.",
		"columns16"+v.name, "(x *uint16, stride, width, rows int, sum *float64)")
	sum := Load(Param("sum"), GP64())
	byColumns(2, 4, func(mems []operand.Mem, i reg.Register) {
		state := operand.Mem{Base: sum, Index: i, Scale: 8}
		s := YMM()
		VMOVUPD(state, s)
		for _, m := range mems {
			x := XMM()
			wide := YMM()
			VCVTPH2PS(m, x)
			VCVTPS2PD(x, wide)
			VADDPD(wide, s, s)
		}
		VMOVUPD(s, state)
	})
	VZEROUPPER()
	RET()
}

func columnsInt(t integer) {
	switch t.size {
	case 8:
		t.columnsWide()
	case 4:
		t.columnsSum("adds width columns, a positive multiple of 4, to sum", 4, t.widen, VPADDQ)
	default:
		t.columnsSum("adds width columns, a positive multiple of 8, of at most 2^14 rows to sum", 8, t.widen32, VPADDD)
	}
}

// columnsSum writes a kernel whose sums have the size of widened elements.
func (t integer) columnsSum(doc string, lanes int, widen func(mem, to operand.Op), add instruction) {
	function(doc+". Rows are stride bytes apart.", "columns"+t.name+"AVX2",
		fmt.Sprintf("(x *%s, stride, width, rows int, sum *uint%d)", t.goType, 256/lanes))
	sum := Load(Param("sum"), GP64())
	zero := avx2.zero()
	byColumns(t.size, lanes, func(mems []operand.Mem, i reg.Register) {
		state := operand.Mem{Base: sum, Index: i, Scale: uint8(32 / lanes)}
		s := YMM()
		VMOVDQU(state, s)
		for _, m := range mems {
			x := YMM()
			widen(m, x)
			if t.name == "Bool" {
				VPCMPGTD(zero, x, x) // -1 for non-zero elements
				VPSUBD(x, s, s)
			} else {
				add(x, s, s)
			}
		}
		VMOVDQU(s, state)
	})
	VZEROUPPER()
	RET()
}

// columnsWide writes the kernel for 64-bit integers.
func (t integer) columnsWide() {
	doc := "adds width columns, a positive multiple of 4, to sum modulo 2^64, and their upper halves to high"
	if t.signed {
		doc += ", each 2^31 too large"
	}
	function(doc+". Rows are stride bytes apart.", "columns"+t.name+"AVX2",
		"(x *"+t.goType+", stride, width, rows int, sum, high *uint64)")
	sum, high, flip := Load(Param("sum"), GP64()), Load(Param("high"), GP64()), t.signBit()
	byColumns(t.size, 4, func(mems []operand.Mem, i reg.Register) {
		sumState := operand.Mem{Base: sum, Index: i, Scale: 8}
		highState := operand.Mem{Base: high, Index: i, Scale: 8}
		s, h := YMM(), YMM()
		VMOVDQU(sumState, s)
		VMOVDQU(highState, h)
		for _, m := range mems {
			x := YMM()
			t.widen(m, x)
			VPADDQ(x, s, s)
			t.upper(x, flip)
			VPADDQ(x, h, h)
		}
		VMOVDQU(s, sumState)
		VMOVDQU(h, highState)
	})
	VZEROUPPER()
	RET()
}
