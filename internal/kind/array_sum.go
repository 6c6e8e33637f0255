package kind

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gather/internal/chunked"
	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/number"
	"gather/internal/outbound"
)

func init() {
	register(definition{
		name:    "array_sum",
		summary: "The exact sum of an N-dimensional array, over all axes or some. An item is a chunk, or an element of the result.",
		plan:    planArraySum,
		limits:  arrayLimits,
	})
}

func arrayLimits(l Limits) map[string]int64 {
	return map[string]int64{"chunks": l.Chunks, "outputs": l.Outputs, "dimensions": chunked.MaxDims}
}

// maxShown is the largest number of result elements that the job includes; larger results are read as the job's items.
const maxShown = 1024

// arrayPlan is the plan of a reduction of an array.
type arrayPlan struct {
	*chunked.Plan
	statistics bool // the values are objects with a member for each statistic
	memory     int64
	spec       []byte
	arrays     openArrays
	retry      outbound.RetryPolicy
}

func planArraySum(spec []byte, e env) (job.Plan, error) { return planArray(spec, e, false) }

func planArray(spec []byte, e env, statistics bool) (_ job.Plan, err error) {
	known := []string{"array", "axis", "keepdims", "dtype", "retry"}
	if statistics {
		known = append(known, "ops", "ddof", "where", "missing", "weights", "initial")
	}
	if e.again {
		known = append(known, pinFields...)
	}
	var errs fields.Errors
	f := readObject(spec, &errs, known...)
	if !f.Has("array") {
		f.Add("/array", `is missing: write an object such as {"source":"ones","shape":[1000,1000],"chunks":[100,100]}`)
		return nil, errs.Err()
	}
	limits := chunked.DefaultLimits()
	limits.Chunks, limits.Outputs, limits.Merged = e.Chunks, e.Outputs, maxShown
	opened := openArrays{spec: f.Object}
	options := func(field string) chunked.Options {
		o := chunked.Options{Limits: limits}
		if e.arrays != nil {
			o.Open = func(ref chunked.Ref) (chunked.Stored, error) { return opened.open(e, field, ref) }
		}
		return o
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	retry := f.taskRetry()
	a, r := parseReduction(f.Object, options, statistics)
	if opened.err != nil {
		return nil, opened.err
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	p, err := chunked.NewPlan(a, r, limits)
	if err != nil {
		return nil, err
	}
	if !e.again {
		spec = opened.pinTo(spec)
	}
	// Only inline values are in memory; the rest is tens of bytes for each task and output.
	outputs, _ := p.Shape().Elements() // bounded by limits.Outputs
	memory := 2*int64(len(spec)) + 48*int64(p.Tasks()) + 64*outputs*int64(len(p.Ops())) + opened.memory() + 4096
	return &arrayPlan{Plan: p, statistics: statistics, memory: memory, spec: spec, arrays: opened, retry: retry}, nil
}

// parseReduction parses the fields of a reduction. Errors are in f.
func parseReduction(f *fields.Object, options func(field string) chunked.Options, statistics bool) (*chunked.Array, chunked.Reduction) {
	var inArray fields.Errors
	a := chunked.ParseArray(f.Get("array"), options("array"), &inArray)
	f.Merge("/array", &inArray)
	if a == nil {
		return nil, chunked.Reduction{}
	}
	r, _ := chunked.ParseReduction(f, a)
	if statistics {
		chunked.ParseOps(f, a, &r, options)
	}
	return a, r
}

// Spec implements pinned.
func (p *arrayPlan) Spec() []byte { return p.spec }

// Close implements io.Closer: it releases stored arrays.
func (p *arrayPlan) Close() error { return p.arrays.close() }

// Size implements job.Plan.
func (p *arrayPlan) Size() job.Size {
	return job.Size{Tasks: p.Tasks(), Units: p.Items(), Bytes: p.Bytes(), Memory: p.memory}
}

// Reducer implements job.Plan.
func (p *arrayPlan) Reducer() job.Reducer { return &arrayReducer{plan: p, Reducer: p.NewReducer()} }

// Task implements job.Plan.
func (p *arrayPlan) Task(i int, r job.Resume) job.Task {
	return withRetry(arrayTask{plan: p, i: i}, &p.retry, &r)
}

type arrayTask struct {
	plan *arrayPlan
	i    int
}

type arrayKey struct{}

// Step implements job.Task.
func (t arrayTask) Step(ctx context.Context, now time.Time, local *job.Scratch) (job.Step, error) {
	w := local.Get(arrayKey{}, func() any { return chunked.NewWorker() }).(*chunked.Worker)
	var step job.Step
	partial, err := t.plan.Run(ctx, w, t.i, nil, t.plan.adder(&step.Items))
	if err != nil {
		if ctx.Err() != nil {
			return job.Step{}, context.Cause(ctx)
		}
		if f, ok := errors.AsType[*job.Failure](err); ok { // from the reader of a stored array
			return job.Step{}, f
		}
		return job.Step{}, err
	}
	step.Partial, step.Bytes = partial, t.plan.TaskBytes(t.i)
	finishBatch(&step, now)
	return step, nil
}

// adder returns a function that adds items of package chunked to a block.
func (p *arrayPlan) adder(to *job.Items) func(chunked.Item) error {
	var text []byte
	return func(it chunked.Item) error {
		v := it.Values[0]
		switch n, integer := v.Int64(); {
		case p.statistics:
			text = p.appendStatistics(text[:0], func(dst []byte, i int) []byte { return it.Values[i].AppendJSON(dst) })
			to.Add(it.Index, text, 0)
		case v.DType().IsFloat():
			to.AddFloat(it.Index, v.Float64(), 0)
		case integer:
			to.AddInt(it.Index, n, 0)
		default:
			text = v.AppendJSON(text[:0])
			to.Add(it.Index, text, 0)
		}
		return nil
	}
}

type arrayReducer struct {
	plan *arrayPlan
	*chunked.Reducer
}

// Add implements job.Reducer. A partial of another version is job.ErrVersion, which does not fail the job.
func (r *arrayReducer) Add(task int, partial []byte) error {
	err := r.Reducer.Add(task, partial)
	if errors.Is(err, chunked.ErrVersion) {
		err = fmt.Errorf("%w: %w", job.ErrVersion, err)
	}
	return err
}

// Outcome implements job.Reducer.
func (r *arrayReducer) Outcome() (job.Outcome, error) {
	results, err := r.Results()
	if err != nil {
		return job.Outcome{}, err
	}
	out := job.Outcome{Value: []byte("null")}
	shown := results[0].Len() <= maxShown
	switch {
	case r.plan.statistics:
		if shown {
			out.Value = r.plan.appendStatistics(nil, func(dst []byte, i int) []byte { return results[i].AppendJSON(dst) })
		}
		out.Details = r.plan.appendStatisticsDetails(nil, results)
	default:
		if shown {
			out.Value = results[0].AppendJSON(nil)
		}
		out.Details = appendDetails(nil, results[0])
	}
	if err := r.EachLateItem(r.plan.adder(&out.Items)); err != nil {
		return job.Outcome{}, err
	}
	out.Completed = int64(out.Items.Len())
	return out, nil
}

// beyondDouble is the first integer above which float64 skips integers.
const beyondDouble = 1 << 53

// appendDetails appends the description of a result: its dtype and shape; for a single float its bits in hexadecimal;
// for integers in the job that float64 would round, their digits in strings, nested like the result; for integers that
// the dtype cannot hold, their count, the position of the first, and a dtype that holds them.
func appendDetails(dst []byte, r *chunked.Result) []byte {
	dst = append(dst, `{"dtype":"`...)
	dst = append(dst, r.DType().String()...)
	dst = appendShape(append(dst, `","shape":`...), r.Shape())
	switch {
	case !r.DType().IsFloat():
		dst = appendIntegerDetails(dst, r)
	case r.Len() == 1:
		dst = number.AppendHex(append(dst, `,"hex":`...), r.At(0).Float64())
	}
	return append(dst, '}')
}

func appendIntegerDetails(dst []byte, r *chunked.Result) []byte {
	if r.Len() <= maxShown {
		for i := range r.Len() {
			if f := r.At(i).Float64(); f < beyondDouble && f > -beyondDouble {
				continue
			}
			dst = append(dst, `,"exact":`...)
			if r.Len() == 1 { // a single number is not nested
				dst = number.AppendQuoted(dst, r.At(0).AppendJSON(nil))
			} else {
				dst = number.AppendQuoted(dst, r.AppendJSON(nil))
			}
			break
		}
	}
	if o, ok := r.Overflow(); ok {
		dst = strconv.AppendInt(append(dst, `,"overflow":{"count":`...), o.Count, 10)
		dst = strconv.AppendInt(append(dst, `,"first_index":`...), o.First, 10)
		dst = append(append(append(dst, `,"dtype":"`...), o.DType.String()...), `"}`...)
	}
	return dst
}
