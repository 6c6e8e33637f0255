package chunked

import (
	"math"
	"math/big"
)

// The constructors of the sources whose elements are generated or given. Each reads all its fields even after an error, so that all errors are reported
// together.

const wantShape = "the length along each axis, such as [1000, 1000]"

// constant returns a source whose elements all equal text.
func (p *parser) constant(text string) Source {
	t := p.dtype
	if t == 0 {
		t = Float64
	}
	p.require("shape", wantShape)
	bits, err := scalar{kind: intScalar, text: []byte(text)}.encode(t)
	if err != nil {
		return nil
	}
	return constant{t, bits}
}

func (p *parser) full() Source {
	p.require("shape", wantShape)
	p.require("fill_value", "the value of all elements")
	v, ok := p.scalar("fill_value")
	if !ok {
		return nil
	}
	t := p.dtype
	if t == 0 {
		t = map[scalarKind]DType{boolScalar: Bool, intScalar: Int64, floatScalar: Float64, specialScalar: Float64}[v.kind]
		if _, err := v.encode(t); err != nil && v.kind == intScalar {
			t = Uint64
		}
	}
	bits, err := v.encode(t)
	if err != nil {
		p.Add("/fill_value", "%v", err)
		return nil
	}
	return constant{t, bits}
}

// numbers returns optional finite numbers with defaults; ints is true if all present ones are integers.
func (p *parser) numbers(keys []string, defaults []string) (vs []scalar, ints, ok bool) {
	ints, ok = true, true
	for i, key := range keys {
		v := scalar{kind: intScalar, text: []byte(defaults[i])}
		if p.Has(key) {
			given, good := p.scalar(key)
			if good && (given.kind == boolScalar || given.kind == specialScalar) {
				p.Add("/"+key, "is not a finite number")
				good = false
			}
			if good && given.kind == intScalar && len(given.text) > 40 {
				p.Add("/"+key, "is %s, beyond every integer dtype", given.short())
				good = false
			}
			if good && given.kind == floatScalar {
				if _, fits := given.float64(); !fits {
					p.Add("/"+key, "is %s, beyond float64", given.short())
					good = false
				}
			}
			if ok = ok && good; good {
				v = given
			}
		}
		ints = ints && v.kind == intScalar
		vs = append(vs, v)
	}
	return vs, ints, ok
}

func (p *parser) arange() Source {
	if !p.Has("stop") && !p.Has("shape") {
		p.Add("/stop", "is missing: set stop or shape")
	}
	vs, ints, ok := p.numbers([]string{"start", "stop", "step"}, []string{"0", "0", "1"})
	if !ok {
		return nil
	}
	t := p.dtype
	if t == 0 && !ints {
		t = Float64
	}
	switch {
	case t == Bool:
		p.Add("/dtype", "is bool, which has no ranges: use an integer or float dtype")
		return nil
	case t.IsFloat():
		return p.arangeFloats(t, vs)
	}
	bounds, ok := integersOf(vs)
	if !ok {
		p.Add("/dtype", "is %s, but start, stop or step is not an integer: use a float dtype, or integers", t)
		return nil
	}
	return p.arangeInts(t, bounds)
}

// integersOf returns the values of numbers without fractional parts; false if one has a fractional part.
func integersOf(vs []scalar) ([]*big.Int, bool) {
	ints := make([]*big.Int, len(vs))
	for i, v := range vs {
		v, ok := v.whole()
		if !ok {
			return nil, false
		}
		if ints[i], ok = new(big.Int).SetString(v.string(), 10); !ok { // invalid JSON
			return nil, false
		}
	}
	return ints, true
}

// integerDType returns the default type for elements from a to b, like numpy.array: int64, or uint64 if only that holds
// them.
func integerDType(a, b *big.Int) DType {
	if (!a.IsInt64() || !b.IsInt64()) && a.IsUint64() && b.IsUint64() {
		return Uint64
	}
	return Int64
}

func (p *parser) arangeFloats(t DType, vs []scalar) Source {
	if step, _ := vs[2].float64(); step == 0 {
		p.Add("/step", "is 0: a step must not be 0")
		return nil
	}
	n, ok := arangeLen(vs[0], vs[1], vs[2])
	if !ok {
		n = math.MaxInt64
	}
	if !p.sequence("stop", n) {
		return nil
	}
	start, _ := vs[0].float64()
	return newArangeFloats(t, start, pySum(vs[0], vs[2]))
}

// arangeInts returns a range of type t, or of the elements' default type if t is 0.
func (p *parser) arangeInts(t DType, bounds []*big.Int) Source {
	start, stop, step := bounds[0], bounds[1], bounds[2]
	if step.Sign() == 0 {
		p.Add("/step", "is 0: a step must not be 0")
		return nil
	}
	// ceil((stop-start)/step) is minus the floor of the quotient of the negated distance.
	q, m := new(big.Int), new(big.Int)
	q.DivMod(new(big.Int).Sub(start, stop), step, m)
	if m.Sign() != 0 && step.Sign() < 0 {
		q.Sub(q, big.NewInt(1)) // DivMod is Euclidean: it rounds up when the divisor is negative
	}
	n := int64(math.MaxInt64)
	if q.Neg(q); q.Sign() <= 0 {
		n = 0
	} else if q.IsInt64() {
		n = q.Int64()
	}
	if !p.sequence("stop", n) {
		return nil
	}
	count, _ := p.shape.Elements()
	last := new(big.Int).Mul(big.NewInt(max(count-1, 0)), step)
	last.Add(last, start)
	if t == 0 {
		t = integerDType(start, last)
	}
	if count > 0 {
		for _, v := range []*big.Int{start, last} {
			if _, err := (scalar{kind: intScalar, text: []byte(v.String())}).encode(t); err != nil {
				p.Add("/dtype", "is too narrow for this range: %v", err)
				return nil
			}
		}
	}
	return arangeInts{t, low64(start), low64(step)}
}

