package chunked

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/npy"
)

// The constructors of the sources whose elements are stored: arrays by name, and objects of buckets.

func (p *parser) npy() Source {
	given := ""
	for _, key := range []string{"name", "url", "urls"} {
		switch {
		case !p.Has(key):
		case given != "":
			p.Add("/"+key, "is set in addition to %s: omit one", given)
			return nil
		default:
			given = key
		}
	}
	if given == "" {
		p.Add("/name", "is missing: set the name of a stored array, a url, or urls")
		return nil
	}
	ref := Ref{}
	var ok bool
	switch given {
	case "name":
		ref.Name, ok = p.text(given)
	case "url":
		ref.URL, ok = p.text(given)
	default:
		ref.URLs, ok = p.urls()
	}
	if p.Has("concatenate") {
		before := p.Total()
		if ref.Axis, _ = p.integer("concatenate"); given != "urls" {
			p.Add("/concatenate", "is an axis along which several files are joined: set urls, or omit it")
		}
		ok = ok && p.Total() == before
	}
	switch {
	case !ok:
		return nil
	case p.open == nil:
		p.Add("/source", "is npy, but this server has no stored arrays: use another source")
		return nil
	}
	pointer := "/" + given
	s, err := p.open(ref)
	if err != nil {
		p.Add(pointer, "%v", err)
		return nil
	}
	t := p.stored(s, pointer)
	switch {
	case t == 0:
		return nil
	case s.Tiles != nil:
		return p.tiled(s, t)
	}
	return newFile(s, t)
}

// npz returns a member of an .npz file.
func (p *parser) npz() Source {
	if !p.require("url", `the URL of an .npz file, such as "s3://bucket/results.npz"`) {
		return nil
	}
	url, ok := p.text("url")
	member, has := p.text("member")
	switch {
	case !ok || p.Has("member") && !has:
		return nil
	case p.open == nil:
		p.Add("/source", "is npz, but this server has no stored arrays: use another source")
		return nil
	}
	s, err := p.open(Ref{URL: url, NPZ: &member})
	if err != nil {
		p.Add("/url", "%v", err)
		return nil
	}
	if t := p.stored(s, "/url"); t != 0 {
		return newFile(s, t)
	}
	return nil
}

// MaxFiles is the maximum number of files that are joined, and of their URLs.
const MaxFiles = 4096

// urls parses a list of URLs.
func (p *parser) urls() (urls []string, ok bool) {
	raw := p.Get("urls")
	if raw.Kind() != '[' {
		p.Add("/urls", `is not a list: write one such as ["s3://bucket/part-*.npy"]`)
		return nil, false
	}
	before := p.Total()
	for i, e := range fields.Elements(raw) {
		if i == MaxFiles {
			p.Add("/urls", "has more than %d URLs, the limit", MaxFiles)
			break
		}
		if e := jsontext.Value(e); e.Kind() == '"' {
			urls = append(urls, fields.Text(e))
		} else if p.Add("/urls/"+strconv.FormatInt(i, 10), "is not a string: write it in quotes"); p.Full() {
			break
		}
	}
	if len(urls) == 0 && p.Total() == before {
		p.Add("/urls", "is empty: write the URL of at least one file")
	}
	return urls, p.Total() == before
}

// raw returns a stored array whose header the description has: bytes of an object of any format.
func (p *parser) raw() Source {
	p.require("url", `the URL of an object, such as "s3://bucket/data.bin"`)
	p.require("shape", wantShape)
	p.require("dtype", "the type of the elements")
	url, ok := p.text("url")
	offset, _ := p.integer("offset")
	if offset < 0 {
		p.Add("/offset", "is %d: an offset is 0 or more bytes", offset)
	}
	order := p.oneOf("order", "C", "F")
	byteOrder := p.oneOf("byte_order", "little", "big")
	bytes, _ := p.shape.Elements()
	switch {
	case !ok || !p.hasShape || p.dtype == 0 || offset < 0 || order == "" || byteOrder == "":
		return nil
	case offset > math.MaxInt64-bytes*int64(p.dtype.Size()):
		p.Add("/offset", "is %d: the array would end beyond 2^63 bytes", offset)
		return nil
	case p.open == nil:
		p.Add("/source", "is raw, but this server has no stored arrays: use another source")
		return nil
	}
	s, err := p.open(Ref{URL: url, Raw: &npy.Header{
		Type: dtypes[p.dtype].typ, BigEndian: byteOrder == "big" && p.dtype.Size() > 1, Fortran: order == "F", Shape: p.shape, Offset: offset,
	}})
	if err != nil {
		p.Add("/url", "%v", err)
		return nil
	}
	p.fortran = order == "F" && len(p.shape) > 1
	return newFile(s, p.dtype)
}

// oneOf returns the text of a field, by default the first of choices, or "" after adding an error.
func (p *parser) oneOf(name string, choices ...string) string {
	if !p.Has(name) {
		return choices[0]
	}
	text, ok := p.text(name)
	switch {
	case !ok:
		return ""
	case !slices.Contains(choices, text):
		p.Add("/"+name, "is %.20q: use %s", text, strings.Join(choices, " or "))
		return ""
	}
	return text
}

// stored sets the shape and order of a stored array, and returns its type, or 0 after adding an error.
func (p *parser) stored(s Stored, pointer string) DType {
	t := dtypeOf(s.Header.Type)
	if t == 0 {
		p.Add(pointer, "has elements of type %s, which cannot be summed", s.Header.Type)
		return 0
	}
	p.shape = append(Shape{}, s.Header.Shape...)
	if p.hasShape = p.checkElements(pointer); !p.hasShape {
		return 0
	}
	p.fortran = s.Header.Fortran && len(p.shape) > 1
	return t
}

// zarr returns a stored array in tiles.
func (p *parser) zarr() Source {
	if !p.require("url", `the URL of a Zarr array, such as "s3://bucket/path.zarr/temperature"`) {
		return nil
	}
	url, ok := p.text("url")
	switch {
	case !ok:
		return nil
	case p.open == nil:
		p.Add("/source", "is zarr, but this server has no stored arrays: use another source")
		return nil
	}
	s, err := p.open(Ref{URL: url, Zarr: true})
	if err != nil {
		p.Add("/url", "%v", err)
		return nil
	}
	t := p.stored(s, "/url")
	if t == 0 {
		return nil
	}
	return p.tiled(s, t)
}

func (p *parser) tiled(s Stored, t DType) Source {
	p.tile = append(Shape{}, s.Tile...)
	return newTiled(s, t, p.shape, p.fortran)
}
