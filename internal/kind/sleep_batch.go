package kind

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/job"
)

func init() {
	register(definition{
		name:    "sleep_batch",
		summary: "Many concurrent waits. An item's value is its actual duration in seconds. Waiting holds no worker.",
		plan:    planSleepBatch,
		items:   selectSleeps,
		limits: func(l Limits) map[string]int64 {
			return map[string]int64{"items": l.Items, "duration_seconds": int64(maxDuration / time.Second)}
		},
		values: true,
	})
}

// sleepSlice is the number of sleeps in a task.
const sleepSlice = 16384

// sleepGap is the minimum time between the wake-ups of a task while more than manySleeps of its items sleep: items due
// in between are finished together, at most this late.
const (
	sleepGap   = 5 * time.Millisecond
	manySleeps = 1024
)

// sleepBatch is the plan of a batch of sleeps. The spec alone determines when item i begins, relative to the job's
// start: at 0 without a concurrency bound, otherwise when the sleep whose slot it takes is due. A restart therefore
// continues the same schedule, and elapsed waits have ended.
type sleepBatch struct {
	n           int64
	concurrency int64
	same        time.Duration   // of every item, if durations is nil
	durations   []time.Duration // by item

	begins []time.Duration // by item, if durations are given and concurrency is bounded
}

func planSleepBatch(spec []byte, e env) (job.Plan, error) {
	var errs fields.Errors
	f := readObject(spec, &errs, "count", "duration", "durations", "concurrency")
	f.NullIsAbsent("concurrency")
	p := &sleepBatch{}
	if f.Has("durations") {
		for _, other := range []string{"count", "duration"} {
			if f.Has(other) {
				f.Add("/"+other, "set either count and duration or durations, not both")
			}
		}
		p.durations = []time.Duration{}
		errors := 0
		f.elements("durations", func(i int64, v jsontext.Value) bool {
			if i >= e.Items {
				f.Add("/durations", "at most %d items in a job; split the batch", e.Items)
				return false
			}
			d, err := fields.ParseDuration(v, maxDuration)
			if err != nil {
				f.Add(fmt.Sprintf("/durations/%d", i), "%v", err)
				errors++
			}
			p.durations = append(p.durations, d)
			return errors < maxListErrors
		})
		p.n = int64(len(p.durations))
	} else {
		if !f.Has("count") {
			f.Add("", "set count and duration, or durations")
		} else {
			p.n = f.integer("count", 0, e.Items, 0)
			p.same = f.duration("duration")
		}
	}
	p.concurrency = f.integer("concurrency", 1, e.Items, max(1, p.n))
	p.concurrency = min(p.concurrency, max(1, p.n))
	if p.n > p.concurrency && p.tooLong() {
		f.Add("/concurrency", "at this concurrency the batch would take more than %d years; increase it", maxScheduleYears)
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	if p.durations != nil && p.concurrency < p.n {
		p.makeSchedule() // here, where it delays no other job, instead of in a worker
	}
	return p, nil
}

const maxScheduleYears = 100

// tooLong reports whether the schedule could take more than maxScheduleYears.
func (p *sleepBatch) tooLong() bool {
	var hi, lo uint64
	if p.durations == nil {
		hi, lo = bits.Mul64(uint64(p.n), uint64(p.same))
	}
	for _, d := range p.durations {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(d), 0)
		hi += carry
	}
	if hi >= uint64(p.concurrency) {
		return true
	}
	years, _ := bits.Div64(hi, lo, uint64(p.concurrency))
	return years/uint64(365*24*time.Hour) >= maxScheduleYears
}

// Size implements job.Plan.
func (p *sleepBatch) Size() job.Size {
	memory := 12 * int64(len(p.durations)) // with the order of due times
	if p.begins != nil {
		memory += 8 * p.n
	}
	return job.Size{
		Tasks: sliceCount(p.n, sleepSlice), Units: p.n, Waiting: min(p.n, p.concurrency),
		Memory: memory + 512,
	}
}

// Reducer implements job.Plan.
func (p *sleepBatch) Reducer() job.Reducer { return counter{p.n} }

