package chunked

import (
	"context"
	"math"
)

const (
	// maxTileStates bounds the states of the outputs that a task sums together, in bytes. Tiles with more outputs are read
	// again for each part of them.
	maxTileStates = 32 << 20
	// keptTile is the largest tile whose memory a worker keeps between tasks.
	keptTile = 16 << 20
)

// followsTiles returns the source if the tasks of the plan follow its tiles, so that each is read once: those of a
// reduction over all axes, if no tile belongs to several chunks, and of any reduction over some axes. Companions are in
// memory order.
func (p *Plan) followsTiles(whole bool) *tiled {
	d, ok := p.array.source.(*tiled)
	if !ok || p.red.mask != nil || p.red.weights != nil {
		return nil
	}
	if whole {
		for i := range p.axes {
			if !p.axes[i].aligned(d.tile[i]) {
				return nil
			}
		}
	}
	return d
}

// aligned reports whether all chunks but the last end at multiples of unit.
func (a *axis) aligned(unit int64) bool {
	if a.starts == nil {
		return a.n <= 1 || a.chunk%unit == 0
	}
	for _, s := range a.starts[:a.n] {
		if s%unit != 0 {
			return false
		}
	}
	return true
}

// tilesOf returns the tiles of the current chunk as boxes.
func (c *fullReduction) tilesOf(cur *cursor) boxes {
	return boxes{dims: cur.ext[:len(c.dims)], block: c.tiles.tile, piece: c.tiles.tile}
}

// isTile reports whether the current chunk lies in one tile, which is read as a whole.
func (c *fullReduction) isTile(cur *cursor) bool {
	if c.tiles == nil {
		return false
	}
	b := c.tilesOf(cur)
	return b.len() == 1
}

// partsOfTiles appends the tasks for parts of chunk k, of about size elements, in whole tiles.
func (c *fullReduction) partsOfTiles(k int64, b boxes, volume, size int64) {
	n := b.len()
	per := ceilDiv(n, ceilDiv(volume, size))
	for lo := int64(0); lo < n; lo += per {
		c.ranges = append(c.ranges, taskRange{chunk: k, width: 1, lo: b.first(lo), hi: b.first(min(lo+per, n))})
	}
}

// runTiles sums whole chunks, tile by tile.
func (c *fullReduction) runTiles(
	ctx context.Context, w *Worker, s taskRange, cur *cursor, closeChunk func(states, int64) error,
) error {
	j := c.newTileJob(w, c.tiles)
	defer w.releaseTile()
	for range s.chunks {
		sums := reset(&w.batch, 1, c.red.needs.more)
		if v := cur.volume(); v > 0 {
			if err := c.addTiles(ctx, j, sums, cur, 0, v); err != nil {
				return err
			}
		}
		if err := closeChunk(sums, 0); err != nil {
			return err
		}
		cur.next()
	}
	return nil
}

// addTiles adds the tiles of the current chunk that have elements lo to hi in the order of its boxes.
func (c *fullReduction) addTiles(ctx context.Context, j *tileJob, s states, cur *cursor, lo, hi int64) error {
	b := c.tilesOf(cur)
	n := len(c.dims)
	i := int64(0)
	if lo > 0 {
		var at [MaxDims]int64
		b.coordinates(lo, at[:n])
		for k := range n {
			i = i*b.count(k) + b.pieceOf(k, at[k])
		}
	}
	var ahead, ignored [MaxDims]int64
	read := func(i int64) {
		if i >= b.len() {
			return
		}
		b.box(i, ahead[:n], ignored[:n])
		for k := range n {
			ahead[k] = (ahead[k] + cur.lo[k]) / c.tiles.tile[k]
		}
		c.tiles.ReadAhead(c.tiles.number(ahead[:n]))
	}
	if c.tiles.remote {
		for k := int64(1); k < c.tiles.ahead(); k++ {
			read(i + k)
		}
		if b.len() == 1 { // chunks are tiles
			c.readChunksAhead(j, cur)
		}
	}
	for ; lo < hi; i++ {
		b.box(i, j.lo[:n], j.ext[:n])
		v := int64(1)
		for k := range n {
			j.lo[k] += cur.lo[k]
			v *= j.ext[k]
		}
		if c.tiles.remote {
			read(i + c.tiles.ahead())
		}
		if err := j.add(ctx, s); err != nil {
			return err
		}
		lo += v
	}
	return nil
}

