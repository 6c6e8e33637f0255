package chunked

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/exactsum"
	"gather/internal/fields"
)

// Op is a statistic that a reduction computes, with NumPy's name and semantics. Sums, means and variances are the exact
// values, rounded once.
type Op uint8

// The statistics. Those whose name begins with Nan ignore NaNs.
const (
	Sum Op = iota
	Mean
	Var
	Std
	Min
	Max
	ArgMin
	ArgMax
	Count // numpy.count_nonzero
	Any
	All
	NanSum
	NanMean
	NanVar
	NanMin
	NanMax
	Norm // the root of the sum of squares
	ops  // the number of statistics
)

var opNames = [ops]string{
	"sum", "mean", "var", "std", "min", "max", "argmin", "argmax", "count", "any", "all", "nansum", "nanmean", "nanvar", "nanmin",
	"nanmax", "norm",
}

func (o Op) String() string { return opNames[o] }

// needs is what the statistics of a reduction need besides sums.
type needs struct {
	more      bool // anything
	squares   bool
	scan      bool // extremes and NaNs
	zeros     bool // values that are 0, or not
	clean     bool // sums without NaNs
	positions bool // of the extremes
	summed    bool // the sums are added elsewhere
}

// maxState returns the maximum size of an encoded state, in bytes: a sum and, with more, a sum of squares in three parts,
// counts and extremes.
func (n *needs) maxState() int64 {
	if n.more {
		return 4*maxEncoded + 6*binary.MaxVarintLen64 + 16
	}
	return maxEncoded
}

func (n *needs) add(o Op) {
	n.more = n.more || o != Sum
	switch o {
	case Sum, Mean, ops:
	case Var, Std, Norm:
		n.squares = true
	case ArgMin, ArgMax:
		n.scan, n.positions = true, true
	case Count, Any, All:
		n.scan, n.zeros = true, true
	case Min, Max, NanMin, NanMax:
		n.scan = true
	case NanSum, NanMean:
		n.scan, n.clean = true, true
	case NanVar:
		n.scan, n.clean, n.squares = true, true, true
	}
}

// isStatistic reports whether the value is a mean or the like, a float also of integers.
func (o Op) isStatistic() bool {
	return slices.Contains([]Op{Mean, Var, Std, NanMean, NanVar, Norm}, o)
}

// hasNoIdentity reports whether the statistic of no elements is an error.
func (o Op) hasNoIdentity() bool {
	return slices.Contains([]Op{Min, Max, ArgMin, ArgMax, NanMin, NanMax}, o)
}

// dtype returns the type of the statistic of elements of type t, as in NumPy; sum is the type of sums.
func (o Op) dtype(t, sum DType) DType {
	switch o {
	case Sum, NanSum:
		return sum
	case Min, Max, NanMin, NanMax:
		return t
	case ArgMin, ArgMax, Count:
		return Int64
	case Any, All:
		return Bool
	}
	switch {
	case sum.IsFloat():
		return sum
	case t.IsFloat():
		return t
	}
	return Float64
}

// ParseOps parses these fields of a reduction of a, whose other fields [ParseReduction] parsed:
//
//	ops      a list of names, at least one
//	ddof     an integer, default 0
//	where    a comparison such as {"op":">","value":0}, or an array of bool: which elements are used
//	missing  values of elements that are not used: one, a list, or {"values":[-1],"valid_min":0,"valid_max":10}
//	weights  an array, of sums and means
//	initial  a value with which sums and extremes begin, or an object with one for each
//
// options returns how to parse the array in a field. Errors are at the fields, and at "/axis" and "/dtype".
func ParseOps(spec *fields.Object, a *Array, r *Reduction, options func(field string) Options) {
	spec.NullIsAbsent("ddof", "where", "missing", "weights", "initial")
	o := object{spec}
	r.ddof, _ = o.integer("ddof")
	r.parseUse(o, a, options)
	raw := spec.Get("ops")
	if raw == nil {
		spec.Add("/ops", "is missing: write one or more of %s", strings.Join(opNames[:], ", "))
		return
	}
	if raw.Kind() != '[' {
		spec.Add("/ops", "is not a list: write one such as [\"mean\",\"std\"]; the statistics are %s", strings.Join(opNames[:], ", "))
		return
	}
	r.ops = nil
	for i, e := range fields.Elements(raw) {
		pointer := "/ops/" + strconv.FormatInt(i, 10)
		name := ""
		if jsontext.Value(e).Kind() == '"' {
			name = fields.Text(e)
		}
		switch op := Op(slices.Index(opNames[:], name)); {
		case int(op) >= len(opNames):
			spec.Add(pointer, "is not a statistic: use %s", strings.Join(opNames[:], ", "))
		case slices.Contains(r.ops, op):
			spec.Add(pointer, "repeats %q: omit it", op)
		default:
			r.check(o, a, op, pointer)
			r.ops = append(r.ops, op)
		}
		if spec.Full() {
			return
		}
	}
	if len(r.ops) == 0 && spec.Total() == 0 {
		spec.Add("/ops", "is empty: name at least one statistic")
	}
	r.setOps(a.DType(), r.ops...)
	r.parseInitial(o)
}

