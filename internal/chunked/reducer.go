package chunked

import (
	"errors"
	"fmt"
	"math/big"
	"slices"

	"gather/internal/exactsum"
)

var (
	// ErrDuplicate is returned by Add for a task that was added before. It does not change the sum.
	ErrDuplicate = errors.New("chunked: the task was added before")
	// ErrIncomplete is returned by Result while tasks are missing.
	ErrIncomplete = errors.New("chunked: tasks are missing")
)

// Reducer merges the partials of a plan's tasks, in any order, into the result. It uses at most about 40 MB, for
// results of a million elements, and tens of bytes for a sum over all axes. It is not safe for concurrent use.
type Reducer struct {
	plan    *Plan
	seen    []uint64 // bit i is task i
	missing int

	total exactsum.Accumulator            // of a sum over all axes
	parts map[int64]*exactsum.Accumulator // sums of chunks split into parts, by number in memory order

	accs   []exactsum.Accumulator // of outputs split into segments, in memory order
	all    *numberRange           // of outputs that are not merged
	values numbers                // of other outputs, in order of the result
	acc    exactsum.Accumulator   // scratch
}

// numbers is a list of results without pointers.
type numbers struct {
	dtype DType
	bits  []uint64
	wide  map[int64]*big.Int
}

func (n *numbers) set(i int64, v Number) {
	n.bits[i] = v.bits
	switch {
	case v.wide == nil:
		delete(n.wide, i)
	case n.wide == nil:
		n.wide = map[int64]*big.Int{i: v.wide}
	default:
		n.wide[i] = v.wide
	}
}

func (n *numbers) at(i int64) Number { return Number{n.dtype, n.bits[i], n.wide[i]} }

// NewReducer returns an empty reducer.
func (p *Plan) NewReducer() *Reducer {
	r := &Reducer{plan: p, seen: make([]uint64, (p.Tasks()+63)/64), missing: p.Tasks(), values: numbers{dtype: p.red.dtype}}
	switch c := p.cut.(type) {
	case *fullReduction:
		r.parts = map[int64]*exactsum.Accumulator{}
	case *axisReduction:
		switch c.partialKind() {
		case partOfOutputs:
			r.accs = make([]exactsum.Accumulator, p.items)
		case wholeOutputs:
			r.values.bits = make([]uint64, p.items)
		default:
			r.all = new(numberRange)
		}
	}
	return r
}

// Missing returns the number of tasks that have not been added.
func (r *Reducer) Missing() int { return r.missing }

// Add merges the partial of a task. It returns ErrDuplicate if the task was added before, and an error that wraps
// ErrPartial if the partial cannot belong to this task; both leave the reducer unchanged.
func (r *Reducer) Add(task int, partial []byte) error {
	kind, body, err := r.plan.body(task, partial)
	if err != nil {
		return err
	}
	if r.seen[task/64]>>(task%64)&1 != 0 {
		return fmt.Errorf("%w: task %d", ErrDuplicate, task)
	}
	switch c := r.plan.cut.(type) {
	case *fullReduction:
		err = r.addChunks(c.ranges[task], kind, body)
	case *axisReduction:
		first, n := c.outputs(task)
		switch kind {
		case wholeOutputs:
			err = r.addOutputs(first, n, body)
		case rangeOfOutputs:
			var all numberRange
			if all, err = cutRange(body, r.plan.red.dtype, n); err == nil {
				r.all.merge(all)
			}
		default:
			err = r.addAccumulators(n, body, func(i int64) { r.accs[first+i].Merge(&r.acc) })
		}
	}
	if err != nil {
		return err
	}
	r.seen[task/64] |= 1 << (task % 64)
	r.missing--
	return nil
}

func (r *Reducer) addChunks(s taskRange, kind byte, body []byte) error {
	if kind == partOfChunks {
		return r.addAccumulators(s.width, body, func(i int64) {
			part := r.parts[s.chunk+i]
			if part == nil {
				part = new(exactsum.Accumulator)
				r.parts[s.chunk+i] = part
			}
			part.Merge(&r.acc)
			r.total.Merge(&r.acc)
		})
	}
	if err := r.acc.UnmarshalBinary(body); err != nil {
		return fmt.Errorf("%w: %w", ErrPartial, err)
	}
	r.total.Merge(&r.acc)
	return nil
}

func (r *Reducer) addOutputs(first, n int64, body []byte) error {
	// Values set before an error are overwritten by the valid partial of the task.
	rest, err := eachNumber(body, r.plan.red.dtype, n, func(i int64, v Number) error {
		r.values.set(r.plan.itemIndex(first+i), v)
		return nil
	})
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes follow its last number", ErrPartial, len(rest))
	}
	return err
}

// addAccumulators decodes n accumulators into r.acc, one after the other, and calls merge after each.
func (r *Reducer) addAccumulators(n int64, body []byte, merge func(i int64)) error {
	// Merging cannot be undone, so decode everything before merging anything.
	for _, final := range []bool{false, true} {
		rest := body
		for i := range n {
			var err error
			if rest, err = cutAccumulator(rest, &r.acc); err != nil {
				return fmt.Errorf("%w: sum %d of %d: %w", ErrPartial, i, n, err)
			}
			if final {
				merge(i)
			}
		}
		if len(rest) > 0 {
			return fmt.Errorf("%w: %d bytes follow its last sum", ErrPartial, len(rest))
		}
	}
	return nil
}

// EachLateItem calls yield with every item that no task completed alone: chunks split into parts, elements of the
// result summed in segments. It stops at yield's error, and returns ErrIncomplete while tasks are missing.
func (r *Reducer) EachLateItem(yield func(Item) error) error {
	if r.missing > 0 {
		return fmt.Errorf("%w: %d of %d", ErrIncomplete, r.missing, r.plan.Tasks())
	}
	chunks := make([]int64, 0, len(r.parts))
	for chunk := range r.parts {
		chunks = append(chunks, chunk)
	}
	slices.Sort(chunks)
	for _, chunk := range chunks {
		v := numberOf(r.parts[chunk], r.plan.red.dtype)
		if err := yield(Item{r.plan.itemIndex(chunk), v}); err != nil {
			return err
		}
	}
	for i := range r.accs {
		v := numberOf(&r.accs[i], r.plan.red.dtype)
		if err := yield(Item{r.plan.itemIndex(int64(i)), v}); err != nil {
			return err
		}
	}
	return nil
}

// Result rounds the merged sums. It returns ErrIncomplete while tasks are missing.
func (r *Reducer) Result() (*Result, error) {
	if r.missing > 0 {
		return nil, fmt.Errorf("%w: %d of %d", ErrIncomplete, r.missing, r.plan.Tasks())
	}
	res := &Result{shape: r.plan.shape, numbers: r.values, all: r.all}
	if r.parts != nil {
		res.numbers.bits = make([]uint64, 1)
		res.numbers.set(0, numberOf(&r.total, r.plan.red.dtype))
	}
	if r.accs != nil {
		res.numbers.bits = make([]uint64, len(r.accs))
		for i := range r.accs {
			res.numbers.set(r.plan.itemIndex(int64(i)), numberOf(&r.accs[i], r.plan.red.dtype))
		}
	}
	return res, nil
}