// readChunksAhead starts to read the tiles of the chunks after the current one that have not been started.
func (c *fullReduction) readChunksAhead(j *tileJob, cur *cursor) {
	if j.ahead--; j.ahead < 0 {
		j.next, j.ahead = *cur, 0
	}
	for ; j.ahead < c.tiles.ahead(); j.ahead++ {
		if j.next.next(); j.next.idx == [MaxDims]int64{} { // after the last chunk
			j.ahead = math.MaxInt64
			return
		}
		if j.next.volume() > 0 {
			c.tiles.ReadAhead(c.tiles.number(c.tileAt(&j.next)))
		}
	}
}

// tileAt returns the position of the first tile of a chunk.
func (c *fullReduction) tileAt(cur *cursor) []int64 {
	at := make([]int64, len(c.dims))
	for k := range at {
		at[k] = cur.lo[k] / c.tiles.tile[k]
	}
	return at
}

// releaseTile frees a large tile.
func (w *Worker) releaseTile() {
	if len(w.tile) > keptTile {
		w.tile = nil
	}
}

// tileReduction partitions a sum over some of the axes of an array in tiles. Its outputs are cut into boxes: those of
// the tiles along the kept axes or, if they are too many for a worker's memory, parts of them. A task sums the outputs of
// some boxes over all tiles along the reduced axes, or over a segment of them.
type tileReduction struct {
	*Plan
	tiles          *tiled
	kept, reducing boxes // in memory order, of the axes in the lists
	keptAxes       []int
	reducedAxes    []int

	boxes, depth    int64 // the numbers of each
	perTask, blocks int64 // boxes, tasks
	segments        int64
	segmentLen      int64 // tiles along the reduced axes
}

func newTileReduction(p *Plan, d *tiled, sizes sizes) *tileReduction {
	t := &tileReduction{Plan: p, tiles: d}
	for k, n := range d.dims {
		b, list := &t.kept, &t.keptAxes
		if p.reduced[k] {
			b, list = &t.reducing, &t.reducedAxes
		}
		*list = append(*list, k)
		b.dims = append(b.dims, n)
		b.block = append(b.block, min(d.tile[k], max(n, 1)))
	}
	t.reducing.piece = t.reducing.block
	t.cutOutputs()
	t.boxes, t.depth = t.kept.len(), t.reducing.len()
	work := p.array.Elements()
	want := max(ceilDiv(work, sizes.target(work)), 1)
	t.perTask = max(t.boxes/want, 1)
	t.blocks = max(ceilDiv(t.boxes, t.perTask), 1)
	t.segments = 1
	if t.boxes > 0 && t.depth > 0 {
		few := ceilDiv(min(want, sizes.few), t.boxes)
		short := ceilDiv(work/t.boxes, sizes.longest)
		most := maxPartialBytes / p.red.needs.maxState() / max(p.items, 1)
		t.segments = max(min(max(few, short), most, t.depth), 1)
	}
	t.segmentLen = max(ceilDiv(t.depth, t.segments), 1)
	t.segments = max(ceilDiv(t.depth, t.segmentLen), 1)
	return t
}

// cutOutputs cuts the outputs of a tile until their states fit the memory of a worker.
func (t *tileReduction) cutOutputs() {
	t.kept.piece = append(Shape{}, t.kept.block...)
	size := int64(512)
	if t.red.needs.more {
		size = 1536
	}
	for k := range t.kept.piece {
		n, _ := t.kept.piece.Elements()
		if n <= maxTileStates/size {
			return
		}
		rest := n / t.kept.piece[k]
		t.kept.piece[k] = max(maxTileStates/size/rest, 1)
	}
}