// parseUse parses which elements are used, and their weights.
func (r *Reduction) parseUse(spec object, a *Array, options func(field string) Options) {
	t := a.DType()
	companionAt := func(field string) (*companion, DType) {
		var errs fields.Errors
		defer spec.Merge("/"+field, &errs)
		return parseCompanion(spec.Get(field), a, options(field), &errs)
	}
	if raw := spec.Get("where"); raw != nil {
		var errs fields.Errors
		switch o, ok := fields.Read(raw, &errs); {
		case !ok:
			spec.Add("/where", `is neither a comparison such as {"op":">","value":0} nor an array of bool`)
		case o.Has("op") || o.Has("value"):
			r.conditions = append(r.conditions, parseWhere(raw, t, &errs))
			spec.Merge("/where", &errs)
		default:
			mask, of := companionAt("where")
			if mask != nil && of != Bool {
				spec.Add("/where", "is an array of %s: use one of bool, or a comparison", of)
			}
			r.mask = mask
		}
	}
	if raw := spec.Get("missing"); raw != nil {
		var errs fields.Errors
		r.conditions = append(r.conditions, parseMissing(raw, t, &errs)...)
		spec.Merge("/missing", &errs)
	}
	if spec.Has("weights") {
		var of DType
		r.weights, of = companionAt("weights")
		switch {
		case r.weights == nil:
		case !r.dtypeSet:
			r.dtype = t.promote(of).Sum()
		case of.IsFloat() && r.dtype != 0 && !r.dtype.IsFloat():
			spec.Add("/dtype", "is %s, but the weights are %s: use a float dtype", r.dtype, of)
		}
	}
}

// check reports what prevents a statistic of a.
func (r *Reduction) check(spec object, a *Array, op Op, pointer string) {
	outputs, _ := r.shapeOf(a.shape).Elements()
	if r.weights != nil && !slices.Contains([]Op{Sum, Mean, NanSum, NanMean}, op) {
		spec.Add(pointer, "is %q, which takes no weights: use sum, mean, nansum or nanmean, or a job of its own", op)
	}
	if op.hasNoIdentity() && a.Elements() == 0 && outputs > 0 && !hasInitial(spec, op) {
		spec.Add(pointer, "is %q, which needs elements: the array of shape %s has none to reduce", op, a.shape)
	}
	if (op == ArgMin || op == ArgMax) && !r.isWhole(a) && r.axisCount() != 1 {
		spec.Add(pointer, "is %q, which needs one axis or all: change \"axis\"", op)
	}
	if op.isStatistic() && spec.Has("dtype") && r.dtype != 0 && !r.dtype.IsFloat() {
		spec.Add("/dtype", "is %s, but %q is a float: use a float dtype", r.dtype, op)
	}
}

// setOps sets the statistics of elements of type t.
func (r *Reduction) setOps(t DType, list ...Op) {
	r.ops, r.needs, r.dtypes = list, needs{more: r.chooses() || r.weights != nil}, nil
	for _, op := range list {
		r.needs.add(op)
		of := op.dtype(t, r.dtype)
		if op.isStatistic() && r.weights != nil && !t.IsFloat() && !r.dtypeSet { // as numpy.average
			of = Float64
		}
		r.dtypes = append(r.dtypes, of)
	}
	r.needs.clean = r.needs.clean && t.IsFloat()
	r.elements = t
}

// numbers appends the statistics of a group of elements to dst, without initial values. m is nil for a sum alone. A
// statistic that does not exist is the zero Number.
func (r *Reduction) numbers(dst []Number, a *exactsum.Accumulator, m *moments) []Number {
	for i, op := range r.ops {
		dst = append(dst, r.number(op, r.dtypes[i], a, m))
	}
	return dst
}

