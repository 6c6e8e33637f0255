package chunked_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"gather/internal/chunked"
)

// finePlans has plans for every type of partial.
func finePlans(tb testing.TB) map[string]*chunked.Plan {
	tb.Helper()
	plans := map[string]*chunked.Plan{}
	for name, test := range map[string]struct{ array, axis string }{
		"whole chunks of floats":    {`{"source":"random","shape":[20,30],"chunks":[5,7]}`, ""},
		"whole chunks of integers":  {`{"source":"random","distribution":"integers","low":-9223372036854775808,"high":9223372036854775808,"shape":[20,30],"chunks":[5,7]}`, ""},
		"parts of a chunk":          {`{"source":"random","shape":[20,1500],"chunks":-1}`, ""},
		"whole outputs of floats":   {`{"source":"random","shape":[20,30],"dtype":"float32"}`, "0"},
		"whole outputs of integers": {`{"source":"random","distribution":"integers","high":18446744073709551616,"shape":[20,30],"dtype":"uint64"}`, "1"},
		"parts of outputs":          {`{"source":"random","distribution":"normal","shape":[3000,3]}`, "0"},
		"nothing":                   {`{"source":"zeros","shape":[0,3]}`, "1"},
	} {
		a := parse(tb, test.array)
		p, err := chunked.NewFinePlan(a, reduction(tb, a, test.axis, "", ""), 300)
		if err != nil {
			tb.Fatal(err)
		}
		plans[name] = p
	}
	return plans
}

func run(tb testing.TB, p *chunked.Plan, task int) []byte {
	tb.Helper()
	partial, err := p.Run(context.Background(), chunked.NewWorker(), task, nil)
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
		for i := range good {
			if err := p.EachItem(0, good[:i], func(chunked.Item) error { return nil }); err != nil && !errors.Is(err, chunked.ErrPartial) {
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
			if other != name {
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
		if _, err := p.Run(context.Background(), chunked.NewWorker(), p.Tasks(), nil); err == nil {
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
			if err := p.EachItem(0, run(t, p, 0), yield); err != stop { //nolint:errorlint // the very same
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
		r := p.NewReducer()
		err := r.Add(0, partial)
		if err != nil && !errors.Is(err, chunked.ErrPartial) && !errors.Is(err, chunked.ErrVersion) {
			t.Fatalf("got error %v, want ErrPartial or ErrVersion", err)
		}
		n := int64(0)
		itemErr := p.EachItem(0, partial, func(i chunked.Item) error {
			n++
			if i.Index < 0 || i.Index >= p.Items() || len(i.Value.AppendJSON(nil)) == 0 {
				return fmt.Errorf("bad item %+v", i)
			}
			return nil
		})
		if err == nil && (itemErr != nil || n != p.TaskItems(0)) {
			t.Fatalf("accepted, but %d items of %d: %v", n, p.TaskItems(0), itemErr)
		}
	})
}
