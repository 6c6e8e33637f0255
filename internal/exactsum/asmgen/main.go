// Command asmgen writes the assembly kernels of the packages exactsum and extrema. It is a separate module, so that the
// generator is not a dependency of the program; run it with go generate in those packages.
package main

import (
	"flag"
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is a vector instruction set. AVX2 and AVX-512 differ in the width and in the detection of rounding: see newCheck.
type isa struct {
	name  string
	bytes int
}

var (
	avx2   = isa{"AVX2", 32}
	avx512 = isa{"AVX512", 64}
)

func (v isa) reg() reg.VecVirtual {
	if v.bytes == 64 {
		return ZMM()
	}
	return YMM()
}

func (v isa) regs(n int) []reg.VecVirtual {
	r := make([]reg.VecVirtual, n)
	for i := range r {
		r[i] = v.reg()
	}
	return r
}

func (v isa) zero() reg.VecVirtual {
	r := v.reg()
	if v.bytes == 64 {
		VPXORQ(r, r, r)
	} else {
		VPXOR(r, r, r)
	}
	return r
}

// broadcast fills a register with a float64 parameter.
func (v isa) broadcast(param string) reg.VecVirtual {
	x := XMM()
	Load(Param(param), x)
	r := v.reg()
	VBROADCASTSD(x, r)
	return r
}

// constant fills a register with a float64.
func (v isa) constant(f float64) reg.VecVirtual {
	bits, x, r := GP64(), XMM(), v.reg()
	MOVQ(operand.U64(math.Float64bits(f)), bits)
	VMOVQ(bits, x)
	VBROADCASTSD(x, r)
	return r
}

// sum64 adds the 64-bit integers of all registers.
func (v isa) sum64(r []reg.VecVirtual) reg.Register {
	return v.reduce(r, func(a, b, c operand.Op) { VPADDQ(a, b, c) })
}

// or64 ors all 64-bit elements of r.
func (v isa) or64(r reg.VecVirtual) reg.Register {
	return v.reduce([]reg.VecVirtual{r}, func(a, b, c operand.Op) { VPOR(a, b, c) })
}

func (v isa) reduce(r []reg.VecVirtual, op func(a, b, c operand.Op)) reg.Register {
	acc := r[0]
	for _, x := range r[1:] {
		op(x, acc, acc)
	}
	if v.bytes == 64 {
		high := YMM()
		VEXTRACTI64X4(operand.Imm(1), acc, high)
		low := YMM()
		VEXTRACTI64X4(operand.Imm(0), acc, low)
		op(high, low, low)
		acc = low
	}
	high, low := XMM(), XMM()
	VEXTRACTI128(operand.Imm(1), acc, high)
	VEXTRACTI128(operand.Imm(0), acc, low)
	op(high, low, low)
	VPSHUFD(operand.Imm(0x4e), low, high)
	op(high, low, low)
	out := GP64()
	VMOVQ(low, out)
	return out
}

// loop runs body while n, a count of elements, lasts: body processes step of them and advances its own pointers.
func loop(name string, n reg.GPVirtual, step int, body func()) {
	TESTQ(n, n)
	JZ(operand.LabelRef(name + "Done"))
	Label(name)
	body()
	SUBQ(operand.U32(step), n)
	JNZ(operand.LabelRef(name))
	Label(name + "Done")
}

func at(p reg.Register, offset int) operand.Mem { return operand.Mem{Base: p, Disp: offset} }

// function starts a function with a name and a signature.
func function(doc, name, signature string) {
	TEXT(name, NOSPLIT, "func"+signature)
	Pragma("noescape")
	Doc(fmt.Sprintf("%s %s", name, doc))
}

func main() {
	pkg := flag.Lookup("pkg")
	flag.Parse()
	ConstraintExpr("amd64,!purego")
	if pkg.Value.String() == "extrema" {
		extrema()
	} else {
		exact()
	}
	Generate()
}

func exact() {
	for _, v := range []isa{avx2, avx512} {
		for _, t := range floats {
			fold(v, t)
			single(v, t)
			foldColumns(v, t)
			squares(v, t)
			squareColumns(v, t)
		}
	}
	extract(avx2)
	sum16(avx2)
	columns16(avx2)
	sums()
	for _, t := range integers {
		columnsInt(t)
		if t.name != "Bool" {
			t.squaresInt()
			t.squareColumnsInt()
		}
	}
	swaps()
}
