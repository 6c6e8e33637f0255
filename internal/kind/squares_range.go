package kind

import (
	"context"
	"math"
	"math/big"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
)

// squareRange is the plan for the integers of a Python range.
type squareRange struct{ start, step, n int64 }

func planRange(f object, l Limits) job.Plan {
	start, stop, step, n := f.integerRange(l)
	if start.IsInt64() && stop.IsInt64() && step.IsInt64() {
		return &squareRange{start: start.Int64(), step: step.Int64(), n: n}
	}
	return newSquareBigRange(start, stop, step, n)
}

// integerRange returns the field range, a Python range of n integers.
func (o object) integerRange(l Limits) (start, stop, step *big.Int, n int64) {
	var errs fields.Errors
	r := readObject(o.Get("range"), &errs, "start", "stop", "step")
	r.NullIsAbsent("start", "step")
	start, stop, step = r.bigInteger("start", l.Digits, 0), r.bigInteger("stop", l.Digits, 0), r.bigInteger("step", l.Digits, 1)
	if !r.Has("stop") {
		r.Add("/stop", "is missing: the exclusive end of the range")
	}
	if step.Sign() == 0 {
		r.Add("/step", "must not be 0")
		step.SetInt64(1)
	}
	// count is the distance divided by the step, rounded up, or 0 if the step points away from stop.
	count := new(big.Int).Sub(stop, start)
	if count.Sign() == step.Sign() {
		count.Add(count, step).Sub(count, big.NewInt(int64(step.Sign()))).Quo(count, step)
	} else {
		count.SetInt64(0)
	}
	if count.Cmp(big.NewInt(l.Items)) > 0 {
		numbers := "more than 10^18"
		if count.IsInt64() {
			numbers = count.String()
		}
		r.Add("", "has %s numbers; at most %d in a job: split the range", numbers, l.Items)
		count.SetInt64(0)
	}
	o.Merge("/range", &errs)
	return start, stop, step, count.Int64()
}

// Size implements job.Plan.
func (p *squareRange) Size() job.Size {
	return job.Size{Tasks: sliceCount(p.n, squareSlice), Units: p.n, Memory: 512, Results: p.resultBytes()}
}

// resultBytes returns a lower bound of the total bytes of the squares: for parts of the range, the bytes of the
// smallest square times the length. Those of a square that fits into an int64 are eight at most.
func (p *squareRange) resultBytes() (total int64) {
	const parts = 64
	for i := range int64(parts) {
		first, end := p.n/parts*i, p.n/parts*(i+1)
		if i == parts-1 {
			end = p.n
		}
		if first == end {
			continue
		}
		a, b := p.start+first*p.step, p.start+(end-1)*p.step
		least := int64(0)
		switch {
		case a > 0 && b > 0:
			least = min(a, b)
		case a < 0 && b < 0:
			least = max(a, b)
		}
		bytes := int64(len(appendSquareInt(nil, least)))
		if -maxSquared <= least && least <= maxSquared {
			bytes = min(bytes, 8)
		}
		total += (end - first) * bytes
	}
	return total
}

// Reducer implements job.Plan.
func (p *squareRange) Reducer() job.Reducer { return counter{p.n} }

// Task implements job.Plan.
func (p *squareRange) Task(i int, _ job.Resume) job.Task {
	first := int64(i) * squareSlice
	return squareRangeTask{plan: p, first: first, end: min(p.n, first+squareSlice)}
}

type squareRangeTask struct {
	plan       *squareRange
	first, end int64
}

// Step implements job.Task.
func (t squareRangeTask) Step(_ context.Context, now time.Time, local *job.Scratch) (job.Step, error) {
	s := squareScratch(local)
	var step job.Step
	step.Items.Grow(int(t.end - t.first))
	for i := t.first; i < t.end; i++ {
		// Every element lies between start and stop, so the final result does not overflow.
		s.addSquareInt(&step.Items, i, t.plan.start+i*t.plan.step)
	}
	finishBatch(&step, now)
	return step, nil
}

// squareBigRange is the plan for a range with a bound or a step beyond int64.
type squareBigRange struct {
	start, step *big.Int
	n           int64
	slice       int64 // numbers per task
	digits      int64 // lower bound of each square's digits; 0 if unknown
	memory      int64
}

func newSquareBigRange(start, stop, step *big.Int, n int64) *squareBigRange {
	// Every element lies between start and stop.
	most := int64(max(start.BitLen(), stop.BitLen()))
	p := &squareBigRange{start: start, step: step, n: n, memory: 512 + most/4 + int64(step.BitLen())/8}
	p.slice = min(squareSlice, max(1, squareBytes/(2*decimals(most)+1)))
	if start.Sign() == stop.Sign() {
		p.digits = decimals(2*int64(min(start.BitLen(), stop.BitLen())) - 2)
	}
	return p
}

// decimals returns the minimum number of decimal digits of an integer with a number of bits, within one.
func decimals(bits int64) int64 { return int64(float64(max(bits, 0)) * math.Log10(2)) }

// Size implements job.Plan.
func (p *squareBigRange) Size() job.Size {
	return job.Size{Tasks: sliceCount(p.n, p.slice), Units: p.n, Memory: p.memory, Results: p.n * p.digits}
}

// Reducer implements job.Plan.
func (p *squareBigRange) Reducer() job.Reducer { return counter{p.n} }

// Task implements job.Plan.
func (p *squareBigRange) Task(i int, _ job.Resume) job.Task {
	first := int64(i) * p.slice
	return squareBigRangeTask{plan: p, first: first, end: min(p.n, first+p.slice)}
}

type squareBigRangeTask struct {
	plan       *squareBigRange
	first, end int64
}

// Step implements job.Task.
func (t squareBigRangeTask) Step(ctx context.Context, now time.Time, local *job.Scratch) (job.Step, error) {
	s := squareScratch(local)
	var step job.Step
	step.Items.Grow(int(t.end - t.first))
	v := big.NewInt(t.first)
	v.Mul(v, t.plan.step).Add(v, t.plan.start)
	for i := t.first; i < t.end; i++ {
		if ctx.Err() != nil {
			return job.Step{}, context.Cause(ctx)
		}
		s.int.Mul(v, v)
		s.text = s.int.Append(s.text[:0], 10)
		step.Items.Add(i, s.text, 0)
		v.Add(v, t.plan.step)
	}
	finishBatch(&step, now)
	return step, nil
}
