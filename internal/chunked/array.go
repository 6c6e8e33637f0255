package chunked

import (
	"strconv"
	"strings"

	"gather/internal/fields"
)

// Array describes an N-dimensional array: where its elements come from and how it is cut in chunks. It is immutable.
type Array struct {
	source  Source
	shape   Shape
	grid    Grid
	fortran bool // memory order: the first axis varies fastest
}

// Shape is the length along each axis.
func (a *Array) Shape() Shape { return a.shape }

// DType is the type of the elements.
func (a *Array) DType() DType { return a.source.DType() }

// Grid is how the array is cut.
func (a *Array) Grid() *Grid { return &a.grid }

// Source is where the elements come from, in memory order.
func (a *Array) Source() Source { return a.source }

// Fortran reports whether the memory order is Fortran's: the first axis varies fastest.
func (a *Array) Fortran() bool { return a.fortran }

// Elements is the number of elements.
func (a *Array) Elements() int64 {
	n, _ := a.shape.Elements()
	return n
}

// Bytes is the size of the elements in bytes, whether or not they are in memory anywhere.
func (a *Array) Bytes() int64 { return a.Elements() * int64(a.DType().Size()) }

// Options configures ParseArray.
type Options struct {
	// Limits bounds the array. A zero limit is that of DefaultLimits.
	Limits Limits
	// Open opens a stored array. Clients see its error, with its advice. Nil means there are none.
	Open func(Ref) (Stored, error)
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.Elements > 0 {
		d.Elements = l.Elements
	}
	if l.Chunks > 0 {
		d.Chunks = l.Chunks
	}
	if l.Outputs > 0 {
		d.Outputs = l.Outputs
	}
	return d
}

// ParseArray reads the JSON description of an array: an object with "source" and the fields of that source, "chunks" (in
// every form dask.array.normalize_chunks has; "auto" if absent) and "dtype". It adds every
// error to errs, with pointers relative to the object; the array is nil if there is any. The JSON is not checked, see package
// fields. Its memory is bounded by the length of raw, whatever
// shape that asks for.
//
//	ones, zeros  shape
//	full         shape, fill_value
//	arange       stop or shape, start (0), step (1): as numpy.arange, reshaped if there is a shape
//	linspace     start, stop, num (50, or the elements of shape), endpoint (true): as numpy.linspace
//	random       shape, seed (0), distribution: "uniform" (in [0, 1)), "normal" (loc, scale), "integers" (low, high)
//	values       values, nested lists; "source" may be left out
//	npy          name or url of a stored array
func ParseArray(raw []byte, opts Options, errs *fields.Errors) *Array {
	before := errs.Total()
	o, ok := fields.Read(raw, errs)
	if !ok {
		errs.Add("", `is not an object: write {"source": "ones", "shape": [1000, 1000]} or the like`)
		return nil
	}
	o.NullIsAbsent(o.Names()...)
	p := parser{object: object{o}, limits: opts.Limits.withDefaults(), open: opts.Open}
	if a := p.array(); errs.Total() == before {
		return a
	}
	return nil
}

// parser reads the description of one array.
type parser struct {
	object
	limits Limits
	open   func(Ref) (Stored, error)

	dtype    DType // as asked for, 0 if it was not
	shape    Shape
	hasShape bool // there is one, and it is right
	fortran  bool
}

// sources are the constructors by name. They return nil after adding an error, and set the shape where it is not given.
var sources = map[string]func(*parser) Source{
	"ones":     func(p *parser) Source { return p.constant("1") },
	"zeros":    func(p *parser) Source { return p.constant("0") },
	"full":     (*parser).full,
	"arange":   (*parser).arange,
	"linspace": (*parser).linspace,
	"random":   (*parser).random,
	"values":   (*parser).inline,
	"npy":      (*parser).npy,
}

const sourceNames = "ones, zeros, full, arange, linspace, random, values, npy"

