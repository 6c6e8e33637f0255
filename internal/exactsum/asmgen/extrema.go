package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

type instruction = func(ops ...operand.Op)

// element is an element type of the kernels of package extrema, which are AVX2.
type element struct {
	name, goType   string
	size, lane     int // in bytes, in memory and in a register
	isFloat        bool
	load           instruction
	flip           bool // the top bit, so that the order is that of signed integers
	min, max       instruction
	equal          instruction
	count          instruction
	broadcast      instruction
	posInf, negInf uint64 // of floats
}

func moveUnaligned(ops ...operand.Op) { VMOVDQU(ops[0], ops[1]) }

// select64 returns a minimum or maximum of 64-bit integers, for which AVX2 has only a comparison.
func select64(greatest bool) instruction {
	return func(ops ...operand.Op) { // as for VPMINSD: ops[2] = min(ops[0], ops[1])
		acc, x, to := ops[0], ops[1], ops[2]
		mask := YMM()
		if greatest {
			VPCMPGTQ(acc, x, mask)
		} else {
			VPCMPGTQ(x, acc, mask)
		}
		VBLENDVPD(mask, x, acc, to)
	}
}

func equalFloats(compare instruction) instruction {
	return func(ops ...operand.Op) { compare(append([]operand.Op{operand.Imm(0)}, ops...)...) }
}

// countBytes adds 255 for each byte of a mask to the 64-bit lanes of a register.
func countBytes(ops ...operand.Op) {
	sum := YMM()
	VPSADBW(avx2.zero(), ops[0], sum)
	VPADDQ(sum, ops[1], ops[2])
}

var elements = []element{
	{
		name: "Float64", goType: "float64", size: 8, lane: 8, isFloat: true, load: VMOVUPD, min: VMINPD, max: VMAXPD,
		equal: equalFloats(VCMPPD), count: VPSUBQ, broadcast: VBROADCASTSD, posInf: 0x7ff << 52, negInf: 0xfff << 52,
	},
	{
		name: "Float32", goType: "float32", size: 4, lane: 4, isFloat: true, load: VMOVUPS, min: VMINPS, max: VMAXPS,
		equal: equalFloats(VCMPPS), count: VPSUBD, broadcast: VBROADCASTSS, posInf: 0xff << 23, negInf: 0x1ff << 23,
	},
	{
		name: "Float16", goType: "uint16", size: 2, lane: 4, isFloat: true, load: VCVTPH2PS, min: VMINPS, max: VMAXPS,
		equal: equalFloats(VCMPPS), count: VPSUBD, broadcast: VBROADCASTSS, posInf: 0xff << 23, negInf: 0x1ff << 23,
	},
	{name: "Int64", goType: "int64", size: 8, min: select64(false), max: select64(true)},
	{name: "Uint64", goType: "uint64", size: 8, min: select64(false), max: select64(true), flip: true},
	{name: "Int32", goType: "int32", size: 4, min: VPMINSD, max: VPMAXSD},
	{name: "Uint32", goType: "uint32", size: 4, min: VPMINUD, max: VPMAXUD},
	{name: "Int16", goType: "int16", size: 2, min: VPMINSW, max: VPMAXSW},
	{name: "Uint16", goType: "uint16", size: 2, min: VPMINUW, max: VPMAXUW},
	{name: "Int8", goType: "int8", size: 1, min: VPMINSB, max: VPMAXSB},
	{name: "Uint8", goType: "uint8", size: 1, min: VPMINUB, max: VPMAXUB},
}

// instructions for integers by size.
var integerOps = map[int]struct{ equal, count, broadcast instruction }{
	8: {VPCMPEQQ, VPSUBQ, VPBROADCASTQ},
	4: {VPCMPEQD, VPSUBD, VPBROADCASTD},
	2: {VPCMPEQW, VPSUBW, VPBROADCASTW},
	1: {VPCMPEQB, countBytes, VPBROADCASTB},
}

// extrema writes the kernels of package extrema.
func extrema() {
	found := map[int]bool{}
	for _, t := range elements {
		if t.isFloat {
			t.scan()
			t.limits()
			t.columns()
			t.index(t.name)
			continue
		}
		ops := integerOps[t.size]
		t.lane, t.load = t.size, moveUnaligned
		t.equal, t.count, t.broadcast = ops.equal, ops.count, ops.broadcast
		t.scan()
		t.limits()
		t.columns()
		if !found[t.size] { // equality does not depend on the sign
			t.goType = fmt.Sprintf("uint%d", 8*t.size)
			t.index(fmt.Sprint(8 * t.size))
			found[t.size] = true
		}
	}
}

