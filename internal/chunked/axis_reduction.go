package chunked

import (
	"context"
	"slices"
)

const (
	// maxPartialBytes bounds the partials of a job whose outputs are summed by several tasks, at the maximum size of an
	// encoded accumulator. Outputs that one task completes add only their values.
	maxPartialBytes = 64 << 20
	// maxEncoded is that maximum size including the length, in bytes.
	maxEncoded = 277
	// minColumns is the minimum width of a batch of outputs, because narrower ones have shorter memory runs.
	minColumns = 32
	// maxInterleaved is the longest panel, in elements, whose rows are interleaved.
	maxInterleaved = minColumns
	// minInterleaved is the minimum number of panels for which interleaving pays off.
	minInterleaved = 16
)

// axisReduction partitions a sum over some of the axes into blocks of outputs, and blocks into segments of the summed
// elements.
//
// It treats the array in memory order as alternating groups of axes, kept and reduced, of which only these matter:
//
//	outer...  kept  rows  inner
//
// inner outputs are contiguous (1 if the last axis is reduced), rows of them follow each other and are added, and the
// whole is repeated kept times. Outer groups, kept or reduced, are iterated by their strides.
//
// If rows are few and short, as in a sum over the first and last axis of an image, adding panel by panel would cost
// more than the elements. Then the three groups are treated as one group of columns, and the interleave columns of each
// output, width apart, are merged last.
// the same output are merged last: fold of them each, lane apart.
type axisReduction struct {
	*Plan
	inner, rows, kept       int64
	interleave, width       int64 // 1 and 1 without interleaving
	outerKept, outerReduced []group
	outer, repeats          int64 // the number of combinations of each

	// A batch is summed together: innerSize columns, or all inner columns of keptSize kept.
	innerPieces, innerSize int64
	keptPieces, keptSize   int64
	batches                int64

	batchesPerTask int64
	blocks         int64 // of batchesPerTask batches
	segments       int64 // per block
	segmentLen     int64 // in positions of the repeats*rows that an output sums
}

// group is one or more neighbouring axes treated as one.
type group struct{ size, stride int64 }

func newAxisReduction(p *Plan, sizes sizes) *axisReduction {
	o := &axisReduction{Plan: p, inner: 1, rows: 1, kept: 1, outer: 1, repeats: 1}
	o.group()
	work := p.array.Elements()
	target := sizes.target(work)
	want := max(ceilDiv(work, target), 1)
	for columns := o.maxColumns(); ; columns /= 2 {
		o.cutBatches(columns, target)
		o.cutTasks(want, sizes)
		enough := o.blocks*o.segments >= min(want, sizes.few)/4
		if short := o.elements(0) <= sizes.longest; columns <= minColumns || enough && short || columns > maxColumns {
			return o
		}
	}
}

// maxColumns returns the maximum width of a batch: the width that is fastest to generate, or to read from a file.
func (o *axisReduction) maxColumns() int64 {
	f, stored := o.array.source.(*file)
	_, inTiles := o.array.source.(*tiled)
	size := o.array.DType().Size()
	switch {
	case inTiles: // so that a row of tiles is decoded once
		return min(remoteColumns/4, capacity(size))
	case !stored:
		return 256
	case !f.Remote:
		return min(4096/int64(size), maxColumns)
	case o.red.needs.more:
		return min(remoteColumns/4, capacity(size))
	}
	return min(remoteColumns, capacity(size))
}

// remoteColumns is the width up to which whole rows of a remote array are read together. Their states take megabytes.
const remoteColumns = 16 << 10

