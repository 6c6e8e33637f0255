package chunked

import (
	"context"
	"slices"
)

// tileJob adds boxes of tiles to states, with the scratch of a worker. It belongs to one task.
type tileJob struct {
	*Plan
	src *tiled
	w   *Worker

	lo, ext, within [MaxDims]int64 // the current box: its start in the array, its lengths, and its start in the tile
	pos             [MaxDims]int64 // of the tile
	memory          tileMemory
	local           *Plan // of a box of the lengths in shape
	shape           [MaxDims]int64
	columns         *axisReduction // of local, or nil in a reduction over all axes
	found           states         // of the current box, if they are merged

	next  cursor // the last chunk whose tile is read ahead
	ahead int64  // how many chunks it is ahead
}

func (p *Plan) newTileJob(w *Worker, src *tiled) *tileJob {
	return &tileJob{Plan: p, src: src, w: w, memory: tileMemory{dtype: src.dtype}}
}

// add adds the elements of the current box, which lies in one tile, to s: to its only state, or a state for each output
// of the box in memory order.
func (j *tileJob) add(ctx context.Context, s states) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := j.read(ctx); err != nil {
		return err
	}
	n := len(j.dims)
	if j.local == nil || j.shape != j.ext {
		j.plan(n)
	}
	if !j.red.needs.positions {
		return j.addTo(ctx, s)
	}
	found := reset(&j.found, int64(s.len()), true)
	if err := j.addTo(ctx, found); err != nil {
		return err
	}
	for i := range found.more {
		m := &found.more[i]
		for _, at := range []*int64{&m.firstNaN, &m.lo.at, &m.hi.at} {
			*at = j.inArray(*at)
		}
		s.merge(int64(i), found, int64(i), &j.red)
	}
	return nil
}

// inArray returns the offset in the array of an offset in the box.
func (j *tileJob) inArray(at int64) (off int64) {
	for k := range slices.Backward(j.dims) {
		off += (j.lo[k] + at%j.ext[k]) * j.strides[k]
		at /= j.ext[k]
	}
	return off
}

// tileSlack is the memory behind a tile that a decoder may use.
const tileSlack = 64

// read reads the tile, and moves the box to the front of the memory.
func (j *tileJob) read(ctx context.Context) error {
	size := j.src.bytes()
	if int64(len(j.w.tile)) < size+tileSlack {
		j.w.tile = alignedBytes(size + tileSlack)
	}
	mem := j.w.tile[: size : size+tileSlack]
	n := len(j.dims)
	for k := range n {
		j.pos[k] = j.lo[k] / j.src.tile[k]
		j.within[k] = j.lo[k] - j.pos[k]*j.src.tile[k]
	}
	if err := j.src.ReadTile(ctx, j.src.number(j.pos[:n]), mem); err != nil {
		return tileError(err)
	}
	box := cursor{lo: j.within, ext: j.ext}
	volume := int64(1)
	for k := range n {
		volume *= j.ext[k]
	}
	elem := int64(j.dtype().Size())
	run := newRuns(&box, j.src.tile, j.src.tile.strides(), 0)
	for done := int64(0); done < volume; {
		off, length := run.take(volume - done)
		if off != done {
			copy(mem[done*elem:], mem[off*elem:(off+length)*elem]) // never to a later place
		}
		done += length
	}
	j.memory.mem = mem[:volume*elem]
	return nil
}

func (j *tileJob) dtype() DType { return j.src.dtype }

// plan sets the plan of a box of the current lengths.
func (j *tileJob) plan(n int) {
	j.shape = j.ext
	dims := append(Shape{}, j.ext[:n]...)
	p := &Plan{
		array: &Array{source: &j.memory, shape: dims, fortran: j.array.fortran}, red: j.red,
		dims: dims, strides: dims.strides(), reduced: j.reduced,
	}
	if j.array.fortran {
		p.array.shape = dims.reversed()
	}
	p.red.locate(p)
	j.local, j.columns = p, nil
	if !p.red.isWhole(p.array) {
		o := &axisReduction{Plan: p, inner: 1, rows: 1, kept: 1, outer: 1, repeats: 1}
		o.group()
		o.cutBatches(min(4096/int64(j.dtype().Size()), maxColumns), 1<<40)
		j.columns = o
	}
}

// addTo adds the box in memory to s.
func (j *tileJob) addTo(ctx context.Context, s states) error {
	red := &j.local.red
	o := j.columns
	if o == nil {
		return j.w.eachRun(ctx, &j.memory, 0, int64(len(j.memory.mem))/int64(j.dtype().Size()), func(mem []byte, at int64) error {
			return j.w.addTo(ctx, s, 0, red, mem, at)
		})
	}
	for i := range o.batches {
		b := o.batch(i)
		if o.interleave == 1 {
			if err := o.addBatch(ctx, j.w, s.cut(b.first, b.first+b.columns()), b, 0, o.repeats*o.rows); err != nil {
				return err
			}
			continue
		}
		columns := reset(&j.w.chunk, b.columns(), red.needs.more)
		if err := o.addBatch(ctx, j.w, columns, b, 0, o.repeats*o.rows); err != nil {
			return err
		}
		for k := range o.mergeInterleaved(columns) {
			s.merge(b.first+k, columns, k, red)
		}
	}
	return nil
}