func (r *Reduction) number(op Op, t DType, a *exactsum.Accumulator, m *moments) Number {
	if m == nil {
		return numberOf(a, t)
	}
	rest := m.n - m.nans // without NaNs
	integer := func(v int64) Number { return Number{dtype: t, bits: uint64(v)} }
	truth := func(v bool) Number {
		if v {
			return integer(1)
		}
		return integer(0)
	}
	if m.nans > 0 && (op == Sum || op.isStatistic() && op != NanMean && op != NanVar || op == Min || op == Max) {
		return nanOf(t)
	}
	switch op {
	case Sum, NanSum:
		if r.weights != nil {
			return productOf(&m.squares, t)
		}
		return numberOf(a, t)
	case Mean, NanMean:
		if r.weights != nil {
			return statisticOf(m.squares.Over(a), t)
		}
		return statisticOf(a.Mean(rest), t)
	case Var, NanVar:
		if op == NanVar && rest <= r.ddof { // unlike var
			return nanOf(t)
		}
		return statisticOf(m.squares.Variance(a, rest, r.ddof), t)
	case Std:
		return statisticOf(m.squares.Variance(a, rest, r.ddof).Sqrt(), t)
	case Norm:
		return statisticOf(m.squares.Sum().Sqrt(), t)
	case Count:
		return integer(m.nonzero + m.nans)
	case Any:
		return truth(m.nonzero+m.nans > 0)
	case All:
		return truth(m.nonzero+m.nans == m.n)
	}
	switch {
	case m.n == 0:
		return Number{}
	case (op == ArgMin || op == ArgMax) && m.nans > 0:
		return integer(r.position(m.firstNaN))
	case rest == 0: // nanmin and nanmax of NaNs
		return nanOf(t)
	case op == ArgMin:
		return integer(r.position(m.lo.at))
	case op == ArgMax:
		return integer(r.position(m.hi.at))
	case op == Max || op == NanMax:
		return Number{dtype: t, bits: m.hi.bits}
	}
	return Number{dtype: t, bits: m.lo.bits}
}

func nanOf(t DType) Number {
	var a exactsum.Accumulator
	a.AddFloat64(math.NaN())
	return numberOf(&a, t)
}

// statisticOf rounds a statistic to a float type.
func statisticOf(v exactsum.Statistic, t DType) Number {
	switch t {
	case Float16:
		return Number{dtype: t, bits: uint64(v.Float16())}
	case Float32:
		return Number{dtype: t, bits: uint64(math.Float32bits(v.Float32()))}
	}
	return Number{dtype: t, bits: math.Float64bits(v.Float64())}
}

// Warnings returns what NumPy warns of: statistics of nothing, variances without degrees of freedom, and extremes of
// NaNs, and what else may be the reason for a NaN.
func (p *Plan) Warnings(results []*Result) (warnings []string) {
	outputs, _ := p.shape.Elements()
	if outputs == 0 {
		return nil
	}
	n := p.array.Elements() / outputs
	warn := func(op Op, text string) { warnings = append(warnings, op.String()+": "+text) }
	for i, op := range p.red.ops {
		switch op {
		case Mean, NanMean:
			switch {
			case n == 0:
				warn(op, "mean of an empty slice")
			case (op == NanMean || p.red.chooses()) && results[i].hasNaN():
				warn(op, "a result is NaN: no number was used, or infinities")
			case p.red.weights != nil && results[i].hasNaN():
				warn(op, "a result is NaN: its weights add up to 0, or a number is infinite or NaN")
			}
		case Var, Std, NanVar:
			switch {
			case n <= p.red.ddof || n == 0:
				warn(op, "degrees of freedom <= 0")
			case (op == NanVar || p.red.chooses()) && results[i].hasNaN():
				warn(op, "a result is NaN: too few numbers were used, or infinities")
			}
		case NanMin, NanMax:
			if results[i].hasNaN() {
				warn(op, "all-NaN slice")
			}
		default:
		}
	}
	return warnings
}

// hasNaN reports whether an element is NaN; false for a result that is only in the items.
func (r *Result) hasNaN() bool {
	for i := range r.numbers.bits {
		if r.At(int64(i)).isNaN() {
			return true
		}
	}
	return false
}
