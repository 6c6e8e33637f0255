package kind

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/number"
)

func init() {
	register(definition{
		name:    "squares",
		summary: "The square of each number: integers of any size exactly, other numbers as float64.",
		plan:    planSquares,
		items:   selectNumbers,
		limits: func(l Limits) map[string]int64 {
			return map[string]int64{"items": l.Items, "digits": l.Digits}
		},
		values: true,
	})
}

// A task ends after squareSlice numbers or squareBytes of digits, whichever is first, because large integers are slow
// and a task should take milliseconds.
const (
	squareSlice = 8192
	squareBytes = 256 << 10
)

func planSquares(spec []byte, e env) (job.Plan, error) {
	var errs fields.Errors
	f := readObject(spec, &errs, "numbers", "range")
	var p job.Plan
	if f.oneOf("numbers", "range") {
		if f.Has("range") {
			p = planRange(f, e.Limits)
		} else {
			p = planNumbers(f, e)
		}
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// finishBatch counts the items of a task and divides the task's time among them.
func finishBatch(step *job.Step, began time.Time) {
	n := step.Items.Len()
	step.Completed = int64(n)
	if n > 0 {
		step.Items.SetDuration(time.Since(began) / time.Duration(n))
	}
}

// squareNumbers is the plan for a list of numbers. It keeps the text of the list and the offset of each number; workers
// parse the numbers when they square them.
type squareNumbers struct {
	text   []byte
	begins []uint32
	slices []uint32 // first number of each task, and the end
}

func planNumbers(f object, e env) *squareNumbers {
	l := e.Limits
	text := f.Get("numbers")
	p := &squareNumbers{text: text}
	if text.Kind() != '[' {
		f.Add("/numbers", "must be an array of numbers")
		return p
	}
	errors, sliceBytes := 0, 0
	for at, end := range fields.Spans(text) {
		n := int64(len(p.begins))
		if n == l.Items {
			f.Add("/numbers", "at most %d items in a job; split the list", l.Items)
			return p
		}
		if detail := checkNumber(text[at:end], e); detail != "" {
			f.Add(fmt.Sprintf("/numbers/%d", n), "%s", detail)
			if errors++; errors == maxListErrors {
				return p
			}
		}
		if n == 0 || sliceBytes > squareBytes || n-int64(p.slices[len(p.slices)-1]) == squareSlice {
			p.slices = append(p.slices, uint32(n))
			sliceBytes = 0
		}
		sliceBytes += end - at
		p.begins = append(p.begins, uint32(at))
	}
	if len(p.begins) > 0 {
		p.slices = append(p.slices, uint32(len(p.begins)))
	}
	return p
}

// isInteger reports whether text is a JSON integer literal, and therefore exact as in Python.
func isInteger(text []byte) bool {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(digits) > 0
}

// checkNumber returns the error of an element, or "". Jobs of earlier versions may have leading zeros.
func checkNumber(text []byte, e env) string {
	literal := text
	if text[0] == '"' {
		literal = text[1 : len(text)-1]
		if _, ok := number.Special(text); ok {
			return ""
		}
	}
	switch {
	case isInteger(literal):
		digits := bytes.TrimPrefix(literal, []byte{'-'})
		switch {
		case int64(len(digits)) > e.Digits:
			return fmt.Sprintf("has %d digits; at most %d", len(digits), e.Digits)
		case len(digits) > 1 && digits[0] == '0' && !e.again:
			return "must have no leading zeros"
		}
		return ""
	case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
		if v, err := strconv.ParseFloat(string(text), 64); err != nil || math.IsInf(v, 0) {
			return "is beyond float64; write it as an integer if it is one"
		}
		return ""
	}
	return `must be a number, "NaN", "Infinity", "-Infinity", or an integer in a string`
}

// Size implements job.Plan.
func (p *squareNumbers) Size() job.Size {
	return job.Size{
		Tasks: max(0, len(p.slices)-1), Units: int64(len(p.begins)),
		Memory: int64(cap(p.text)) + 4*int64(cap(p.begins)) + 512,
	}
}

// Reducer implements job.Plan.
func (p *squareNumbers) Reducer() job.Reducer { return counter{int64(len(p.begins))} }

// Task implements job.Plan.
func (p *squareNumbers) Task(i int, _ job.Resume) job.Task {
	return squareNumbersTask{plan: p, first: p.slices[i], end: p.slices[i+1]}
}

type squareNumbersTask struct {
	plan       *squareNumbers
	first, end uint32
}

// Step implements job.Task.
func (t squareNumbersTask) Step(ctx context.Context, now time.Time, local *job.Scratch) (job.Step, error) {
	s := squareScratch(local)
	var step job.Step
	step.Items.Grow(int(t.end - t.first))
	for i := t.first; i < t.end; i++ {
		text := t.plan.text[t.plan.begins[i]:]
		text = text[:fields.Width(text)]
		if len(text) > 1000 && ctx.Err() != nil {
			return job.Step{}, context.Cause(ctx)
		}
		s.addSquare(&step.Items, int64(i), text)
	}
	finishBatch(&step, now)
	return step, nil
}

// squareState is a worker's scratch for squares.
type squareState struct {
	text []byte
	int  big.Int
}

type squareKey struct{}

func squareScratch(local *job.Scratch) *squareState {
	return local.Get(squareKey{}, func() any { return new(squareState) }).(*squareState)
}

// addSquare adds the square of a validated element.
func (s *squareState) addSquare(to *job.Items, i int64, text []byte) {
	const fits = 18 // digits, with the sign, of an int64
	if text[0] == '"' {
		if v, ok := number.Special(text); ok {
			s.text = number.AppendFloat(s.text[:0], v*v)
			to.Add(i, s.text, 0)
			return
		}
		text = text[1 : len(text)-1]
	}
	switch {
	case !isInteger(text):
		v, _ := strconv.ParseFloat(string(text), 64) // validated
		s.text = number.AppendFloat(s.text[:0], v*v)
	case len(text) <= fits:
		v, _ := strconv.ParseInt(string(text), 10, 64)
		s.addSquareInt(to, i, v)
		return
	default:
		s.int.SetString(string(text), 10)
		s.int.Mul(&s.int, &s.int)
		s.text = s.int.Append(s.text[:0], 10)
	}
	to.Add(i, s.text, 0)
}

// maxSquared is the largest integer whose square fits into an int64.
const maxSquared = 3_037_000_499

// addSquareInt adds v squared: as a number, which takes half of the space of a literal, if it fits.
func (s *squareState) addSquareInt(to *job.Items, i, v int64) {
	if -maxSquared <= v && v <= maxSquared {
		to.AddInt(i, v*v, 0)
		return
	}
	s.text = appendSquareInt(s.text[:0], v)
	to.Add(i, s.text, 0)
}

// appendSquareInt appends v squared, which fits into 127 bits.
func appendSquareInt(dst []byte, v int64) []byte {
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	hi, lo := bits.Mul64(u, u)
	if hi == 0 {
		return strconv.AppendUint(dst, lo, 10)
	}
	// hi < 2^62 and 10^19 > 2^63, so the quotient fits.
	const e19 = 10_000_000_000_000_000_000
	q, r := bits.Div64(hi, lo, e19)
	dst = strconv.AppendUint(dst, q, 10)
	at := len(dst)
	dst = append(dst, "0000000000000000000"...)
	for i := at + 18; i >= at; i-- {
		dst[i] = byte('0' + r%10)
		r /= 10
	}
	return dst
}
