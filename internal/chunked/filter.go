package chunked

import (
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/npy"
)

// condition is a condition on the value of an element. It holds for keys from lo to hi (see extreme), or outside of them.
type condition struct {
	lo, hi  uint64
	outside bool
	nan     bool // whether it holds for NaN
}

// never and always are the bounds of conditions without values.
var (
	never  = condition{lo: 1, hi: 0}
	always = condition{lo: 0, hi: math.MaxUint64}
)

// comparisons are the operators of conditions, with the meaning that they have in NumPy.
var comparisons = []string{">", ">=", "<", "<=", "==", "!="}

const comparisonNames = `">", ">=", "<", "<=", "==" or "!="`

// compare returns the condition that an element of type t compares so to v. As in NumPy a value is rounded to the type
// of floats, and compared exactly with integers.
func compare(t DType, op string, v scalar) condition {
	var c condition
	if t.IsFloat() {
		c = compareFloats(t, op, v)
	} else {
		c = compareInts(t, op, v)
	}
	c.nan = op == "!="
	return c
}

// keyOf returns a number that has the order of the elements.
func keyOf(t DType, bits uint64) uint64 {
	var e extreme
	e.set(t, bits)
	return e.key
}

// between returns the condition that a key compares so to key, which is from least to most.
func between(op string, key, least, most uint64) condition {
	c := condition{lo: key, hi: key, outside: op == "!="}
	switch op {
	case ">=":
		c.hi = most
	case "<=":
		c.lo = least
	case ">":
		if key == most {
			return never
		}
		c.lo, c.hi = key+1, most
	case "<":
		if key == least {
			return never
		}
		c.lo, c.hi = least, key-1
	}
	return c
}

func compareFloats(t DType, op string, v scalar) condition {
	bits, err := v.encode(t)
	if err != nil { // beyond the type, where NumPy has an infinity
		bits = floatBits(t, math.Inf(v.sign()))
	}
	if isNaN(floatOf(t, bits)) {
		if op == "!=" {
			return always
		}
		return never
	}
	infinity := func(sign int) uint64 { return keyOf(t, floatBits(t, math.Inf(sign))) }
	return between(op, keyOf(t, bits), infinity(-1), infinity(1))
}

func compareInts(t DType, op string, v scalar) condition {
	beyond := func(sign int) condition { // a value above or below all elements
		if op == "!=" || op != "==" && (op[0] == '<') == (sign > 0) {
			return always
		}
		return never
	}
	floor := new(big.Int) // the largest integer that is not above the value
	if w, ok := v.whole(); ok {
		if len(w.text) > 40 {
			return beyond(w.sign())
		}
		floor.SetString(w.string(), 10)
	} else {
		f, _ := v.float64()
		switch {
		case math.IsNaN(f) && op != "!=":
			return never
		case math.IsNaN(f):
			return always
		case math.Abs(f) >= 0x1p64:
			return beyond(v.sign())
		}
		new(big.Float).SetFloat64(math.Floor(f)).Int(floor)
		if f != math.Floor(f) {
			switch op {
			case "==", "!=":
				return beyond(1)
			case ">=":
				op = ">"
			case "<":
				op = "<="
			}
		}
	}
	least, most := t.integers()
	switch {
	case floor.Cmp(least) < 0:
		return beyond(-1)
	case floor.Cmp(most) > 0:
		return beyond(1)
	}
	key := func(v *big.Int) uint64 { return keyOf(t, low64(v)) }
	return between(op, key(floor), key(least), key(most))
}

// integers returns the smallest and the largest value of an integer type or of bool.
func (t DType) integers() (least, most *big.Int) {
	one := big.NewInt(1)
	bits := uint(8 * t.Size())
	switch {
	case t == Bool:
		return new(big.Int), one
	case t.isUnsigned():
		return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, bits), one)
	}
	most = new(big.Int).Lsh(one, bits-1)
	return new(big.Int).Neg(most), new(big.Int).Sub(most, one)
}

// parseWhere parses a comparison such as {"op":">","value":0} for elements of type t.
func parseWhere(raw jsontext.Value, t DType, errs *fields.Errors) (c condition) {
	f, _ := fields.Read(raw, errs)
	o := object{f}
	op, ok := o.text("op")
	if ok && !slices.Contains(comparisons, op) {
		errs.Add("/op", "is %.20q: use %s", op, comparisonNames)
		ok = false
	}
	if !o.Has("op") {
		errs.Add("/op", "is missing: use %s", comparisonNames)
	}
	if !o.Has("value") {
		errs.Add("/value", "is missing: write the value to compare the elements with")
	}
	v, hasValue := o.scalar("value")
	o.Unused(nil, `is not a field of a comparison: write "op" and "value"`)
	if ok && hasValue {
		c = compare(t, op, v)
	}
	return c
}