// group merges neighbouring axes that are both kept or both reduced (axes of length 1 join either), and assigns the
// groups to their roles.
func (o *axisReduction) group() {
	type run struct {
		group
		reduced bool
	}
	var runs []run
	for i, d := range o.dims {
		if d == 1 {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].reduced == o.reduced[i] {
			runs[n-1].size *= d
			runs[n-1].stride = o.strides[i]
			continue
		}
		runs = append(runs, run{group{d, o.strides[i]}, o.reduced[i]})
	}
	pop := func(reduced bool, size *int64) {
		if n := len(runs); n > 0 && runs[n-1].reduced == reduced {
			*size = runs[n-1].size
			runs = runs[:n-1]
		}
	}
	pop(false, &o.inner)
	pop(true, &o.rows)
	pop(false, &o.kept)
	o.interleave, o.width = 1, 1
	// Groups alternate, so the group before a kept one is reduced.
	if n := len(runs); n > 0 && runs[n-1].size >= minInterleaved && o.rows > 1 && o.inner > 0 && o.rows*o.inner <= maxInterleaved {
		o.interleave, o.width = o.rows, o.inner
		o.inner *= o.rows * o.kept
		o.rows, o.kept = 1, 1
		pop(true, &o.rows)
		pop(false, &o.kept)
	}
	for _, r := range runs {
		if r.reduced {
			o.outerReduced = append(o.outerReduced, r.group)
			o.repeats *= r.size
		} else {
			o.outerKept = append(o.outerKept, r.group)
			o.outer *= r.size
		}
	}
}

// cutBatches creates batches of at most columns outputs, as even as possible, and of about target elements if they are
// of several kept.
func (o *axisReduction) cutBatches(columns, target int64) {
	cut := func(n, most int64) (pieces, size int64) {
		pieces = ceilDiv(n, most)
		if pieces == 0 {
			return 0, 1
		}
		size = ceilDiv(n, pieces)
		return ceilDiv(n, size), size
	}
	unit := o.interleave * o.width // merged columns stay together
	o.innerPieces, o.innerSize = cut(o.inner/unit, columns/unit)
	o.innerSize *= unit
	o.keptPieces, o.keptSize = cut(o.kept, max(min(columns/max(o.inner, 1), target/max(o.rows*o.inner, 1)), 1))
	o.batches = o.outer * o.keptPieces * o.innerPieces
}

// cutTasks creates about want tasks: of several batches if there are enough, otherwise of segments of one, within the
// bounds on partials. Segments have a cost: each has a partial for every output, which is rounded last. So there are only
// as many as a few workers need, or as keep tasks short.
func (o *axisReduction) cutTasks(want int64, sizes sizes) {
	positions := o.repeats * o.rows
	o.segments = 1
	if o.batches > 0 {
		width := max(o.innerSize*o.keptSize, 1)
		few := ceilDiv(min(want, sizes.few/2), o.batches)
		short := ceilDiv(positions, max(sizes.longest/width, 1))
		most := min(positions/sizes.segment, maxPartialBytes/o.red.needs.maxState()/max(o.Plan.items, 1))
		o.segments = max(min(max(few, short), most), 1)
	}
	o.batchesPerTask = max(o.batches/want, 1)
	o.blocks = max(ceilDiv(o.batches, o.batchesPerTask), 1)
	o.segmentLen = ceilDiv(positions, o.segments)
	if o.segmentLen > 0 {
		o.segments = ceilDiv(positions, o.segmentLen)
	}
}

func (o *axisReduction) tasks() int { return int(o.blocks * o.segments) }

// part returns the range of a task: batches first to last, and positions lo to hi of each.
func (o *axisReduction) part(task int) (first, last, lo, hi int64) {
	block, segment := int64(task)/o.segments, int64(task)%o.segments
	first = block * o.batchesPerTask
	last = min(first+o.batchesPerTask, o.batches)
	lo = segment * o.segmentLen
	return first, last, lo, min(lo+o.segmentLen, o.repeats*o.rows)
}

// outputs returns the range of outputs, in memory order, that the task sums.
func (o *axisReduction) outputs(task int) (first, n int64) {
	from, to, _, _ := o.part(task)
	if from >= to {
		return 0, 0
	}
	a, b := o.batch(from), o.batch(to-1)
	return a.first, b.first + b.columns()/o.interleave - a.first
}

func (o *axisReduction) items(task int) (first, n int64) {
	if o.segments > 1 {
		return 0, 0
	}
	return o.outputs(task)
}

func (o *axisReduction) elements(task int) int64 {
	_, n := o.outputs(task)
	_, _, lo, hi := o.part(task)
	return n * o.interleave * (hi - lo)
}

// batch is a block of consecutive outputs: some columns of one kept, or all columns of several.
type batch struct {
	first       int64 // output, in memory order
	base        int64 // offset of the first element of the first column in memory
	kept, inner int64 // numbers of each
}

func (b batch) columns() int64 { return b.kept * b.inner }

