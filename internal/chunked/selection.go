package chunked

import (
	"context"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
)

// selected is the source of a part of another source, by NumPy's basic indexing. It reads only the elements that it has,
// and those between elements that are close together.
type selected struct {
	source  Source
	dims    Shape   // in memory order; axes whose elements follow each other are one
	strides []int64 // in elements of source, negative for reversed axes
	base    int64   // element of source
}

const (
	// closeBytes is the distance up to which elements are read together with what is between them.
	closeBytes = 1 << 10
	// spanBytes is how much is read together.
	spanBytes = 64 << 10
)

var spans = sync.Pool{New: func() any { b := alignedBytes(spanBytes); return &b }}

// axisSelection selects n elements of an axis from start on.
type axisSelection struct {
	start, step, n int64
	drop           bool // a single element, whose axis is left out
}

// selectFrom returns the selection of a source and its shape.
func selectFrom(src Source, shape Shape, fortran bool, sel []axisSelection) (Source, Shape) {
	out := Shape{}
	s := &selected{source: src}
	dims := shape
	if fortran {
		dims = shape.reversed()
	}
	strides := dims.strides()
	for i := range dims {
		k := i
		if fortran {
			k = len(dims) - 1 - i
		}
		a := sel[k]
		s.base += a.start * strides[i]
		if !a.drop {
			s.dims, s.strides = append(s.dims, a.n), append(s.strides, a.step*strides[i])
		}
	}
	for _, a := range sel {
		if !a.drop {
			out = append(out, a.n)
		}
	}
	s.join()
	n, _ := out.Elements()
	if f, ok := src.(*file); ok && n > 0 && len(s.dims) == 1 && s.strides[0] == 1 { // one run, which can be read in place
		stored := f.Stored
		stored.Header.Offset += s.base * int64(f.dtype.Size())
		stored.Header.Shape = out
		return newFile(stored, f.dtype), out
	}
	return s, out
}

// join makes one axis of axes whose elements follow each other.
func (s *selected) join() {
	dims, strides := Shape{1}, []int64{1}
	for i, n := range s.dims {
		last := len(dims) - 1
		switch {
		case n == 1:
		case dims[last] == 1:
			dims[last], strides[last] = n, s.strides[i]
		case strides[last] == s.strides[i]*n:
			dims[last], strides[last] = dims[last]*n, s.strides[i]
		default:
			dims, strides = append(dims, n), append(strides, s.strides[i])
		}
	}
	s.dims, s.strides = dims, strides
}

func (s *selected) DType() DType   { return s.source.DType() }
func (s *selected) Constant() bool { return s.source.Constant() }

func (s *selected) Fill(ctx context.Context, dst []byte, lo int64) error {
	if s.source.Constant() {
		return s.source.Fill(ctx, dst, 0)
	}
	size := int64(s.DType().Size())
	last := len(s.dims) - 1
	for len(dst) > 0 {
		at, off := lo, s.base
		for k := last; k >= 0; k-- {
			off += at % s.dims[k] * s.strides[k]
			at /= s.dims[k]
		}
		n := min(s.dims[last]-lo%s.dims[last], int64(len(dst))/size)
		if err := s.fillRun(ctx, dst[:n*size], off, s.strides[last]); err != nil {
			return err
		}
		dst = dst[n*size:]
		lo += n
	}
	return nil
}

// fillRun reads elements that are stride elements apart, of which the first is element off of the source.
func (s *selected) fillRun(ctx context.Context, dst []byte, off, stride int64) error {
	if stride == 1 {
		return s.source.Fill(ctx, dst, off)
	}
	size := int64(s.DType().Size())
	apart := max(stride, -stride)
	if apart*size > closeBytes {
		for ; len(dst) > 0; dst = dst[size:] {
			if err := s.source.Fill(ctx, dst[:size], off); err != nil {
				return err
			}
			off += stride
		}
		return nil
	}
	buf := spans.Get().(*[]byte)
	for most := (spanBytes/size-1)/apart + 1; len(dst) > 0; {
		n := min(most, int64(len(dst))/size)
		first, step := off, stride
		if stride < 0 {
			first = off + (n-1)*stride
		}
		span := (*buf)[:((n-1)*apart+1)*size]
		if err := s.source.Fill(ctx, span, first); err != nil {
			return err // an interrupted read may still write to the buffer, which is not returned
		}
		for i := range n {
			copy(dst[i*size:][:size], span[(off+i*step-first)*size:])
		}
		dst = dst[n*size:]
		off += n * stride
	}
	spans.Put(buf)
	return nil
}

