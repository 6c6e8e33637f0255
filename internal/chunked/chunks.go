package chunked

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
)

// autoBytes is the maximum size of an "auto" chunk: array.chunk-size of Dask's default configuration.
const autoBytes = 128 << 20

// form is the requested chunking of one axis.
type form struct {
	kind    formKind
	size    int64   // for sizeForm
	lengths []int64 // for listForm
}

type formKind uint8

const (
	wholeForm formKind = iota // -1
	sizeForm
	listForm
	autoForm
)

// chunkParser parses the forms of "chunks" in dask.array.normalize_chunks: a length, a list with a length for each
// axis, a list of lists of lengths, -1 for a whole axis, "auto", a size in bytes such as "16MiB", an object of axis
// numbers, and any mix of these by axis; null is -1. A one-dimensional array may have its list of lengths without the
// outer list.
type chunkParser struct {
	shape  Shape
	tile   Shape // of an array in tiles, or nil
	known  bool  // the shape is valid, so that the chunks can be checked against it
	bytes  int64 // the requested maximum chunk size, or 0
	limits Limits
	*fields.Errors
}

// parse returns the axes of the grid; false after an error. A nil raw is the tiles, or "auto" without them.
func (p *chunkParser) parse(raw []byte, itemSize int) (Grid, bool) {
	before := p.Total()
	forms := make([]form, len(p.shape))
	if raw == nil && p.tile != nil {
		for i, n := range p.tile {
			forms[i] = form{kind: sizeForm, size: n}
		}
		return p.grid(forms)
	}
	if raw == nil {
		raw = []byte(`"auto"`)
	}
	switch jsontext.Value(raw).Kind() {
	case '[':
		forms = p.list(raw)
	case '{':
		p.object(raw, forms)
	default:
		f := p.form(raw, "/chunks")
		for i := range forms {
			forms[i] = f
		}
	}
	if p.Total() > before || !p.known {
		return Grid{}, false
	}
	p.resolve(forms, itemSize)
	return p.grid(forms)
}

func (p *chunkParser) list(raw []byte) []form {
	var forms []form
	numbers := true
	for i, e := range fields.Elements(raw) {
		numbers = numbers && jsontext.Value(e).Kind() == '0'
		// Beyond the number of axes this can only be the list of a 1-d array; bounding it bounds the memory.
		if i > p.limits.Chunks+MaxDims {
			p.tooMany("/chunks", strconv.Itoa(len(forms))+" or more")
			return nil
		}
		if !numbers && i == MaxDims {
			p.Add("/chunks", "has more than %d entries: write one for each axis", MaxDims)
			return nil
		}
		forms = append(forms, p.form(e, "/chunks/"+strconv.FormatInt(i, 10)))
		if p.Full() {
			return nil
		}
	}
	if len(forms) == len(p.shape) || !p.known {
		return forms
	}
	if elements, _ := p.shape.Elements(); len(forms) == 0 && elements == 0 {
		return make([]form, len(p.shape))
	}
	if len(p.shape) == 1 && len(forms) > 1 && numbers {
		lengths := make([]int64, len(forms))
		for i, f := range forms {
			lengths[i] = f.size
			if f.kind != sizeForm {
				p.Add("/chunks/"+strconv.Itoa(i), "is negative: in a list of the lengths of all chunks each is 0 or more")
			}
		}
		return []form{{kind: listForm, lengths: lengths}}
	}
	p.Add("/chunks", "has %d entries, but the array has %d axes: write one for each axis", len(forms), len(p.shape))
	return nil
}

func (p *chunkParser) object(raw []byte, forms []form) {
	var errs fields.Errors
	o, _ := fields.Read(raw, &errs)
	p.Merge("/chunks", &errs)
	for _, key := range o.Names() {
		pointer := "/chunks/" + fields.Token(key)
		i, err := strconv.Atoi(key)
		if p.known && (err != nil || i < 0 || i >= len(forms) || strconv.Itoa(i) != key) {
			p.Add(pointer, "is not an axis: the array has %d, numbered from 0", len(forms))
			continue
		}
		v := p.form(o.Get(key), pointer)
		if p.known {
			forms[i] = v
		}
	}
}

// form parses the chunks of one axis.
func (p *chunkParser) form(raw []byte, pointer string) form {
	switch c := jsontext.Value(raw).Kind(); {
	case c == '"':
		text := fields.Text(raw)
		if text != "auto" {
			p.byteLimit(text, pointer)
		}
		return form{kind: autoForm}
	case string(raw) == "null":
		return form{} // Dask's None
	case c == '[':
		return form{kind: listForm, lengths: p.lengths(raw, pointer)}
	case c == '0':
		v, _ := parseScalar(raw)
		n, fits := v.int64()
		switch {
		case !fits:
			p.Add(pointer, "is not an integer below 2^63")
		case n == -1:
		case n < 0 || n == 0 && !p.mayBeZero():
			p.Add(pointer, `is %d: a chunk has at least one element; write -1 for the whole axis, or "auto"`, n)
		default:
			return form{kind: sizeForm, size: n}
		}
		return form{}
	}
	p.Add(pointer, `is not a chunk size: write a length, a list of lengths, -1 or null for all, "auto" or a size such as "16MiB"`)
	return form{}
}

// mayBeZero reports whether a 0 can be valid: as the chunk of an axis without elements, or in the list of a 1-d array.
// Otherwise the sum of the lengths reveals an invalid 0.
func (p *chunkParser) mayBeZero() bool {
	n, ok := p.shape.Elements()
	return ok && n == 0 || len(p.shape) == 1
}

