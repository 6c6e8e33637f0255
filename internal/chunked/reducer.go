package chunked

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
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

	total states           // of a reduction over all axes
	parts map[int64]states // of chunks split into parts, by number in memory order

	segments states    // of outputs split into segments, in memory order
	all      ranges    // of outputs that are not merged
	values   []numbers // of other outputs, in order of the result, for each statistic
	scratch  states
	item     []Number
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
	more := p.red.needs.more
	r := &Reducer{plan: p, seen: make([]uint64, (p.Tasks()+63)/64), missing: p.Tasks(), scratch: newStates(1, more)}
	switch c := p.cut.(type) {
	case *fullReduction:
		r.total, r.parts = newStates(1, more), map[int64]states{}
	case outputPartitioner:
		switch c.partialKind() {
		case partOfOutputs:
			r.segments = newStates(p.items, more)
		case wholeOutputs:
			r.values = p.newNumbers(p.items)
		default:
			r.all = newRanges(len(p.red.ops))
		}
	}
	return r
}

// newNumbers returns n numbers for each statistic.
func (p *Plan) newNumbers(n int64) []numbers {
	list := make([]numbers, len(p.red.ops))
	for i := range list {
		list[i] = numbers{dtype: p.red.dtypes[i], bits: make([]uint64, n)}
	}
	return list
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
	case outputPartitioner:
		first, n := c.outputs(task)
		switch kind {
		case wholeOutputs:
			err = r.addOutputs(first, n, body)
		case rangeOfOutputs:
			var all ranges
			if all, err = cutRanges(body, r.plan.red.dtypes, n); err == nil {
				r.all.merge(all)
			}
		default:
			err = r.addStates(n, body, func(i int64) { r.segments.merge(first+i, r.scratch, 0, &r.plan.red) })
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
	red := &r.plan.red
	if kind == wholeChunks {
		return r.addStates(1, body, func(int64) { r.total.merge(0, r.scratch, 0, red) })
	}
	return r.addStates(s.width, body, func(i int64) {
		part, ok := r.parts[s.chunk+i]
		if !ok {
			part = newStates(1, red.needs.more)
			r.parts[s.chunk+i] = part
		}
		part.merge(0, r.scratch, 0, red)
		r.total.merge(0, r.scratch, 0, red)
	})
}

func (r *Reducer) addOutputs(first, n int64, body []byte) error {
	// Values set before an error are overwritten by the valid partial of the task.
	for i := range n {
		index := r.plan.itemIndex(first + i)
		for k, t := range r.plan.red.dtypes {
			v, rest, ok := cutNumber(body, t)
			if !ok {
				return fmt.Errorf("%w: output %d of %d is malformed", ErrPartial, i, n)
			}
			r.values[k].set(index, v)
			body = rest
		}
	}
	if len(body) > 0 {
		return fmt.Errorf("%w: %d bytes follow its last number", ErrPartial, len(body))
	}
	return nil
}

// addStates decodes n states into r.scratch, one after the other, and calls merge after each.
func (r *Reducer) addStates(n int64, body []byte, merge func(i int64)) error {
	// Merging cannot be undone, so decode everything before merging anything.
	for _, final := range []bool{false, true} {
		rest := body
		for i := range n {
			var err error
			if rest, err = r.scratch.read(0, rest, &r.plan.red); err != nil {
				return fmt.Errorf("%w: state %d of %d: %w", ErrPartial, i, n, err)
			}
			if final {
				merge(i)
			}
		}
		if len(rest) > 0 {
			return fmt.Errorf("%w: %d bytes follow its last state", ErrPartial, len(rest))
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
		a, m := r.parts[chunk].at(0)
		r.item = r.plan.red.numbers(r.item[:0], a, m)
		if err := yield(Item{r.plan.itemIndex(chunk), r.item}); err != nil {
			return err
		}
	}
	for i := range int64(r.segments.len()) {
		a, m := r.segments.at(i)
		var err error
		if r.item, err = r.plan.red.outputs(r.item[:0], a, m); err != nil {
			return err
		}
		if err := yield(Item{r.plan.itemIndex(i), r.item}); err != nil {
			return err
		}
	}
	return nil
}

// Results rounds the merged states: a result for each statistic of the plan. It returns ErrIncomplete while tasks are
// missing, and ErrNothing.
func (r *Reducer) Results() ([]*Result, error) {
	if r.missing > 0 {
		return nil, fmt.Errorf("%w: %d of %d", ErrIncomplete, r.missing, r.plan.Tasks())
	}
	values := r.values
	var err error
	set := func(index int64, s states, k int64) {
		a, m := s.at(k)
		item, nothing := r.plan.red.outputs(r.item[:0], a, m)
		if nothing != nil {
			err = nothing
			return
		}
		for i, v := range item {
			values[i].set(index, v)
		}
		r.item = item
	}
	switch {
	case r.parts != nil:
		values = r.plan.newNumbers(1)
		set(0, r.total, 0)
	case r.segments.len() > 0:
		values = r.plan.newNumbers(r.plan.items)
		for i := range r.plan.items {
			set(r.plan.itemIndex(i), r.segments, i)
		}
	case values == nil:
		values = r.plan.newNumbers(0)
	}
	if err != nil {
		return nil, err
	}
	results := make([]*Result, len(values))
	for i := range results {
		results[i] = &Result{shape: r.plan.shape, numbers: values[i]}
		if r.all != nil {
			results[i].all = &r.all[i]
		}
	}
	return results, nil
}

// Result returns the result of the only statistic of the plan; see Results.
func (r *Reducer) Result() (*Result, error) {
	results, err := r.Results()
	if err != nil {
		return nil, err
	}
	return results[0], nil
}