// maxMissing is the maximum number of values that mean that an element is missing.
const maxMissing = 64

const wantMissing = `write a value, a list of them, or an object with "values", "valid_min" or "valid_max"`

// parseMissing parses the values that mean that an element of type t is missing: one, a list, or an object with "values"
// (as before), "valid_min" and "valid_max". NaN is missing only if it is one of the values.
func parseMissing(raw jsontext.Value, t DType, errs *fields.Errors) (list []condition) {
	if raw.Kind() != '{' {
		return parseMissingValues(raw, "", t, errs)
	}
	f, _ := fields.Read(raw, errs)
	o := object{f}
	o.NullIsAbsent("values", "valid_min", "valid_max")
	if v := o.Get("values"); v != nil {
		list = parseMissingValues(v, "/values", t, errs)
	}
	for _, bound := range []struct{ name, op string }{{"valid_min", ">="}, {"valid_max", "<="}} {
		if v, ok := o.scalar(bound.name); ok {
			c := compare(t, bound.op, v)
			c.nan = true
			list = append(list, c)
		}
	}
	o.Unused(nil, "is not a field of missing values: "+wantMissing)
	if len(o.Names()) == 0 {
		errs.Add("", "is empty: "+wantMissing)
	}
	return list
}

func parseMissingValues(raw jsontext.Value, pointer string, t DType, errs *fields.Errors) (list []condition) {
	one := func(raw []byte, pointer string) {
		v, ok := parseScalar(raw)
		if !ok {
			errs.Add(pointer, "is not a missing value: "+wantMissing)
			return
		}
		c := compare(t, "!=", v)
		c.nan = v.kind != specialScalar || !math.IsNaN(v.f)
		list = append(list, c)
	}
	if raw.Kind() != '[' {
		one(raw, pointer)
		return list
	}
	for i, e := range fields.Elements(raw) {
		if i == maxMissing {
			errs.Add(pointer, "has more than %d values; the limit is %d: use valid_min and valid_max", maxMissing, maxMissing)
			return nil
		}
		if one(e, pointer+"/"+strconv.FormatInt(i, 10)); errs.Full() {
			break
		}
	}
	return list
}

// choose sets used[i] to 0 for each element of mem for which c does not hold.
func (c condition) choose(t DType, mem, used []byte) {
	switch t {
	case Bool:
		chooseBools(c, mem, used)
	case Int8:
		chooseInts(c, view[int8](mem), used, 1<<63)
	case Int16:
		chooseInts(c, view[int16](mem), used, 1<<63)
	case Int32:
		chooseInts(c, view[int32](mem), used, 1<<63)
	case Int64:
		chooseInts(c, view[int64](mem), used, 1<<63)
	case Uint8:
		chooseInts(c, mem, used, 0)
	case Uint16:
		chooseInts(c, view[uint16](mem), used, 0)
	case Uint32:
		chooseInts(c, view[uint32](mem), used, 0)
	case Uint64:
		chooseInts(c, view[uint64](mem), used, 0)
	case Float16:
		x := view[uint16](mem)
		chooseFloats(c, len(x), used, func(i int) float64 { return npy.Float16frombits(x[i]) })
	case Float32:
		x := view[float32](mem)
		chooseFloats(c, len(x), used, func(i int) float64 { return float64(x[i]) })
	case Float64:
		x := view[float64](mem)
		chooseFloats(c, len(x), used, func(i int) float64 { return x[i] })
	}
}

func chooseBools(c condition, mem, used []byte) {
	for i, v := range mem {
		if key := uint64(min(v, 1)) ^ 1<<63; (key >= c.lo && key <= c.hi) == c.outside {
			used[i] = 0
		}
	}
}

// chooseInts is choose for integers, whose keys have another bit flip than their values.
func chooseInts[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](c condition, x []T, used []byte, flip uint64) {
	span := c.hi - c.lo
	if c.hi < c.lo { // nothing is within
		if !c.outside {
			clear(used)
		}
		return
	}
	for i, v := range x {
		if within := uint64(v)^flip-c.lo <= span; within == c.outside {
			used[i] = 0
		}
	}
}

func chooseFloats(c condition, n int, used []byte, at func(int) float64) {
	for i := range n {
		v := at(i)
		holds := c.nan
		if !isNaN(v) {
			key := keyOf(Float64, math.Float64bits(v))
			holds = (key >= c.lo && key <= c.hi) != c.outside
		}
		if !holds {
			used[i] = 0
		}
	}
}