func (p *chunkParser) lengths(raw []byte, pointer string) []int64 {
	lengths := []int64{}
	for i, e := range fields.Elements(raw) {
		v, _ := parseScalar(e)
		n, fits := v.int64()
		if !fits || n < 0 {
			p.Add(fmt.Sprintf("%s/%d", pointer, i), "is not a length: write an integer of 0 or more")
		}
		if lengths = append(lengths, n); int64(len(lengths)) > p.limits.Chunks {
			p.tooMany(pointer, strconv.Itoa(len(lengths))+" or more")
			return nil
		}
		if p.Full() {
			return nil
		}
	}
	if len(lengths) == 0 {
		p.Add(pointer, "is empty: an axis has at least one chunk, [0] if it has no elements")
	}
	return lengths
}

// byteUnits are the units of dask.utils.parse_bytes, in lower case.
var byteUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1e3, "kb": 1e3, "ki": 1 << 10, "kib": 1 << 10,
	"m": 1e6, "mb": 1e6, "mi": 1 << 20, "mib": 1 << 20,
	"g": 1e9, "gb": 1e9, "gi": 1 << 30, "gib": 1 << 30,
	"t": 1e12, "tb": 1e12, "ti": 1 << 40, "tib": 1 << 40,
	"p": 1e15, "pb": 1e15, "pi": 1 << 50, "pib": 1 << 50,
}

// byteLimit parses a size such as "16MiB", "128 MB", "5.4 kB" or "1000".
func (p *chunkParser) byteLimit(text, pointer string) {
	plain := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	number := strings.TrimRight(plain, "abcdefghijklmnopqrstuvwxyz")
	unit, ok := byteUnits[plain[len(number):]]
	n, err := strconv.ParseFloat(number, 64)
	size := math.Trunc(n * unit)
	if !ok || err != nil || strings.Trim(number, "0123456789.") != "" || size < 1 || size > 1<<60 {
		p.Add(pointer, `is %.40q: write "auto" or a size in bytes such as "16MiB" or "128 MB"`, text)
		return
	}
	if p.bytes != 0 && p.bytes != int64(size) {
		p.Add(pointer, "is %d bytes, but another axis has %d: write the size of the whole chunk once",
			int64(size), p.bytes)
		return
	}
	p.bytes = int64(size)
}

// resolve replaces each autoForm by a length, so that a chunk has at most the requested bytes, with the algorithm of
// dask.array.core.auto_chunks. An axis shorter than an even share is one chunk and leaves the rest to the others.
func (p *chunkParser) resolve(forms []form, itemSize int) {
	limit := float64(autoBytes)
	if p.bytes > 0 {
		limit = float64(p.bytes)
	}
	for {
		autos, fixed := 0, 1.0
		for i, f := range forms {
			switch f.kind {
			case autoForm:
				autos++
			case wholeForm:
				fixed *= float64(p.shape[i])
			case sizeForm:
				fixed *= float64(f.size)
			case listForm:
				longest := int64(0)
				for _, l := range f.lengths {
					longest = max(longest, l)
				}
				fixed *= float64(longest)
			}
		}
		if autos == 0 {
			return
		}
		share := root(limit/float64(itemSize)/max(fixed, 1), autos)
		again := false
		for i := range forms {
			if forms[i].kind == autoForm && float64(p.shape[i]) < share {
				forms[i] = form{kind: wholeForm}
				again = true
			}
		}
		if again {
			continue
		}
		for i := range forms {
			if forms[i].kind == autoForm {
				size := max(int64(share), 1)
				if p.tile != nil {
					size = max(size/p.tile[i], 1) * p.tile[i]
				}
				forms[i] = form{kind: sizeForm, size: size}
			}
		}
	}
}

// root returns the n-th root of x. Square roots are exact where math.Pow may be slightly too small.
func root(x float64, n int) float64 {
	for ; n%2 == 0; n /= 2 {
		x = math.Sqrt(x)
	}
	return math.Pow(x, 1/float64(n))
}

// grid validates the forms against the shape.
func (p *chunkParser) grid(forms []form) (Grid, bool) {
	g := Grid{axes: make([]axis, len(forms)), chunks: 1}
	total, fits, good := int64(1), true, true
	for i, f := range forms {
		size := p.shape[i]
		switch f.kind {
		case sizeForm:
			if f.size == 0 && size > 0 {
				p.Add("/chunks", `is 0 along axis %d: a chunk has at least one element; write -1 for the whole axis, or "auto"`, i)
				good = false
			}
			g.axes[i] = regular(size, max(f.size, 1))
		case listForm:
			rest := size // counts down, so that hostile lengths cannot overflow
			for _, l := range f.lengths {
				if rest -= l; rest < 0 {
					break
				}
			}
			if rest != 0 {
				p.Add("/chunks", "do not add up along axis %d: make their lengths add up to %d, the length of the axis", i, size)
				good = false
				continue
			}
			g.axes[i] = irregular(f.lengths)
		default:
			g.axes[i] = regular(size, max(size, 1))
		}
		if fits {
			total, fits = mul(total, g.axes[i].n)
		}
	}
	if !good {
		return Grid{}, false
	}
	if !fits || total > p.limits.Chunks {
		count := "more than 2^63"
		if fits {
			count = strconv.FormatInt(total, 10)
		}
		p.tooMany("/chunks", count)
		return Grid{}, false
	}
	g.chunks = total
	return g, true
}

func (p *chunkParser) tooMany(pointer, count string) {
	p.Add(pointer, `makes %s chunks; the limit is %d chunks: make them larger, or write "auto"`, count, p.limits.Chunks)
}
