package chunked

import (
	"context"
	"fmt"
	"slices"

	"gather/internal/fields"
)

// sizes are the sizes of tasks.
type sizes struct {
	// A task is a 64th of the array, within these bounds, in elements: milliseconds of work, so that a small job behind it
	// waits no longer, and tens of bytes of partial for megabytes of data.
	least, most int64
	// share bounds the number of tasks: a task is at least this share of the array, which makes at most 2*share+1 tasks.
	share int64
	// whole is the size up to which one task sums a whole chunk, so that its sum is known as soon as the task is done:
	// some milliseconds of work.
	whole int64
	// segment is how many elements of an output a task sums at least before it leaves the rest to another: the partial's
	// cost is spread over them.
	segment int64
}

var taskSizes = sizes{least: 128 << 10, most: 256 << 10, share: 1 << 19, whole: 3 << 19, segment: 1024}

// target is how large the tasks of work elements should be.
func (s sizes) target(work int64) int64 {
	t := min(max(ceilDiv(work, 64), s.least), s.most)
	return max(t, ceilDiv(work, s.share))
}

// Item is one result of a sum that a client sees: of a chunk when the sum is over all axes, of an element of the result
// otherwise. Items are numbered in C order of the grid or of the result.
type Item struct {
	Index int64
	Value Number
}

// Plan is a sum cut in tasks. It is immutable, safe for concurrent use, and a pure function of the array and the
// reduction: parsed again after a restart, or on another machine, the same description has the same tasks.
type Plan struct {
	array *Array
	red   Reduction
	shape Shape // of the result

	// In memory order, which is the array's axes, reversed if it is Fortran-ordered. Everything below the plan works in
	// memory order; only itemIndex translates.
	dims    Shape
	strides []int64
	axes    []axis
	reduced []bool

	items   int64
	numbers Shape // what items are numbered over: the grid or the result, in memory order
	cut     cutter
}

// cutter is one way to cut a sum in tasks.
type cutter interface {
	tasks() int
	elements(task int) int64
	// items returns which items, in memory order, a task completes alone.
	items(task int) (first, n int64)
	run(ctx context.Context, w *Worker, task int, dst []byte) ([]byte, error)
}

// NewPlan cuts the sum of a over the axes of r in tasks. The only error, a *fields.Errors at "/axis", is a result of more
// elements than limits allow.
func NewPlan(a *Array, r Reduction, limits Limits) (*Plan, error) {
	return newPlan(a, r, limits, taskSizes)
}

func newPlan(a *Array, r Reduction, limits Limits, sizes sizes) (*Plan, error) {
	p := &Plan{array: a, red: r, shape: r.shapeOf(a.shape), dims: a.shape, axes: a.grid.axes}
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
	if whole {
		p.items = a.grid.chunks
		for i := range p.axes {
			p.numbers = append(p.numbers, p.axes[i].n)
		}
		p.cut = newChunkwise(p, sizes)
		return p, nil
	}
	outputs, _ := p.shape.Elements() // divides the array's elements
	if limit := limits.withDefaults().Outputs; outputs > limit {
		return nil, fields.Invalidf("/axis", "leaves a result of shape %s, %d elements; the limit is %d outputs: sum over more axes",
			p.shape, outputs, limit)
	}
	p.items = outputs
	for i, d := range p.dims {
		if !p.reduced[i] {
			p.numbers = append(p.numbers, d)
		}
	}
	p.cut = newOutputwise(p, sizes)
	return p, nil
}

// axisNumber is which axis of the array axis i in memory order is.
func (p *Plan) axisNumber(i int) int {
	if p.array.fortran {
		return len(p.dims) - 1 - i
	}
	return i
}

// itemIndex is the number of the item that is number i in memory order.
func (p *Plan) itemIndex(i int64) int64 {
	if !p.array.fortran {
		return i
	}
	// The last axis in memory is the first of the array: its digit weighs most.
	index, weight := int64(0), int64(1)
	for _, n := range p.numbers {
		weight *= n
	}
	for _, n := range slices.Backward(p.numbers) {
		weight /= n
		index += i % n * weight
		i /= n
	}
	return index
}

// Tasks is the number of tasks, at least one.
func (p *Plan) Tasks() int { return p.cut.tasks() }

// Items is the number of items: chunks when the sum is over all axes, elements of the result otherwise.
func (p *Plan) Items() int64 { return p.items }

// TaskItems is how many items a task completes alone; the others are completed by a Reducer.
func (p *Plan) TaskItems(task int) int64 {
	_, n := p.cut.items(task)
	return n
}

// TaskBytes is how many bytes of the array a task sums.
func (p *Plan) TaskBytes(task int) int64 {
	return p.cut.elements(task) * int64(p.array.DType().Size())
}

// Bytes is how many bytes of the array all tasks sum.
func (p *Plan) Bytes() int64 { return p.array.Bytes() }

// Shape is the shape of the result.
func (p *Plan) Shape() Shape { return p.shape }

// DType is the type of the result.
func (p *Plan) DType() DType { return p.red.dtype }

// Array returns the array of the plan.
func (p *Plan) Array() *Array { return p.array }

// Run sums a task with the scratch of w and appends its partial to dst. The partial depends on the plan and the task alone.
//
// It looks at ctx about every 100 microseconds of work and returns its error once it has ended. It fails otherwise only
// as a stored array's reader does.
func (p *Plan) Run(ctx context.Context, w *Worker, task int, dst []byte) ([]byte, error) {
	if task < 0 || task >= p.Tasks() {
		return dst, fmt.Errorf("chunked: no task %d of %d", task, p.Tasks())
	}
	if err := ctx.Err(); err != nil {
		return dst, err
	}
	return p.cut.run(ctx, w, task, dst)
}
