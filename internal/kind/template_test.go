package kind

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/job"
)

// A complete kind as a template for a new one: copy this file to <name>.go, and template_kind_test.go to
// <name>_test.go.
//
//         {"kind":"lengths","texts":["one","two"]}
//
// An item is the number of characters of a text, the result of the job is their sum.

func init() {
	register(definition{
		name:    "lengths",
		summary: "The number of characters of each text.",
		plan:    planLengths,
		limits:  func(l Limits) map[string]int64 { return map[string]int64{"items": l.Items} },
	})
}

// lengthSlice is the number of texts in a task. A task takes milliseconds, at most 100 ms, because it occupies a
// worker.
const lengthSlice = 4096

// maxLengthText bounds a text, in bytes of JSON.
const maxLengthText = 16 << 10

type lengths struct {
	texts  []string
	memory int64
}

// planLengths returns a plan or every error of the spec. It is deterministic: the same spec has the same plan on every
// node and after a restart.
func planLengths(spec []byte, e env) (job.Plan, error) {
	var errs fields.Errors
	f := readObject(spec, &errs, "texts")
	p := &lengths{}
	errors := 0
	f.elements("texts", func(i int64, v jsontext.Value) bool {
		switch {
		case i >= e.Items: // before anything is allocated for it
			f.Add("/texts", "at most %d items in a job; split the list", e.Items)
			return false
		case v.Kind() != '"' || len(v) > maxLengthText:
			f.Add(fmt.Sprintf("/texts/%d", i), "must be a string of at most %d bytes", maxLengthText)
			errors++
		default:
			p.texts = append(p.texts, fields.Text(v))
			p.memory += int64(len(v))
		}
		return errors < maxListErrors
	})
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// Size implements job.Plan. Units are the unit of progress; Memory is checked at admission.
func (p *lengths) Size() job.Size {
	n := int64(len(p.texts))
	return job.Size{Tasks: sliceCount(n, lengthSlice), Units: n, Memory: p.memory + 16*n + 512}
}

// Task implements job.Plan.
func (p *lengths) Task(i int, _ job.Resume) job.Task {
	first := i * lengthSlice
	return lengthTask{plan: p, first: first, end: min(len(p.texts), first+lengthSlice)}
}

type lengthTask struct {
	plan       *lengths
	first, end int
}

// lengthBuffer is the key of a worker's buffer, which is reused for all items.
type lengthBuffer struct{}

// Step implements job.Task. A step that waits for something other than a timer, or takes longer, must check ctx.
func (t lengthTask) Step(_ context.Context, now time.Time, local *job.Scratch) (job.Step, error) {
	buffer := local.Get(lengthBuffer{}, func() any { return new([]byte) }).(*[]byte)
	var step job.Step
	var sum uint64
	for i, s := range t.plan.texts[t.first:t.end] {
		n := utf8.RuneCountInString(s)
		sum += uint64(n)
		*buffer = strconv.AppendInt((*buffer)[:0], int64(n), 10)
		step.Items.Add(int64(t.first+i), *buffer, 0) // copies the buffer
	}
	step.Partial = binary.AppendUvarint(nil, sum)
	finishBatch(&step, now)
	return step, nil
}

// Reducer implements job.Plan. Use counter for a job whose result is the number of its items.
func (p *lengths) Reducer() job.Reducer { return new(lengthSum) }

type lengthSum struct{ n uint64 }

// Add implements job.Reducer. It validates partials, because they are read from disk.
func (s *lengthSum) Add(task int, partial []byte) error {
	n, size := binary.Uvarint(partial)
	if size <= 0 || size != len(partial) {
		return fmt.Errorf("%w: partial of task %d", job.ErrCorrupt, task)
	}
	s.n += n
	return nil
}

// Outcome implements job.Reducer.
func (s *lengthSum) Outcome() (job.Outcome, error) {
	return job.Outcome{Value: strconv.AppendUint(nil, s.n, 10)}, nil
}