const wantSelection = `write a list with an index, null or {"start":0,"stop":10,"step":2} for each axis`

// selection parses the field "select", one entry for each of the first axes; nil after adding an error.
func (p *parser) selection() []axisSelection {
	raw := p.Get("select")
	if raw.Kind() != '[' {
		p.Add("/select", "is not a list: "+wantSelection)
		return nil
	}
	before := p.Total()
	sel := make([]axisSelection, len(p.shape))
	for i, n := range p.shape {
		sel[i] = axisSelection{step: 1, n: n}
	}
	for i, e := range fields.Elements(raw) {
		pointer := "/select/" + strconv.FormatInt(i, 10)
		if i >= int64(len(sel)) {
			p.Add(pointer, "is for an axis that the array of shape %s has not: omit it", p.shape)
			break
		}
		if sel[i] = p.selectAxis(e, pointer, p.shape[i]); p.Full() {
			break
		}
	}
	if p.Total() > before {
		return nil
	}
	return sel
}

// selectAxis parses the entry of an axis of n elements: null for all, an index, or a slice.
func (p *parser) selectAxis(raw jsontext.Value, pointer string, n int64) axisSelection {
	switch raw.Kind() {
	case 'n':
		return axisSelection{step: 1, n: n}
	case '{':
		return p.slice(raw, pointer, n)
	}
	v, ok := parseScalar(raw)
	at, fits := v.int64()
	switch {
	case !ok || v.kind == boolScalar || v.kind == specialScalar || !fits:
		p.Add(pointer, "is neither an index, null nor a slice: "+wantSelection)
	case at < -n || at >= n:
		p.Add(pointer, "is index %d of an axis of length %d", at, n)
	case at < 0:
		at += n
	}
	return axisSelection{start: at, step: 1, n: 1, drop: true}
}

// slice parses a slice of an axis of n elements, with the defaults and bounds of Python's.
func (p *parser) slice(raw []byte, pointer string, n int64) axisSelection {
	var errs fields.Errors
	f, _ := fields.Read(raw, &errs)
	f.NullIsAbsent("start", "stop", "step")
	o := object{f}
	start, hasStart := o.integer("start")
	stop, hasStop := o.integer("stop")
	step, hasStep := o.integer("step")
	o.Unused(nil, `is not a field of a slice: write "start", "stop" and "step"`)
	if !hasStep {
		step = 1
	}
	if step == 0 && errs.Total() == 0 {
		o.Add("/step", "is 0: a step must not be 0")
	}
	p.Merge(pointer, &errs)
	if step == 0 {
		return axisSelection{}
	}
	clamp := func(v int64, given bool, absent, least, most int64) int64 {
		if !given {
			return absent
		}
		if v < 0 {
			v += n
		}
		return min(max(v, least), most)
	}
	if step > 0 {
		a, b := clamp(start, hasStart, 0, 0, n), clamp(stop, hasStop, n, 0, n)
		step = min(step, max(n, 1)) // the same elements, and no overflow
		return axisSelection{start: a, step: step, n: max(ceilDiv(b-a, step), 0)}
	}
	a, b := clamp(start, hasStart, n-1, -1, n-1), clamp(stop, hasStop, -1, -1, n-1)
	step = max(step, -max(n, 1))
	return axisSelection{start: a, step: step, n: max(ceilDiv(a-b, -step), 0)}
}