// Task implements job.Plan.
func (p *sleepBatch) Task(i int, r job.Resume) job.Task {
	first := int64(i) * sleepSlice
	return &sleepTask{plan: p, origin: r.Started, first: first, end: min(p.n, first+sleepSlice), steps: r.Steps}
}

func (p *sleepBatch) duration(i int64) time.Duration {
	if p.durations == nil {
		return p.same
	}
	return p.durations[i]
}

// begin returns the start of item i, relative to the job's start.
func (p *sleepBatch) begin(i int64) time.Duration {
	switch {
	case p.concurrency == p.n:
		return 0
	case p.durations == nil:
		return time.Duration(i/p.concurrency) * p.same
	}
	return p.begins[i]
}

// makeSchedule starts each item when the first slot is free (list scheduling).
func (p *sleepBatch) makeSchedule() {
	p.begins = make([]time.Duration, p.n)
	free := make([]time.Duration, p.concurrency) // a heap of the times at which slots are free, initially all zero
	for i := range p.begins {
		p.begins[i] = free[0]
		busy := free[0] + p.durations[i]
		at := 0
		for {
			child := 2*at + 1
			if child+1 < len(free) && free[child+1] < free[child] {
				child++
			}
			if child >= len(free) || free[child] >= busy {
				break
			}
			free[at] = free[child]
			at = child
		}
		free[at] = busy
	}
}

// sleepTask sleeps for a slice of the items.
type sleepTask struct {
	plan       *sleepBatch
	origin     time.Time
	first, end int64
	steps      []job.TaskProgress

	prepared bool
	// order has the pending items by due time; nil while that is the order of their indexes.
	order []int32
	next  int // into order, or from first
}

func (t *sleepTask) due(i int64) time.Duration { return t.plan.begin(i) + t.plan.duration(i) }

// prepare sorts the unfinished items by due time.
func (t *sleepTask) prepare() {
	t.prepared = true
	sorted := true
	for i := t.first + 1; i < t.end && sorted; i++ {
		sorted = t.due(i-1) <= t.due(i)
	}
	if sorted && len(t.steps) == 0 {
		return
	}
	done := make([]bool, t.end-t.first)
	for _, s := range t.steps {
		for _, it := range s.Items.All() {
			if it.Index >= t.first && it.Index < t.end {
				done[it.Index-t.first] = true
			}
		}
	}
	t.steps = nil
	t.order = make([]int32, 0, len(done))
	for i := range done {
		if !done[i] {
			t.order = append(t.order, int32(i))
		}
	}
	slices.SortStableFunc(t.order, func(a, b int32) int {
		return cmp.Compare(t.due(t.first+int64(a)), t.due(t.first+int64(b)))
	})
}

// left returns the number of sleeping items.
func (t *sleepTask) left() int {
	if t.order != nil {
		return len(t.order) - t.next
	}
	return int(t.end-t.first) - t.next
}

func (t *sleepTask) item(k int) int64 {
	if t.order != nil {
		return t.first + int64(t.order[k])
	}
	return t.first + int64(k)
}

// Step implements job.Task: it finishes all items that are due.
func (t *sleepTask) Step(ctx context.Context, now time.Time, _ *job.Scratch) (job.Step, error) {
	if ctx.Err() != nil {
		return job.Step{}, context.Cause(ctx)
	}
	if !t.prepared {
		t.prepare()
	}
	var step job.Step
	var literal []byte
	elapsed := now.Sub(t.origin)
	last := time.Duration(-1)
	for t.left() > 0 {
		i := t.item(t.next)
		if due := t.due(i); due > elapsed {
			step.ResumeAt = t.origin.Add(due)
			break
		}
		slept := elapsed - t.plan.begin(i)
		if slept != last {
			literal, last = strconv.AppendFloat(literal[:0], slept.Seconds(), 'f', 6, 64), slept
		}
		step.Items.Add(i, literal, slept)
		t.next++
	}
	step.Completed = int64(step.Items.Len())
	if t.left() > manySleeps {
		if soonest := now.Add(sleepGap); step.ResumeAt.Before(soonest) {
			step.ResumeAt = soonest
		}
	}
	return step, nil
}