// low64 returns v modulo 2^64.
func low64(v *big.Int) uint64 {
	return new(big.Int).And(v, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
}

// sequence sets the shape of a sequence of n elements, whose number key determines: the description's shape, or (n,).
func (p *parser) sequence(key string, n int64) bool {
	if !p.Has("shape") {
		p.shape = Shape{n}
		p.hasShape = p.checkElements("/" + key)
		return p.hasShape
	}
	if !p.hasShape {
		return false
	}
	if count, _ := p.shape.Elements(); p.Has(key) && count != n {
		p.Add("/shape", "%s has %d elements, but %s makes %d: omit one of the two", p.shape, count, key, n)
		return false
	}
	return true
}

func (p *parser) linspace() Source {
	p.require("start", "the first element")
	p.require("stop", "the last element")
	vs, _, ok := p.numbers([]string{"start", "stop"}, []string{"0", "0"})
	endpoint, has := p.boolean("endpoint")
	if !has {
		endpoint = true
	}
	num := int64(50)
	if p.Has("num") {
		n, good := p.integer("num")
		if good && n < 0 {
			p.Add("/num", "is %d: a number of elements is 0 or more", n)
		}
		ok, num = ok && good && n >= 0, n
	}
	t := p.dtype
	if t == 0 {
		t = Float64
	}
	if !t.IsFloat() {
		p.Add("/dtype", "is %s: the elements of a linspace are floats; use arange for integers", t)
		ok = false
	}
	if !ok || !p.sequence("num", num) {
		return nil
	}
	start, _ := vs[0].float64()
	stop, _ := vs[1].float64()
	count, _ := p.shape.Elements()
	return newLinspace(t, start, stop, count, endpoint)
}

func (p *parser) random() Source {
	p.require("shape", wantShape)
	seed, ok := uint64(0), true
	if v, has := p.scalar("seed"); has {
		var err error
		if seed, err = v.encode(Uint64); err != nil || v.kind == boolScalar {
			p.Add("/seed", "is not a seed: write an integer from 0 to 2^64-1")
			ok = false
		}
	}
	name, has := p.text("distribution")
	if !has {
		name = "uniform"
	}
	t := p.dtype
	switch name {
	case "uniform", "normal":
		if t == 0 {
			t = Float64
		}
		if !t.IsFloat() {
			p.Add("/dtype", `is %s: a %s distribution is of floats; write "distribution": "integers" for integers`, t, name)
			ok = false
		}
		if name == "normal" {
			return p.normal(t, seed, ok)
		}
		if !ok {
			return nil
		}
		return uniform{t, randomKey(seed)}
	case "integers":
		return p.integers(seed, ok)
	}
	p.Add("/distribution", "is %.20q: use uniform, normal or integers", name)
	return nil
}

func (p *parser) normal(t DType, seed uint64, ok bool) Source {
	vs, _, good := p.numbers([]string{"loc", "scale"}, []string{"0", "1"})
	if !good {
		return nil
	}
	loc, _ := vs[0].float64()
	scale, _ := vs[1].float64()
	if scale < 0 {
		p.Add("/scale", "is %v: a standard deviation is 0 or more", scale)
		ok = false
	}
	if !ok {
		return nil
	}
	return normal{t, randomKey(seed), loc, scale}
}

func (p *parser) integers(seed uint64, ok bool) Source {
	p.require("high", "the bound that every element is below")
	vs, _, good := p.numbers([]string{"low", "high"}, []string{"0", "1"})
	if !good {
		return nil
	}
	bounds, ints := integersOf(vs)
	t := p.dtype
	if t.IsFloat() || t == Bool || !ints {
		p.Add("/distribution", "is integers: low, high and dtype must be integers too")
		return nil
	}
	low, high := bounds[0], bounds[1]
	if low.Cmp(high) >= 0 {
		p.Add("/high", "is not above low: every element is at least low and below high")
		return nil
	}
	top := new(big.Int).Sub(high, big.NewInt(1))
	if t == 0 {
		t = integerDType(low, top)
	}
	for _, v := range []*big.Int{low, top} {
		if _, err := (scalar{kind: intScalar, text: []byte(v.String())}).encode(t); err != nil {
			p.Add("/dtype", "is too narrow for low and high: %v", err)
			return nil
		}
	}
	if !ok {
		return nil
	}
	return integers{t, randomKey(seed), low64(low), low64(top.Sub(high, low))}
}

func (p *parser) inline() Source {
	if !p.require("values", "the elements, as nested lists of numbers") {
		return nil
	}
	v, shape, ok := parseValues(p.Get("values"), p.dtype, p.limits, p.Errors)
	if !ok {
		return nil
	}
	if p.hasShape && p.shape.String() != shape.String() {
		p.Add("/shape", "is %s, but the values have shape %s: omit the shape", p.shape, shape)
		return nil
	}
	p.shape = shape
	if p.hasShape = p.checkElements("/values"); !p.hasShape {
		return nil
	}
	return v
}
