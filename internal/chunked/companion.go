package chunked

import (
	"context"
	"slices"

	"gather/internal/fields"
)

// companion is a second array, whose element at the place of an element of the reduced array is its weight, or is true
// if it is used.
type companion struct {
	source   Source
	elements int64 // repeated along the first axes of the reduced array
}

// parseCompanion parses the description of an array that has the shape of a, or that of its last axes.
func parseCompanion(raw []byte, a *Array, opts Options, errs *fields.Errors) (c *companion, t DType) {
	other := ParseArray(raw, opts, errs)
	if other == nil {
		return nil, 0
	}
	shape := other.Shape()
	skip := len(a.shape) - len(shape)
	if skip < 0 || !slices.Equal(shape, a.shape[skip:]) {
		errs.Add("", "has the shape %s, but the array has %s: write one of the same shape, or of that of the last axes", shape, a.shape)
		return nil, 0
	}
	ordered := other.fortran == a.fortran && (skip == 0 || !a.fortran)
	if long := slices.DeleteFunc(slices.Clone(a.shape), func(d int64) bool { return d < 2 }); !ordered && len(long) > 1 && !other.source.Constant() {
		errs.Add("", "is in another order of memory than the array: store both in C order, or both in Fortran order and with the same shape")
		return nil, 0
	}
	return &companion{source: other.source, elements: max(other.Elements(), 1)}, other.DType()
}

// load returns the elements at the places of m, row by row without gaps, in the memory of buf.
func (c *companion) load(ctx context.Context, buf *[]byte, m matrix) ([]byte, error) {
	size := int64(c.source.DType().Size())
	n, width, step := m.n, m.width, m.step
	if step == width { // one run
		n, width = 1, n*width
	}
	if need := n * width * size; int64(len(*buf)) < need {
		*buf = alignedBytes(need)
	}
	mem := (*buf)[:n*width*size]
	for i := range n {
		row := mem[i*width*size:][:width*size]
		for at := (m.at + i*step) % c.elements; len(row) > 0; at = 0 {
			piece := row[:min((c.elements-at)*size, int64(len(row)))]
			if err := c.source.Fill(ctx, piece, at); err != nil {
				*buf = nil // an interrupted read may still write to it
				return nil, err
			}
			row = row[len(piece):]
		}
	}
	return mem, nil
}

// beside are the elements of companions for a range of elements; nil for those that there are not.
type beside struct {
	mask, weights []byte
	size          int64 // of a weight, in bytes
}

// split returns what is beside the first n elements, and the rest.
func (b beside) split(n int64) (first, rest beside) {
	first, rest = b, b
	if b.mask != nil {
		first.mask, rest.mask = b.mask[:n], b.mask[n:]
	}
	if b.weights != nil {
		first.weights, rest.weights = b.weights[:n*b.size], b.weights[n*b.size:]
	}
	return first, rest
}

// loadBeside returns the elements of the companions of a reduction at the places of m.
func (w *Worker) loadBeside(ctx context.Context, r *Reduction, m matrix) (b beside, err error) {
	if r.mask != nil {
		if b.mask, err = r.mask.load(ctx, &w.block.mask, m); err != nil {
			return b, err
		}
	}
	if r.weights != nil {
		b.size = int64(r.weights.source.DType().Size())
		b.weights, err = r.weights.load(ctx, &w.block.weights, m)
	}
	return b, err
}
