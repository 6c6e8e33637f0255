package chunked_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gather/internal/chunked"
	"gather/internal/npy"
)

// finePlans has plans for every type of partial.
func finePlans(tb testing.TB) map[string]*chunked.Plan {
	tb.Helper()
	plans := map[string]*chunked.Plan{}
	for name, test := range map[string]struct {
		array, axis string
		merged      int64
	}{
		"whole chunks of floats":    {`{"source":"random","shape":[20,30],"chunks":[5,7]}`, "", 0},
		"whole chunks of integers":  {`{"source":"random","distribution":"integers","low":-9223372036854775808,"high":9223372036854775808,"shape":[20,30],"chunks":[5,7]}`, "", 0},
		"parts of a chunk":          {`{"source":"random","shape":[20,1500],"chunks":-1}`, "", 0},
		"whole outputs of floats":   {`{"source":"random","shape":[20,30],"dtype":"float32"}`, "0", 0},
		"whole outputs of integers": {`{"source":"random","distribution":"integers","high":18446744073709551616,"shape":[20,30],"dtype":"uint64"}`, "1", 0},
		"parts of outputs":          {`{"source":"random","distribution":"normal","shape":[3000,3]}`, "0", 0},
		"range of floats":           {`{"source":"random","shape":[20,30]}`, "0", 1},
		"range of integers":         {`{"source":"random","distribution":"integers","low":-9223372036854775808,"high":9223372036854775808,"shape":[20,30]}`, "1", 1},
		"nothing":                   {`{"source":"zeros","shape":[0,3]}`, "1", 0},
	} {
		a := parse(tb, test.array)
		p, err := chunked.NewFinePlan(a, reduction(tb, a, test.axis, "", ""), 300, chunked.Limits{Merged: test.merged})
		if err != nil {
			tb.Fatal(err)
		}
		plans[name] = p
	}
	for name, test := range map[string]struct {
		array, axis, ops string
		merged           int64
	}{
		"statistics of chunks":          {`{"source":"random","shape":[20,30],"chunks":[5,7]}`, "null", "min,var,argmax", 0},
		"statistics of parts":           {`{"source":"random","shape":[20,1500],"chunks":-1}`, "null", "nanvar,max", 0},
		"statistics of outputs":         {`{"source":"random","shape":[20,30]}`, "0", "std,any", 0},
		"statistics of parts of output": {`{"source":"random","distribution":"normal","shape":[3000,3]}`, "0", "mean,nanmin", 0},
		"range of statistics":           {`{"source":"random","distribution":"integers","high":9,"shape":[20,30]}`, "0", "max,mean", 1},
	} {
		a := parse(tb, test.array)
		r, err := parseOps(tb, a, reductionCase{Axis: []byte(test.axis)}, strings.Split(test.ops, ",")...)
		if err != nil {
			tb.Fatal(err)
		}
		if plans[name], err = chunked.NewFinePlan(a, r, 300, chunked.Limits{Merged: test.merged}); err != nil {
			tb.Fatal(err)
		}
	}
	return plans
}

