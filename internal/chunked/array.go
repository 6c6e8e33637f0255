package chunked

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
)

// Array describes an N-dimensional array: the source of its elements and its chunks. It is immutable.
type Array struct {
	source  Source
	shape   Shape
	grid    Grid
	fortran bool // memory order: the first axis varies fastest
}

// Shape returns the length along each axis.
func (a *Array) Shape() Shape { return a.shape }

// DType returns the type of the elements.
func (a *Array) DType() DType { return a.source.DType() }

// Grid returns the chunks of the array.
func (a *Array) Grid() *Grid { return &a.grid }

// Source returns the source of the elements, in memory order.
func (a *Array) Source() Source { return a.source }

// Fortran reports whether the memory order is Fortran's: the first axis varies fastest.
func (a *Array) Fortran() bool { return a.fortran }

// Elements returns the number of elements.
func (a *Array) Elements() int64 {
	n, _ := a.shape.Elements()
	return n
}

// Bytes returns the size of all elements, whether or not they are in memory.
func (a *Array) Bytes() int64 { return a.Elements() * int64(a.DType().Size()) }

// Options configures ParseArray.
type Options struct {
	// Limits bounds the array. A zero limit selects the default of DefaultLimits.
	Limits Limits
	// Open opens a stored array. Its error is visible to clients. Nil means that there are no stored arrays.
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

// ParseArray parses the JSON description of an array: an object with "source" and the fields of that source, "chunks"
// (in every form of dask.array.normalize_chunks; default "auto") and "dtype". It adds every error to errs, with
// pointers relative to the object, and returns nil if there is one. The JSON must be valid, see package fields. Its
// memory is bounded by the length of raw, regardless of the described shape.
//
//	ones, zeros  shape
//	full         shape, fill_value
//	arange       stop or shape, start (0), step (1): as numpy.arange, reshaped if there is a shape
//	linspace     start, stop, num (50, or the elements of shape), endpoint (true): as numpy.linspace
//	random       shape, seed (0), distribution: "uniform" (in [0, 1)), "normal" (loc, scale), "integers" (low, high)
//	values       values, nested lists; "source" may be omitted
//	npy          name or url of a stored array, or urls of several, joined along the axis concatenate (0)
//	npz          url of a file of arrays, and the name of its member, which may be omitted if it has one
//	raw          url of an object with the elements and no header; shape, dtype, offset (0 bytes), order ("C"), byte_order ("little")
//	zarr         url of an array in tiles; chunks are by default its tiles, and "auto" is in whole tiles
//
// "select" selects a part of any of them by NumPy's basic indexing: a list with an index, null or a slice such as
// {"start": 0, "stop": 10, "step": 2} for each of the first axes. The chunks are of the part.
func ParseArray(raw []byte, opts Options, errs *fields.Errors) *Array {
	before := errs.Total()
	o, ok := fields.Read(raw, errs)
	if !ok {
		errs.Add("", `is not an object: write an object such as {"source": "ones", "shape": [1000, 1000]}`)
		return nil
	}
	o.NullIsAbsent(o.Names()...)
	p := parser{object: object{o}, limits: opts.Limits.withDefaults(), open: opts.Open}
	if a := p.array(); errs.Total() == before {
		return a
	}
	return nil
}

// parser parses the description of one array.
type parser struct {
	object
	limits Limits
	open   func(Ref) (Stored, error)

	dtype    DType // the requested dtype, or 0
	shape    Shape
	hasShape bool // true if there is a valid shape
	fortran  bool
	tile     Shape // of a stored array in tiles
}

// sources are the constructors by name. They set the shape if the description has none, and return nil after adding an
// error.
var sources = map[string]func(*parser) Source{
	"ones":     func(p *parser) Source { return p.constant("1") },
	"zeros":    func(p *parser) Source { return p.constant("0") },
	"full":     (*parser).full,
	"arange":   (*parser).arange,
	"linspace": (*parser).linspace,
	"random":   (*parser).random,
	"values":   (*parser).inline,
	"npy":      (*parser).npy,
	"npz":      (*parser).npz,
	"zarr":     (*parser).zarr,
	"raw":      (*parser).raw,
}

const sourceNames = "ones, zeros, full, arange, linspace, random, values, npy, npz, zarr, raw"

func (p *parser) array() *Array {
	name := p.sourceName()
	build := sources[name]
	if build == nil {
		return nil
	}
	if name != "npy" && name != "npz" && name != "zarr" {
		p.readDType()
		p.readShape()
	}
	src := build(p)
	itemSize := 8
	if src != nil {
		itemSize = src.DType().Size()
	}
	if p.Has("select") && p.hasShape {
		sel := p.selection()
		if p.hasShape = sel != nil && src != nil; p.hasShape {
			src, p.shape = selectFrom(src, p.shape, p.fortran, sel)
			p.tile = nil
		}
	}
	raw := p.Get("chunks")
	if raw == nil && name != "zarr" {
		raw = jsontext.Value(`"auto"`)
	}
	chunks := chunkParser{shape: p.shape, known: p.hasShape, tile: p.tile, limits: p.limits, Errors: p.Errors}
	grid, ok := chunks.parse(raw, itemSize)
	p.Unused(members, "is not a field of an array of source %q: omit it", name)
	if src == nil || !ok || !p.hasShape {
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

// readShape parses an integer or a list of integers.
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
		p.Add(pointer, "is %s; the limit is %d elements: use a smaller array", v.short(), p.limits.Elements)
	}
	return n
}

// checkElements checks p.shape against the limits and reports errors at pointer.
func (p *parser) checkElements(pointer string) bool {
	if len(p.shape) > MaxDims {
		p.Add(pointer, "has %d dimensions; the limit is %d dimensions: merge some of them", len(p.shape), MaxDims)
		return false
	}
	n, ok := p.shape.Elements()
	if !ok {
		p.Add(pointer, "%s makes more than 2^63 elements; the limit is %d elements: use a smaller array", p.shape, p.limits.Elements)
	} else if n > p.limits.Elements {
		p.Add(pointer, "%s makes %d elements; the limit is %d elements: use a smaller array", p.shape, n, p.limits.Elements)
		ok = false
	}
	// The limit may be the operator's own, but the number of bytes must fit an int64.
	if _, fits := mul(n, 8); ok && !fits {
		p.Add(pointer, "%s has more than 2^63 bytes: use a smaller array", p.shape)
		ok = false
	}
	return ok
}

// require adds an error for a missing field; invalid fields already have one.
func (p *parser) require(key, what string) bool {
	if !p.Has(key) {
		p.Add("/"+key, "is missing: write %s", what)
		return false
	}
	return true
}