func (o *axisReduction) batch(i int64) batch {
	innerPiece := i % o.innerPieces
	i /= o.innerPieces
	keptPiece, outer := i%o.keptPieces, i/o.keptPieces
	kept, inner := keptPiece*o.keptSize, innerPiece*o.innerSize
	return batch{
		first: ((outer*o.kept+kept)*o.inner + inner) / o.interleave,
		base:  offset(o.outerKept, outer) + kept*o.rows*o.inner + inner,
		kept:  min(o.keptSize, o.kept-kept),
		inner: min(o.innerSize, o.inner-inner),
	}
}

// offset returns the memory offset of combination i of the groups, the last group varying fastest.
func offset(groups []group, i int64) (off int64) {
	for _, g := range slices.Backward(groups) {
		off += i % g.size * g.stride
		i /= g.size
	}
	return off
}

func (o *axisReduction) run(ctx context.Context, w *Worker, task int, dst []byte, yield func(Item) error) ([]byte, error) {
	first, last, lo, hi := o.part(task)
	out := o.newOutputs(o.partialKind(), dst)
	for i := first; i < last; i++ {
		b := o.batch(i)
		sums := reset(&w.batch, b.columns(), o.red.needs.more)
		if err := o.addBatch(ctx, w, sums, b, lo, hi); err != nil {
			return out.dst, err
		}
		for j := range o.mergeInterleaved(sums) {
			if err := out.add(w, b.first+j, sums, j, yield); err != nil {
				return out.dst, err
			}
		}
	}
	return out.end(), nil
}

// partialKind returns the type of the partials.
func (o *axisReduction) partialKind() byte { return outputKind(o.segments, o.merged) }

// mergeInterleaved merges the columns of the same output, moves the outputs to the front, and returns their number.
func (o *axisReduction) mergeInterleaved(s states) int64 {
	columns := int64(s.len())
	if o.interleave == 1 {
		return columns
	}
	n := int64(0)
	for first := int64(0); first < columns; first += o.interleave * o.width {
		for i := range o.width {
			for k := int64(1); k < o.interleave; k++ {
				s.merge(first+i, s, first+k*o.width+i, &o.red)
			}
			s.sums[n] = s.sums[first+i] // never beyond the next column to read
			if s.more != nil {
				s.more[n] = s.more[first+i]
			}
			n++
		}
	}
	return n
}

// addBatch adds positions lo to hi of every output of b.
func (o *axisReduction) addBatch(ctx context.Context, w *Worker, sums states, b batch, lo, hi int64) error {
	for lo < hi {
		repeat, row := lo/o.rows, lo%o.rows
		n := min(o.rows-row, hi-lo)
		off := b.base + offset(o.outerReduced, repeat) + row*o.inner
		var err error
		if n == o.rows && b.inner == o.inner && o.rows*o.inner <= capacity(o.array.DType().Size()) {
			err = o.addPanels(ctx, w, sums, b, off)
		} else {
			for k := range b.kept {
				if err = o.addRows(ctx, w, sums.cut(k*b.inner, (k+1)*b.inner), off+k*o.rows*o.inner, n); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
		lo += n
	}
	return nil
}

// addPanels adds all rows of all kept ones of b, which are one run of memory from off. It reads as many panels together
// as fit the scratch; each panel fits.
func (o *axisReduction) addPanels(ctx context.Context, w *Worker, sums states, b batch, off int64) error {
	panel := o.rows * o.inner
	bytes := panel * int64(o.red.elements.Size())
	first := int64(0)
	return w.eachRows(ctx, o.array.source, off, panel, panel, b.kept, func(m matrix) error {
		for i := range m.n {
			err := w.addColumns(ctx, sums.cut(first, first+o.inner), &o.red, matrix{
				mem: m.mem[i*bytes:][:bytes], width: o.inner, stride: o.inner, n: o.rows, at: m.at + i*panel, step: o.inner,
			})
			if err != nil {
				return err
			}
			first += o.inner
		}
		return nil
	})
}

// addRows adds n rows with an element for each state, of which the first begins at off in memory.
func (o *axisReduction) addRows(ctx context.Context, w *Worker, sums states, off, n int64) error {
	return w.eachRows(ctx, o.array.source, off, int64(sums.len()), o.inner, n, func(m matrix) error {
		return w.addColumns(ctx, sums, &o.red, m)
	})
}