func run(tb testing.TB, p *chunked.Plan, task int) []byte {
	tb.Helper()
	partial, err := p.Run(context.Background(), chunked.NewWorker(), task, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return partial
}

// TestPartialsAreStrict tests that a truncated, extended or foreign partial is an error and changes nothing.
func TestPartialsAreStrict(t *testing.T) {
	plans := finePlans(t)
	for name, p := range plans {
		good := run(t, p, 0)
		r := p.NewReducer()
		for i := range good {
			if err := r.Add(0, good[:i]); !errors.Is(err, chunked.ErrPartial) {
				t.Errorf("%s: cut to %d bytes: %v", name, i, err)
			}
		}
		if err := r.Add(0, append(bytes.Clone(good), 0)); !errors.Is(err, chunked.ErrPartial) {
			t.Errorf("%s: continued: %v", name, err)
		}
		later := bytes.Clone(good)
		later[0] += 1 << 4
		if err := r.Add(0, later); !errors.Is(err, chunked.ErrVersion) {
			t.Errorf("%s: a partial of a later version: got %v, want ErrVersion", name, err)
		}
		if err := r.Add(p.Tasks(), good); !errors.Is(err, chunked.ErrPartial) {
			t.Errorf("%s: of no task: %v", name, err)
		}
		if err := r.Add(-1, good); !errors.Is(err, chunked.ErrPartial) {
			t.Errorf("%s: of task -1: %v", name, err)
		}
		for other, q := range plans {
			// A sum of chunks does not show the type of their elements.
			if other != name && !strings.HasPrefix(other, "whole chunks") {
				if err := q.NewReducer().Add(0, good); err == nil {
					t.Errorf("%s: accepted as %s", name, other)
				}
			}
		}
		if r.Missing() != p.Tasks() {
			t.Errorf("%s: %d of %d tasks missing after errors", name, r.Missing(), p.Tasks())
		}
		if _, err := r.Result(); !errors.Is(err, chunked.ErrIncomplete) {
			t.Errorf("%s: a result without tasks: %v", name, err)
		}
		if err := r.EachLateItem(nil); !errors.Is(err, chunked.ErrIncomplete) {
			t.Errorf("%s: items without tasks: %v", name, err)
		}
		if err := r.Add(0, good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.Add(0, good); !errors.Is(err, chunked.ErrDuplicate) {
			t.Errorf("%s: twice: %v", name, err)
		}
		if _, err := p.Run(context.Background(), chunked.NewWorker(), p.Tasks(), nil, nil); err == nil {
			t.Errorf("%s: ran a task that is not there", name)
		}
	}
}

// TestYieldCanStop tests that the callback's error is returned unchanged.
func TestYieldCanStop(t *testing.T) {
	stop := errors.New("stop")
	yield := func(chunked.Item) error { return stop }
	for name, p := range finePlans(t) {
		if p.TaskItems(0) > 0 {
			if _, err := p.Run(t.Context(), chunked.NewWorker(), 0, nil, yield); err != stop { //nolint:errorlint // the very same
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		r := p.NewReducer()
		for task := range p.Tasks() {
			if err := r.Add(task, run(t, p, task)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.EachLateItem(yield); p.Items() > 0 && err != stop { //nolint:errorlint // the very same
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestPlansAreBounded tests that the number of tasks and the partials of outputs are bounded for all chunks.
func TestPlansAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector")
	}
	const maxTasks, maxPartials, longest = 1<<20 + 1, 64 << 20, 277
	rng := rand.New(rand.NewPCG(5, 6))
	alternating := "["
	for i := range 20000 {
		alternating += fmt.Sprintf("%d,1,", 40_000_000+rng.IntN(20_000_000)*(i%3))
	}
	total := int64(0)
	lengths := parseLengths(t, alternating+"1]")
	for _, l := range lengths {
		total += l
	}
	tests := []struct{ array, axis string }{
		{`"shape":[1000000000000],"chunks":-1`, ""},
		{`"shape":[1000000000000],"chunks":1000000`, ""},
		{`"shape":[1000000000000],"chunks":45000000`, ""},
		{fmt.Sprintf(`"shape":[%d],"chunks":%s1]`, total, alternating), ""},
		{`"shape":[1000000],"chunks":1`, ""},
		{`"shape":[1000000,1000000]`, "0"},
		{`"shape":[1000000,1000000]`, "1"},
		{`"shape":[10000000,100000]`, "0"},
		{`"shape":[100000,10000000]`, "1"},
		{`"shape":[1000,1000,1000,1000]`, "[0,2]"},
		{`"shape":[1000,1000,1000,1000]`, "[1,3]"},
		{`"shape":[10,100000000000]`, "1"},
		{`"shape":[100000000000,10]`, "0"},
		{`"shape":[1000000,3]`, "1"},
		{`"shape":[1000000]`, "[]"},
		{`"shape":[1000000,0]`, "1"},
		{`"shape":[0,1000000]`, "1"},
	}
	for _, test := range tests {
		a := parse(t, `{"source":"random",`+test.array+`}`)
		p, errs := newPlan(a, reduction(t, a, test.axis, "", ""), chunked.Limits{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		name := fmt.Sprintf("%.60s axis %s", test.array, test.axis)
		if p.Tasks() < 1 || p.Tasks() > maxTasks {
			t.Errorf("%s: %d tasks", name, p.Tasks())
		}
		bytes, items, largest := int64(0), int64(0), int64(0)
		for task := range p.Tasks() {
			bytes += p.TaskBytes(task)
			items += p.TaskItems(task)
			largest = max(largest, p.TaskBytes(task)/8)
		}
		if bytes != p.Bytes() {
			t.Errorf("%s: tasks of %d bytes, want %d", name, bytes, p.Bytes())
		}
		if test.axis != "" && items != 0 && items != p.Items() {
			t.Errorf("%s: %d of %d items", name, items, p.Items())
		}
		if test.axis != "" && items == 0 && p.Items() > 0 {
			// Each output is in as many partials as the array has elements for it per elements of one task.
			segments := int64(p.Tasks()) * (bytes / 8 / int64(p.Tasks())) / max(bytes/8/p.Items(), 1) / p.Items()
			if segments*p.Items()*longest > maxPartials {
				t.Errorf("%s: partials of %d bytes", name, segments*p.Items()*longest)
			}
		}
		t.Logf("%s: %d tasks of up to %d elements", name, p.Tasks(), largest)
		if largest > 1<<28 {
			t.Errorf("%s: a task of %d elements", name, largest)
		}
	}
}

func parseLengths(t *testing.T, list string) (lengths []int64) {
	t.Helper()
	var n int64
	for _, c := range list {
		switch {
		case c >= '0' && c <= '9':
			n = 10*n + int64(c-'0')
		case c == ',' || c == ']':
			lengths = append(lengths, n)
			n = 0
		}
	}
	return lengths
}

// FuzzPartial tests that no bytes panic a reducer, and that accepted ones are the canonical encoding of a sum.
func FuzzPartial(f *testing.F) {
	plans := finePlans(f)
	names := []string{}
	for name, p := range plans {
		names = append(names, name)
		f.Add(name, run(f, p, 0))
	}
	f.Fuzz(func(t *testing.T, name string, partial []byte) {
		p, ok := plans[name]
		if !ok {
			p = plans[names[len(partial)%len(names)]]
		}
		err := p.NewReducer().Add(0, partial)
		if err != nil && !errors.Is(err, chunked.ErrPartial) && !errors.Is(err, chunked.ErrVersion) {
			t.Fatalf("got error %v, want ErrPartial or ErrVersion", err)
		}
	})
}

// A result that is not merged has the same items, shape and overflow.
func TestResultsThatAreNotMerged(t *testing.T) {
	integers := `"source":"random","distribution":"integers","low":-9223372036854775808,"high":9223372036854775808`
	for _, test := range []struct{ array, axis, dtype string }{
		{`{"source":"random","shape":[20,30]}`, "0", ""},
		{`{"source":"random","shape":[20,30]}`, "1", `"float32"`},
		{`{` + integers + `,"shape":[20,30]}`, "1", ""},
		{`{` + integers + `,"shape":[2,30]}`, "0", `"uint8"`},
		{`{` + integers + `,"shape":[1,30]}`, "0", ""},
		{`{"source":"ones","dtype":"uint8","shape":[300,4]}`, "0", `"uint8"`},
		{`{"source":"ones","dtype":"uint8","shape":[255,4]}`, "0", `"uint8"`},
		{`{` + integers + `,"shape":[0,3]}`, "0", ""},
		{`{` + integers + `,"shape":[3,0]}`, "0", ""},
	} {
		a := parse(t, test.array)
		var results [2]*chunked.Result
		var items [2][]string
		for i, merged := range []int64{0, 1} {
			p, err := chunked.NewFinePlan(a, reduction(t, a, test.axis, "", test.dtype), 300, chunked.Limits{Merged: merged})
			if err != nil {
				t.Fatal(err)
			}
			r := p.NewReducer()
			items[i] = make([]string, p.Items())
			for task := range p.Tasks() {
				partial, err := p.Run(t.Context(), chunked.NewWorker(), task, nil, func(it chunked.Item) error {
					items[i][it.Index] = string(it.Values[0].AppendJSON(nil))
					return nil
				})
				if err == nil {
					err = r.Add(task, partial)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if results[i], err = r.Result(); err != nil {
				t.Fatal(err)
			}
		}
		o, over := results[0].Overflow()
		got, gotOver := results[1].Overflow()
		if got != o || gotOver != over || results[1].Len() != results[0].Len() || results[1].Shape().String() != results[0].Shape().String() {
			t.Errorf("%+v: got %+v, %v, %d elements, want %+v, %v, %d", test, got, gotOver, results[1].Len(), o, over, results[0].Len())
		}
		if !slices.Equal(items[1], items[0]) {
			t.Errorf("%+v: got items %q, want %q", test, items[1], items[0])
		}
	}
}

// The partials of strips, which have a state for each chunk, are bounded for arrays of any size.
func TestStripsAreBounded(t *testing.T) {
	for _, test := range []struct {
		shape  []int64
		chunks string
	}{
		{[]int64{8192, 8192}, "[1000,1000]"},
		{[]int64{1 << 20, 1 << 17}, "[1048576,100]"},
		{[]int64{10_000_000, 100_000}, "[1000000,100]"},
	} {
		h := npy.Header{Type: npy.Type{Kind: 'f', Size: 8}, Shape: test.shape, Offset: 128}
		a, errs := parseArray([]byte(`{"source":"npy","name":"a","chunks":`+test.chunks+`}`), chunked.Options{
			Open: func(chunked.Ref) (chunked.Stored, error) { return chunked.Stored{Header: h}, nil },
		})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		for _, ops := range []string{"sum", "var"} {
			r, err := parseOps(t, a, reductionCase{Axis: []byte("null")}, ops)
			if err != nil {
				t.Fatal(err)
			}
			p, err := chunked.NewPlan(a, r, chunked.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			// Tasks of whole chunks have one state each, which is tens of bytes.
			if bytes := (p.States() - int64(p.Tasks())) * 277; bytes > 64<<20 {
				t.Errorf("%s of %v, chunks %s: partials of %d bytes, want at most 64 MiB", ops, test.shape, test.chunks, bytes)
			}
		}
	}
}