// extremaVectors is the number of vectors per iteration; every second has registers of its own.
const extremaVectors = 4

func (t element) step() int { return extremaVectors * 32 / t.lane }

// scan writes the kernel for the extremes and counts of a slice.
func (t element) scan() {
	function(fmt.Sprintf("sets out to four vectors of n elements, a positive multiple of %d and at most 2^19: their "+
		"smallest and largest, without NaNs, and how many are zero and how many NaN.", t.step()),
		"scan"+t.name+"AVX2", "(x *"+t.goType+", n int, out *[16]uint64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	out := Load(Param("out"), GP64())
	const sets = 2
	mins, maxs, zeros, nans := avx2.regs(sets), avx2.regs(sets), avx2.regs(sets), avx2.regs(sets)
	zero := avx2.zero()
	top := t.topBit()
	for i := range sets {
		VPXOR(zeros[i], zeros[i], zeros[i])
		VPXOR(nans[i], nans[i], nans[i])
		switch {
		case t.isFloat:
			t.fill(t.posInf, mins[i])
			t.fill(t.negInf, maxs[i])
		default:
			t.load(at(p, 0), mins[i])
			t.flipTop(top, mins[i])
			move(mins[i], maxs[i])
		}
	}
	loop("scan", n, t.step(), func() {
		for i := range extremaVectors {
			x, mask := YMM(), YMM()
			t.load(at(p, i*32/t.lane*t.size), x)
			set := i % sets
			t.equal(x, zero, mask)
			t.count(mask, zeros[set], zeros[set])
			if t.isFloat {
				t.unordered(x, mask)
				t.count(mask, nans[set], nans[set])
			}
			t.flipTop(top, x)
			// If x is NaN the result is the operand that is given first.
			t.min(mins[set], x, mins[set])
			t.max(maxs[set], x, maxs[set])
		}
		ADDQ(operand.U32(t.step()*t.size), p)
	})
	t.min(mins[0], mins[1], mins[0])
	t.max(maxs[0], maxs[1], maxs[0])
	for _, counts := range [][]reg.VecVirtual{zeros, nans} {
		switch t.lane {
		case 2:
			VPADDW(counts[0], counts[1], counts[0])
		case 4:
			VPADDD(counts[0], counts[1], counts[0])
		default:
			VPADDQ(counts[0], counts[1], counts[0])
		}
	}
	t.flipTop(top, mins[0])
	t.flipTop(top, maxs[0])
	for i, r := range []reg.VecVirtual{mins[0], maxs[0], zeros[0], nans[0]} {
		VMOVDQU(r, at(out, 32*i))
	}
	VZEROUPPER()
	RET()
}

// topBit returns a register with the top bit of every lane, or nil if none is flipped.
func (t element) topBit() reg.VecVirtual {
	if !t.flip {
		return nil
	}
	top := YMM()
	VPCMPEQQ(top, top, top)
	VPSLLQ(operand.Imm(63), top, top)
	return top
}

// flipTop flips the top bit of every lane if the order requires that.
func (t element) flipTop(top, x reg.VecVirtual) {
	if t.flip {
		VPXOR(top, x, x)
	}
}

// limits writes the kernel for the extremes of a slice.
func (t element) limits() {
	function(fmt.Sprintf("sets out to two vectors of n elements, a positive multiple of %d, none of which is NaN: their "+
		"smallest and largest.", t.step()), "range"+t.name+"AVX2", "(x *"+t.goType+", n int, out *[8]uint64)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	out := Load(Param("out"), GP64())
	top := t.topBit()
	mins, maxs := avx2.regs(extremaVectors), avx2.regs(extremaVectors)
	t.load(at(p, 0), mins[0])
	t.flipTop(top, mins[0])
	move(mins[0], maxs[0])
	for i := 1; i < extremaVectors; i++ {
		move(mins[0], mins[i])
		move(mins[0], maxs[i])
	}
	loop("range", n, t.step(), func() {
		for i := range extremaVectors {
			x := YMM()
			t.load(at(p, i*32/t.lane*t.size), x)
			t.flipTop(top, x)
			t.min(mins[i], x, mins[i])
			t.max(maxs[i], x, maxs[i])
		}
		ADDQ(operand.U32(t.step()*t.size), p)
	})
	for i := 1; i < extremaVectors; i++ {
		t.min(mins[0], mins[i], mins[0])
		t.max(maxs[0], maxs[i], maxs[0])
	}
	t.flipTop(top, mins[0])
	t.flipTop(top, maxs[0])
	VMOVDQU(mins[0], at(out, 0))
	VMOVDQU(maxs[0], at(out, 32))
	VZEROUPPER()
	RET()
}

// columns writes the kernel for the extremes of columns.
func (t element) columns() {
	stateType := t.goType
	if t.isFloat {
		stateType = fmt.Sprintf("float%d", 8*t.lane)
	}
	lanes := 32 / t.lane
	function(fmt.Sprintf("extends the ranges lo to hi of width columns, a positive multiple of %d, by all rows, which have no "+
		"NaN. Rows are stride bytes apart.", lanes), "columns"+t.name+"AVX2",
		"(x *"+t.goType+", stride, width, rows int, lo, hi *"+stateType+")")
	lo, hi := Load(Param("lo"), GP64()), Load(Param("hi"), GP64())
	top := t.topBit()
	byColumns(t.size, lanes, func(mems []operand.Mem, i reg.Register) {
		state := func(p reg.Register) operand.Mem { return operand.Mem{Base: p, Index: i, Scale: uint8(t.lane)} }
		least, most := YMM(), YMM()
		VMOVDQU(state(lo), least)
		VMOVDQU(state(hi), most)
		t.flipTop(top, least)
		t.flipTop(top, most)
		for _, m := range mems {
			x := YMM()
			t.load(m, x)
			t.flipTop(top, x)
			t.min(least, x, least)
			t.max(most, x, most)
		}
		t.flipTop(top, least)
		t.flipTop(top, most)
		VMOVDQU(least, state(lo))
		VMOVDQU(most, state(hi))
	})
	VZEROUPPER()
	RET()
}

// fill sets every lane to a float.
func (t element) fill(bits uint64, to reg.VecVirtual) {
	r, x := GP64(), XMM()
	MOVQ(operand.U64(bits), r)
	VMOVQ(r, x)
	t.broadcast(x, to)
}

func (t element) unordered(x, mask operand.Op) {
	if t.lane == 8 {
		VCMPPD(operand.Imm(3), x, x, mask)
	} else {
		VCMPPS(operand.Imm(3), x, x, mask)
	}
}

// index writes the search for the first elements that equal a value.
func (t element) index(name string) {
	valueType := t.goType
	if t.isFloat {
		valueType = fmt.Sprintf("float%d", 8*t.lane)
	}
	function(fmt.Sprintf("returns the index of the first %d of n elements, a multiple of %d, one of which equals v, or n.",
		t.step(), t.step()), "index"+name+"AVX2", "(x *"+t.goType+", n int, v "+valueType+") (index int)")
	p, n := Load(Param("x"), GP64()).(reg.GPVirtual), Load(Param("n"), GP64()).(reg.GPVirtual)
	v := YMM()
	x := XMM()
	if t.isFloat {
		Load(Param("v"), x)
	} else {
		r := GP64()
		Load(Param("v"), r)
		VMOVQ(r, x)
	}
	t.broadcast(x, v)
	i := GP64()
	XORQ(i, i)
	Label("search")
	CMPQ(i, n)
	JGE(operand.LabelRef("found"))
	hits := make([]reg.VecVirtual, extremaVectors)
	for j := range hits {
		x := YMM()
		hits[j] = YMM()
		t.load(at(p, j*32/t.lane*t.size), x)
		t.equal(x, v, hits[j])
	}
	VPOR(hits[1], hits[0], hits[0])
	VPOR(hits[3], hits[2], hits[2])
	VPOR(hits[2], hits[0], hits[0])
	VPTEST(hits[0], hits[0])
	JNZ(operand.LabelRef("found"))
	ADDQ(operand.U32(t.step()), i)
	ADDQ(operand.U32(t.step()*t.size), p)
	JMP(operand.LabelRef("search"))
	Label("found")
	Store(i, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