func (t *tileReduction) tasks() int { return int(t.blocks * t.segments) }

// part returns the range of a task: boxes first to last, and tiles lo to hi along the reduced axes.
func (t *tileReduction) part(task int) (first, last, lo, hi int64) {
	block, segment := int64(task)/t.segments, int64(task)%t.segments
	first = min(block*t.perTask, t.boxes)
	lo = min(segment*t.segmentLen, t.depth)
	return first, min(first+t.perTask, t.boxes), lo, min(lo+t.segmentLen, t.depth)
}

func (t *tileReduction) outputs(task int) (first, n int64) {
	from, to, _, _ := t.part(task)
	if from >= to {
		return 0, 0
	}
	first = t.kept.first(from)
	return first, t.kept.first(to) - first
}

func (t *tileReduction) items(task int) (first, n int64) {
	if t.segments > 1 {
		return 0, 0
	}
	return t.outputs(task)
}

func (t *tileReduction) elements(task int) int64 {
	_, n := t.outputs(task)
	_, _, lo, hi := t.part(task)
	if n == 0 || lo >= hi {
		return 0
	}
	return n * (t.reducing.first(hi) - t.reducing.first(lo))
}

// partialKind returns the type of the partials.
func (t *tileReduction) partialKind() byte { return outputKind(t.segments, t.merged) }

// output returns the C-order number of output i in the order of the boxes.
func (t *tileReduction) output(i int64) int64 {
	var at [MaxDims]int64
	t.kept.coordinates(i, at[:len(t.kept.dims)])
	index := int64(0)
	for k := range t.kept.dims {
		if t.array.fortran {
			k = len(t.kept.dims) - 1 - k
		}
		index = index*t.kept.dims[k] + at[k]
	}
	return index
}

func (t *tileReduction) run(ctx context.Context, w *Worker, task int, dst []byte, yield func(Item) error) ([]byte, error) {
	first, last, lo, hi := t.part(task)
	out := t.newOutputs(t.partialKind(), dst)
	j := t.newTileJob(w, t.tiles)
	defer w.releaseTile()
	var start, ext [MaxDims]int64
	for i := first; i < last; i++ {
		at := t.kept.box(i, start[:], ext[:])
		n := int64(1)
		for k, axis := range t.keptAxes {
			j.lo[axis], j.ext[axis] = start[k], ext[k]
			n *= ext[k]
		}
		sums := reset(&w.batch, n, t.red.needs.more)
		for d := lo; d < hi; d++ {
			t.readAhead(i, d, d == lo && (i == first || t.segments > 1))
			t.reducing.box(d, start[:], ext[:])
			for k, axis := range t.reducedAxes {
				j.lo[axis], j.ext[axis] = start[k], ext[k]
			}
			if err := j.add(ctx, sums); err != nil {
				return out.dst, err
			}
		}
		for k := range n {
			if err := out.add(w, at+k, sums, k, yield); err != nil {
				return out.dst, err
			}
		}
	}
	return out.end(), nil
}

// readAhead starts to read the tile that is some after tile d of a box, or those up to it too.
func (t *tileReduction) readAhead(box, d int64, all bool) {
	if !t.tiles.remote {
		return
	}
	most := t.tiles.ahead()
	from := most
	if all {
		from = 1
	}
	var lo, ext, at [MaxDims]int64
	for k := from; k <= most; k++ {
		i, tile := box, d+k
		if tile >= t.depth {
			i, tile = i+tile/t.depth, tile%t.depth
		}
		if i >= t.boxes {
			return
		}
		t.kept.box(i, lo[:], ext[:])
		for n, axis := range t.keptAxes {
			at[axis] = lo[n] / t.tiles.tile[axis]
		}
		t.reducing.box(tile, lo[:], ext[:])
		for n, axis := range t.reducedAxes {
			at[axis] = lo[n] / t.tiles.tile[axis]
		}
		t.tiles.ReadAhead(t.tiles.number(at[:len(t.tiles.dims)]))
	}
}