func (p *parser) array() *Array {
	name := p.sourceName()
	build := sources[name]
	if build == nil {
		return nil
	}
	if name != "npy" {
		p.readDType()
		p.readShape()
	}
	src := build(p)
	itemSize := 8
	if src != nil {
		itemSize = src.DType().Size()
	}
	chunks := chunkParser{shape: p.shape, known: p.hasShape, limits: p.limits, Errors: p.Errors}
	grid, ok := chunks.parse(p.Get("chunks"), itemSize)
	p.Unused(members, "is not a field of an array of source %q: leave it out", name)
	if src == nil || !ok {
		return nil
	}
	return &Array{source: src, shape: p.shape, grid: grid, fortran: p.fortran}
}

func (p *parser) sourceName() string {
	if !p.Has("source") {
		if p.Has("values") {
			return "values"
		}
		p.Add("/source", "is missing: write one of %s", sourceNames)
		return ""
	}
	name, ok := p.text("source")
	if ok && sources[name] == nil {
		p.Add("/source", "is %.20q: use one of %s", name, sourceNames)
	}
	return name
}

func (p *parser) readDType() {
	name, ok := p.text("dtype")
	if !ok {
		return
	}
	t, err := ParseDType(name)
	if err != nil {
		p.Add("/dtype", "%v", err)
	}
	p.dtype = t
}

// readShape reads an integer or a list of them.
func (p *parser) readShape() {
	raw := p.Get("shape")
	if raw == nil {
		return
	}
	before := p.Total()
	if raw.Kind() != '[' {
		p.shape = Shape{p.length(raw, "/shape")}
	} else {
		p.shape = p.lengths(raw)
	}
	p.hasShape = p.Total() == before && p.checkElements("/shape")
}

func (p *parser) lengths(raw []byte) Shape {
	shape := Shape{}
	dims := int64(0)
	for i, e := range fields.Elements(raw) {
		if dims = i + 1; dims <= MaxDims {
			shape = append(shape, p.length(e, "/shape/"+strconv.FormatInt(i, 10)))
		}
	}
	if dims > MaxDims {
		p.Add("/shape", "has %d dimensions; the limit is %d dimensions: merge some of them", dims, MaxDims)
	}
	return shape
}

func (p *parser) length(raw []byte, pointer string) int64 {
	v, ok := parseScalar(raw)
	_, isWhole := v.whole()
	n, fits := v.int64()
	switch {
	case !ok:
		p.Add(pointer, "is not a length: write an integer of 0 or more")
	case !isWhole:
		p.Add(pointer, "is %s: a length is an integer", v.short())
	case strings.HasPrefix(v.short(), "-") && n != 0:
		p.Add(pointer, "is %s: a length is 0 or more", v.short())
	case !fits:
		p.Add(pointer, "is %s; the limit is %d elements: ask for a smaller array", v.short(), p.limits.Elements)
	}
	return n
}

// checkElements compares p.shape with the limits; a source that has its own shape reports another field.
func (p *parser) checkElements(pointer string) bool {
	if len(p.shape) > MaxDims {
		p.Add(pointer, "has %d dimensions; the limit is %d dimensions: merge some of them", len(p.shape), MaxDims)
		return false
	}
	n, ok := p.shape.Elements()
	if !ok {
		p.Add(pointer, "%s makes more than 2^63 elements; the limit is %d elements: ask for a smaller array", p.shape, p.limits.Elements)
	} else if n > p.limits.Elements {
		p.Add(pointer, "%s makes %d elements; the limit is %d elements: ask for a smaller array", p.shape, n, p.limits.Elements)
		ok = false
	}
	// The limit may be an operator's own: the bytes must be countable whatever it is.
	if _, fits := mul(n, 8); ok && !fits {
		p.Add(pointer, "%s is more bytes than can be counted: ask for a smaller array", p.shape)
		ok = false
	}
	return ok
}

// require adds an error for a missing field; an invalid one has its own.
func (p *parser) require(key, what string) bool {
	if !p.Has(key) {
		p.Add("/"+key, "is missing: give %s", what)
		return false
	}
	return true
}
