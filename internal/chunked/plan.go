package chunked

import (
	"context"
	"fmt"
	"slices"

	"gather/internal/fields"
)

// sizes are the sizes of tasks.
type sizes struct {
	// A task is a 64th of the array, within these bounds, in elements: milliseconds of work, so that small jobs do not
	// wait longer, and tens of bytes of partial for megabytes of data.
	least, most int64
	// share bounds the number of tasks: a task is at least this share of the array, so there are at most 2*share+1
	// tasks.
	share int64
	// whole is the size up to which one task sums a whole chunk, so that its sum is known when the task ends: some
	// milliseconds of work.
	whole int64
	// segment is the minimum number of elements of an output that a task sums, to amortize the cost of the partial.
	segment int64
	// few is the number of tasks into which the outputs are cut at any rate, and longest the number of elements beyond
	// which a task is too long for others to wait.
	few, longest int64
}

var taskSizes = sizes{
	least: 128 << 10, most: 256 << 10, share: 1 << 19, whole: 3 << 19, segment: 1024, few: 16, longest: 4 << 20,
}

// storedMost is sizes.most for stored elements, which are read faster than others are generated, and storedLongest is
// sizes.longest in bytes.
const (
	storedMost    = 1 << 20
	storedLongest = 64 << 20
)

// target returns the size of tasks for work elements.
func (s sizes) target(work int64) int64 {
	t := min(max(ceilDiv(work, 64), s.least), s.most)
	return max(t, ceilDiv(work, s.share))
}

// Item is one result that a client sees: of a chunk in a reduction over all axes, otherwise of an element of the result.
// Items are numbered in C order of the grid or of the result. The values, one for each statistic, are valid until the
// callback that got the item returns.
type Item struct {
	Index  int64
	Values []Number
}

// Plan is a sum partitioned into tasks. It is immutable, safe for concurrent use, and a pure function of the array and
// the reduction: the same description has the same tasks after a restart and on every machine.
type Plan struct {
	array *Array
	red   Reduction
	shape Shape // of the result
	// merged is whether a Reducer has the elements of the result; otherwise they are only in the items.
	merged bool

	// The fields below are in memory order: the array's axes, reversed if it is Fortran-ordered. Only itemIndex
	// translates.
	dims    Shape
	strides []int64
	axes    []axis
	reduced []bool

	items   int64
	numbers Shape // the shape in which items are numbered: grid or result, in memory order
	cut     partitioner
}

// partitioner partitions a sum into tasks.
type partitioner interface {
	tasks() int
	elements(task int) int64
	// items returns the range of items, in memory order, that a task completes alone.
	items(task int) (first, n int64)
	run(ctx context.Context, w *Worker, task int, dst []byte, yield func(Item) error) ([]byte, error)
}

// NewPlan partitions the sum of a over the axes of r into tasks. Its only error, a *fields.Errors at "/axis", is a
// result with more elements than limits allows.
func NewPlan(a *Array, r Reduction, limits Limits) (*Plan, error) {
	sizes := taskSizes
	switch a.source.(type) {
	case *file, *tiled:
		sizes.most = storedMost
		sizes.longest = storedLongest / int64(a.DType().Size())
	}
	return newPlan(a, r, limits, sizes)
}

func newPlan(a *Array, r Reduction, limits Limits, sizes sizes) (*Plan, error) {
	p := &Plan{array: a, red: r, shape: r.shapeOf(a.shape), merged: true, dims: a.shape, axes: a.grid.axes}
	if a.fortran {
		p.dims = a.shape.reversed()
		p.axes = make([]axis, len(a.grid.axes))
		for i, ax := range a.grid.axes {
			p.axes[len(p.axes)-1-i] = ax
		}
	}
	p.strides = p.dims.strides()
	whole := true
	for i := range p.dims {
		p.reduced = append(p.reduced, r.has(p.axisNumber(i)))
		whole = whole && p.reduced[i]
	}
	p.red.locate(p)
	if whole {
		p.items = a.grid.chunks
		for i := range p.axes {
			p.numbers = append(p.numbers, p.axes[i].n)
		}
		p.cut = newFullReduction(p, sizes)
		return p, nil
	}
	outputs, _ := p.shape.Elements() // divides the array's elements
	if limit := limits.withDefaults().Outputs; outputs > limit {
		return nil, fields.Invalidf("/axis", "leaves a result of shape %s, %d elements; the limit is %d outputs: sum over more axes",
			p.shape, outputs, limit)
	}
	p.items = outputs
	p.merged = limits.Merged == 0 || outputs <= limits.Merged
	for i, d := range p.dims {
		if !p.reduced[i] {
			p.numbers = append(p.numbers, d)
		}
	}
	if d := p.followsTiles(false); d != nil {
		p.cut = newTileReduction(p, d, sizes)
	} else {
		p.cut = newAxisReduction(p, sizes)
	}
	return p, nil
}

// axisNumber returns the axis of the array for axis i in memory order.
func (p *Plan) axisNumber(i int) int {
	if p.array.fortran {
		return len(p.dims) - 1 - i
	}
	return i
}

// itemIndex returns the number of item i in memory order, or in the order of the tiles.
func (p *Plan) itemIndex(i int64) int64 {
	if t, ok := p.cut.(*tileReduction); ok {
		return t.output(i)
	}
	if !p.array.fortran {
		return i
	}
	return reversedIndex(p.numbers, i)
}

// reversedIndex returns the C-order index, in an array with the axes of shape in reverse order, of the element with index
// i in shape. So it converts between the memory order and the C order of a Fortran-ordered array.
func reversedIndex(shape Shape, i int64) int64 {
	// The last axis of shape has the most significant digit.
	index, weight := int64(0), int64(1)
	for _, n := range shape {
		weight *= n
	}
	for _, n := range slices.Backward(shape) {
		weight /= n
		index += i % n * weight
		i /= n
	}
	return index
}

// Tasks returns the number of tasks, at least one.
func (p *Plan) Tasks() int { return p.cut.tasks() }

// Items returns the number of items: chunks in a sum over all axes, otherwise elements of the result.
func (p *Plan) Items() int64 { return p.items }

// TaskItems returns the number of items that a task completes alone; a Reducer completes the others.
func (p *Plan) TaskItems(task int) int64 {
	_, n := p.cut.items(task)
	return n
}

// TaskBytes returns the number of bytes of the array that a task sums.
func (p *Plan) TaskBytes(task int) int64 {
	return p.cut.elements(task) * int64(p.array.DType().Size())
}

// Bytes returns the number of bytes of the array that all tasks sum.
func (p *Plan) Bytes() int64 { return p.array.Bytes() }

// Shape returns the shape of the result.
func (p *Plan) Shape() Shape { return p.shape }

// Ops returns the statistics that the plan computes.
func (p *Plan) Ops() []Op { return p.red.ops }

// DType returns the type of the results of statistic i.
func (p *Plan) DType(i int) DType { return p.red.dtypes[i] }

// Array returns the array of the plan.
func (p *Plan) Array() *Array { return p.array }

// Run sums a task with the scratch of w, calls yield with every item that the task completes, and appends its partial to
// dst. Items and partial depend only on the plan and the task. A nil yield ignores the items.
//
// Run checks ctx about every 300 microseconds of work and returns its error when it is done. Other errors come from the
// reader of a stored array, and from yield.
func (p *Plan) Run(ctx context.Context, w *Worker, task int, dst []byte, yield func(Item) error) ([]byte, error) {
	if task < 0 || task >= p.Tasks() {
		return dst, fmt.Errorf("chunked: no task %d of %d", task, p.Tasks())
	}
	if err := ctx.Err(); err != nil {
		return dst, err
	}
	if yield == nil {
		yield = func(Item) error { return nil }
	}
	return p.cut.run(ctx, w, task, dst, yield)
}
