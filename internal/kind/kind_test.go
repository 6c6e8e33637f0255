package kind_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/kind"
)

// run executes a plan task by task at the requested times, and returns its items by index and its result.
func run(t *testing.T, p job.Plan) (map[int64]job.Item, job.Outcome) {
	t.Helper()
	items, out, err := tryRun(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(items)) != p.Size().Units {
		t.Fatalf("got %d items, want %d", len(items), p.Size().Units)
	}
	return items, out
}

// tryRun is run for a plan that may fail.
func tryRun(t *testing.T, p job.Plan) (map[int64]job.Item, job.Outcome, error) {
	t.Helper()
	origin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	items := make(map[int64]job.Item)
	red := p.Reducer()
	var local job.Scratch
	for i := range p.Size().Tasks {
		task := p.Task(i, job.Resume{Started: origin})
		for now := origin; ; {
			step, err := task.Step(t.Context(), now, &local)
			if err != nil {
				return nil, job.Outcome{}, fmt.Errorf("task %d: %w", i, err)
			}
			for _, it := range step.Items.All() {
				if _, twice := items[it.Index]; twice {
					t.Fatalf("item %d twice", it.Index)
				}
				it.Value = append([]byte(nil), it.Value...)
				items[it.Index] = it
			}
			if step.ResumeAt.IsZero() {
				if err := red.Add(i, step.Partial); err != nil {
					t.Fatal(err)
				}
				break
			}
			if !step.ResumeAt.After(now) {
				t.Fatalf("task %d resumes at %v, want a time after %v", i, step.ResumeAt, now)
			}
			now = step.ResumeAt
		}
	}
	out, err := red.Outcome()
	return items, out, err
}

func plan(t *testing.T, name, spec string) job.Plan {
	t.Helper()
	p, _, err := kind.NewRegistry(kind.DefaultLimits(), nil).Plan(t.Context(), "acme", name, []byte(spec))
	if err != nil {
		t.Fatalf("%s %s: %v", name, spec, err)
	}
	return p
}

func TestSquares(t *testing.T) {
	big40 := strings.Repeat("9", 40)
	n, _ := new(big.Int).SetString(big40, 10)
	for _, tt := range []struct {
		spec string
		want []string
	}{
		{`{"range":{"start":0,"stop":5,"step":1}}`, []string{"0", "1", "4", "9", "16"}},
		{`{"range":{"stop":3}}`, []string{"0", "1", "4"}},
		{`{"range":{"start":null,"stop":3.0,"step":null}}`, []string{"0", "1", "4"}},
		{`{"range":{"start":1e1,"stop":-1.2E1,"step":-2e1}}`, []string{"100", "100"}},
		{`{"range":{"start":5,"stop":0,"step":-2}}`, []string{"25", "9", "1"}},
		{`{"range":{"start":5,"stop":5}}`, nil},
		{`{"range":{"start":-9223372036854775808,"stop":9223372036854775807,"step":9223372036854775807}}`, []string{
			"85070591730234615865843651857942052864", "1", "85070591730234615828950163710522949636",
		}},
		{`{"range":{"start":9223372036854775807,"stop":9223372036854775810}}`, []string{
			"85070591730234615847396907784232501249", "85070591730234615865843651857942052864", "85070591730234615884290395931651604481",
		}},
		{`{"range":{"start":36893488147419103232,"stop":0,"step":-18446744073709551616}}`, []string{
			"1361129467683753853853498429727072845824", "340282366920938463463374607431768211456",
		}},
		{`{"range":{"start":1,"stop":9223372036854775807,"step":9223372036854775808}}`, []string{"1"}},
		{`{"range":{"start":9223372036854775808,"stop":9223372036854775808}}`, nil},
		{`{"numbers":[1,-3,1000000000000000000,2.5]}`, []string{"1", "9", "1" + strings.Repeat("0", 36), "6.25"}},
		{`{"numbers":[ 2.0 , -0.0,-0 ,1e200,1e16,1e-5, "NaN" ,"-Infinity" ,"12345678901234567890"]}`, []string{
			"4.0", "0.0", "0", `"Infinity"`, "1e+32", "1.0000000000000002e-10", `"NaN"`, `"Infinity"`, "152415787532388367501905199875019052100",
		}},
		{`{"numbers":[` + big40 + `,999999999999999999]}`, []string{new(big.Int).Mul(n, n).String(), "999999999999999998000000000000000001"}},
		{`{"numbers":[]}`, nil},
		{`{"range":{"start":3037000498,"stop":3037000502}}`, []string{
			"9223372024852248004", "9223372030926249001", "9223372037000250000", "9223372043074251001",
		}},
		{`{"range":{"start":-3037000500,"stop":-3037000498}}`, []string{"9223372037000250000", "9223372030926249001"}},
		{`{"numbers":[3037000499,2.5,-3037000499,3037000500,7]}`, []string{
			"9223372030926249001", "6.25", "9223372030926249001", "9223372037000250000", "49",
		}},
	} {
		items, out := run(t, plan(t, "squares", tt.spec))
		if len(items) != len(tt.want) {
			t.Errorf("%s: %d items, want %d", tt.spec, len(items), len(tt.want))
			continue
		}
		for i, want := range tt.want {
			if got := string(items[int64(i)].Value); got != want {
				t.Errorf("%s: item %d is %s, want %s", tt.spec, i, got, want)
			}
			if !json.Valid(items[int64(i)].Value) {
				t.Errorf("%s: item %d is not JSON: %s", tt.spec, i, items[int64(i)].Value)
			}
		}
		if want, _ := json.Marshal(len(tt.want)); string(out.Value) != string(want) {
			t.Errorf("%s: result %s, want %s", tt.spec, out.Value, want)
		}
	}
}

// A range beyond int64 is split by digits, and its plan has the minimum size of its results.
func TestLargeRange(t *testing.T) {
	base := strings.Repeat("9", 90_000)
	for _, step := range []int64{1, 7} {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			p := plan(t, "squares", fmt.Sprintf(`{"range":{"start":%s0,"stop":%s9,"step":%d}}`, base, base, step))
			size := p.Size()
			want := 1 + int(8/step)
			if size.Tasks != want || size.Units != int64(want) {
				t.Errorf("got %d tasks of %d numbers, want %d of %d", size.Tasks, size.Units, want, want)
			}
			if bounds := int64(2 * len(base) * 2 / 5); size.Memory < bounds { // a digit has more than 3 bits
				t.Errorf("got %d bytes of memory, want at least the %d of two numbers", size.Memory, bounds)
			}
			items, _ := run(t, p)
			total := 0
			n, _ := new(big.Int).SetString(base+"0", 10)
			for i := range int64(want) {
				total += len(items[i].Value)
				if want := new(big.Int).Mul(n, n).String(); string(items[i].Value) != want {
					t.Errorf("item %d has %d digits and differs, want the square of %d digits", i, len(items[i].Value), len(want))
				}
				n.Add(n, big.NewInt(step))
			}
			if size.Results > int64(total) || size.Results < int64(total)*99/100 {
				t.Errorf("got %d bytes of results in the plan, want nearly %d", size.Results, total)
			}
		})
	}
}

// A range has Python's semantics on both sides of int64. Its plan never overestimates the bytes of its results.
func TestRanges(t *testing.T) {
	const beyond = "1000000000000000000000000000000" // 10^30
	for _, tt := range []struct {
		spec    string
		numbers []string // to be squared
	}{
		{`{"stop":3}`, []string{"0", "1", "2"}},
		{`{"start":3,"stop":3}`, nil},
		{`{"start":5,"stop":1}`, nil},
		{`{"start":1,"stop":5,"step":-1}`, nil},
		{`{"start":` + beyond + `,"stop":5}`, nil},
		{`{"start":5,"stop":-2,"step":-3}`, []string{"5", "2", "-1"}},
		{`{"start":1,"stop":5,"step":` + beyond + `}`, []string{"1"}},
		{`{"start":5,"stop":1,"step":-` + beyond + `}`, []string{"5"}},
		{`{"start":9223372036854775809,"stop":9223372036854775806,"step":-2}`, []string{"9223372036854775809", "9223372036854775807"}},
		{`{"start":9223372036854775806,"stop":9223372036854775809}`, []string{"9223372036854775806", "9223372036854775807", "9223372036854775808"}},
		{`{"start":-` + beyond + `,"stop":` + beyond + `1,"step":` + beyond + `}`, []string{
			"-" + beyond, "0", beyond, "2" + beyond[1:], "3" + beyond[1:], "4" + beyond[1:], "5" + beyond[1:], "6" + beyond[1:],
			"7" + beyond[1:], "8" + beyond[1:], "9" + beyond[1:], beyond + "0",
		}},
		{`{"start":-` + beyond + `,"stop":1` + beyond[1:29] + `,"step":` + beyond + `}`, []string{"-" + beyond, "0"}},
		{`{"start":1,"stop":` + beyond + `,"step":1` + beyond[2:] + `}`, []string{
			"1", "1" + beyond[3:] + "1", "2" + beyond[3:] + "1", "3" + beyond[3:] + "1", "4" + beyond[3:] + "1",
			"5" + beyond[3:] + "1", "6" + beyond[3:] + "1", "7" + beyond[3:] + "1", "8" + beyond[3:] + "1", "9" + beyond[3:] + "1",
		}},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			p := plan(t, "squares", `{"range":`+tt.spec+`}`)
			if got := p.Size().Units; got != int64(len(tt.numbers)) {
				t.Fatalf("got %d numbers, want %d", got, len(tt.numbers))
			}
			items, _ := run(t, p)
			total := int64(0)
			for i, number := range tt.numbers {
				n, _ := new(big.Int).SetString(number, 10)
				got, want := string(items[int64(i)].Value), n.Mul(n, n).String()
				if got != want {
					t.Errorf("item %d: got %s, want %s, the square of %s", i, got, want, number)
				}
				total += int64(len(got))
			}
			if got := p.Size().Results; got > total {
				t.Errorf("got %d bytes of results in the plan, want at most %d", got, total)
			}
		})
	}
}

// The sign does not count as a digit, and an error for a long range has its length.
func TestRangeLimits(t *testing.T) {
	reg := kind.NewRegistry(kind.Limits{Items: 10, Digits: 20}, nil)
	for _, tt := range []struct{ spec, pointer, detail string }{
		{`{"range":{"start":-12345678901234567890,"stop":-12345678901234567889}}`, "", ""},
		{`{"range":{"start":-123456789012345678901,"stop":0}}`, "/range/start", "has 21 digits; at most 20"},
		{`{"numbers":[-123456789012345678901]}`, "/numbers/0", "has 21 digits; at most 20"},
		{`{"range":{"stop":11}}`, "/range", "has 11 numbers; at most 10"},
		{`{"range":{"stop":99999999999999999999}}`, "/range", "has more than 10^18 numbers; at most 10"},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			err := reg.Validate(t.Context(), "acme", "squares", []byte(tt.spec))
			if tt.detail == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			v, ok := errors.AsType[*fields.Errors](err)
			if !ok || len(v.List) != 1 || v.List[0].Pointer != tt.pointer || !strings.Contains(v.List[0].Detail, tt.detail) {
				t.Errorf("got %v, want %q at %s", err, tt.detail, tt.pointer)
			}
		})
	}
}

// A stored list of an earlier version with leading zeros continues to run.
func TestStoredLeadingZeros(t *testing.T) {
	p, err := kind.NewRegistry(kind.DefaultLimits(), nil).Replan(t.Context(), "acme", "squares", []byte(`{"numbers":["007"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if items, _ := run(t, p); string(items[0].Value) != "49" {
		t.Errorf("got %s, want 49", items[0].Value)
	}
}

// Null selects the default, and 2.0 is an integer.
func TestOptionalMembers(t *testing.T) {
	size := plan(t, "sleep_batch", `{"count":2.0,"duration":"1s","concurrency":null}`).Size()
	if size.Units != 2 {
		t.Errorf("got a batch of %d sleeps, want 2", size.Units)
	}
}

func TestFaults(t *testing.T) {
	reg := kind.NewRegistry(kind.Limits{Items: 10, Digits: 20}, nil)
	for _, tt := range []struct {
		kind, spec string
		pointers   []string
	}{
		{"nap", `{}`, []string{"/kind"}},
		{"squares", `[]`, []string{"", ""}},
		{"squares", `{}`, []string{""}},
		{"squares", `{"numbers":[1],"range":{"stop":1}}`, []string{"/range"}},
		{"squares", `{"numbers":[1,null,"x",true,[2],{"a":1},1e999,3],"colour":"red"}`, []string{
			"/colour", "/numbers/1", "/numbers/2", "/numbers/3", "/numbers/4", "/numbers/5", "/numbers/6",
		}},
		{"squares", `{"numbers":[123456789012345678901]}`, []string{"/numbers/0"}},
		{"squares", `{"numbers":["007","-01","0","-0",-12345678901234567890]}`, []string{"/numbers/0", "/numbers/1"}},
		{"squares", `{"range":{"start":123456789012345678901,"stop":2.5}}`, []string{"/range/start", "/range/stop"}},
		{"squares", `{"range":{"stop":99999999999999999999}}`, []string{"/range"}},
		{"squares", `{"numbers":[1,2,3,4,5,6,7,8,9,10,11]}`, []string{"/numbers"}},
		{"squares", `{"range":{"start":0.5,"step":0,"x/y":1}}`, []string{"/range/x~1y", "/range/start", "/range/stop", "/range/step"}},
		{"squares", `{"range":{"start":-9223372036854775808,"stop":9223372036854775807}}`, []string{"/range"}},
		{"sleep_batch", `{}`, []string{""}},
		{"sleep_batch", `{"count":-1,"duration":"5"}`, []string{"/count", "/duration"}},
		{"sleep_batch", `{"count":11,"duration":"5s","concurrency":0}`, []string{"/count", "/concurrency"}},
		{"sleep_batch", `{"durations":["1s",-1,"-1s",null,1e99,"900000h"],"count":3}`, []string{
			"/count", "/durations/1", "/durations/2", "/durations/3", "/durations/4", "/durations/5",
		}},
		{"sleep_batch", `{"count":null,"duration":"1s","concurrency":null}`, []string{"/count"}},
		{"sleep_batch", `{"count":2.5,"duration":"1s","concurrency":1.5}`, []string{"/count", "/concurrency"}},
		{"sleep_batch", `{"count":2}`, []string{"/duration"}},
		{"sleep_batch", `{"durations":"1s"}`, []string{"/durations"}},
	} {
		err := reg.Validate(t.Context(), "acme", tt.kind, []byte(tt.spec))
		var v *fields.Errors
		if !errors.As(err, &v) {
			t.Errorf("%s %s: %v, want a ValidationError", tt.kind, tt.spec, err)
			continue
		}
		var got []string
		for _, f := range v.List {
			got = append(got, f.Pointer)
			if f.Detail == "" {
				t.Errorf("%s: no detail at %s", tt.spec, f.Pointer)
			}
		}
		if strings.Join(got, " ") != strings.Join(tt.pointers, " ") {
			t.Errorf("%s %s: errs %v, want at %q", tt.kind, tt.spec, v.List, tt.pointers)
		}
	}
	if err := kind.NewRegistry(kind.DefaultLimits(), nil).Validate(t.Context(), "acme", "sleep_batch", []byte(`{"count":10000000,"duration":"8000h","concurrency":1}`)); err == nil {
		t.Error("a schedule of thousands of years was accepted")
	}
}

func TestSleepBatch(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		spec  string
		slept []time.Duration
	}{
		{`{"count":3,"duration":"50ms"}`, []time.Duration{50 * ms, 50 * ms, 50 * ms}},
		{`{"count":0,"duration":1}`, nil},
		{`{"durations":["30ms",0.01,"0s","20ms"]}`, []time.Duration{30 * ms, 10 * ms, 0, 20 * ms}},
		{`{"durations":["30ms",0.01,"5ms","20ms"],"concurrency":2}`, []time.Duration{30 * ms, 10 * ms, 5 * ms, 20 * ms}},
		{`{"count":5,"duration":"7ms","concurrency":1}`, []time.Duration{7 * ms, 7 * ms, 7 * ms, 7 * ms, 7 * ms}},
	} {
		items, _ := run(t, plan(t, "sleep_batch", tt.spec))
		if len(items) != len(tt.slept) {
			t.Errorf("%s: %d items", tt.spec, len(items))
			continue
		}
		for i, want := range tt.slept {
			if got := items[int64(i)].Duration; got != want {
				t.Errorf("%s: item %d slept %v, want %v", tt.spec, i, got, want)
			}
		}
	}
}

// The concurrency bound holds at all times, and no slot stays empty.
func TestSleepConcurrency(t *testing.T) {
	const spec = `{"durations":["30ms","10ms","10ms","5ms","40ms","1ms"],"concurrency":2}`
	p := plan(t, "sleep_batch", spec)
	origin := time.Unix(0, 0)
	task := p.Task(0, job.Resume{Started: origin})
	var ends []time.Duration
	var local job.Scratch
	for now := origin; ; {
		step, err := task.Step(t.Context(), now, &local)
		if err != nil {
			t.Fatal(err)
		}
		for range step.Items.Len() {
			ends = append(ends, now.Sub(origin))
		}
		if step.ResumeAt.IsZero() {
			break
		}
		now = step.ResumeAt
	}
	// Slots: A 0-30 (0), B 0-10 (1), 10-20 (2), 20-25 (3), 25-65 (4); A 30-31 (5).
	want := []int64{10, 20, 25, 30, 31, 65}
	for i, w := range want {
		if ends[i].Milliseconds() != w {
			t.Fatalf("ends %v, want %v ms", ends, want)
		}
	}
	if p.Size().Waiting != 2 {
		t.Errorf("waiting %d, want 2", p.Size().Waiting)
	}
}

// After a restart journaled items are not repeated, and elapsed waits have ended.
func TestSleepResume(t *testing.T) {
	p := plan(t, "sleep_batch", `{"durations":["3s","1s","2s"]}`)
	var done job.TaskProgress
	done.Items.Add(1, []byte("1.0"), time.Second)
	origin := time.Unix(1000, 0)
	task := p.Task(0, job.Resume{Started: origin, Steps: []job.TaskProgress{done}})
	var local job.Scratch
	step, err := task.Step(t.Context(), origin.Add(2500*time.Millisecond), &local)
	if err != nil || step.Items.Len() != 1 || step.Items.At(0).Index != 2 || step.Items.At(0).Duration != 2500*time.Millisecond {
		t.Fatalf("%v %v", step.Items.String(), err)
	}
	if want := origin.Add(3 * time.Second); !step.ResumeAt.Equal(want) {
		t.Errorf("wake %v, want %v", step.ResumeAt, want)
	}
}

func FuzzSquares(f *testing.F) {
	for _, s := range []string{"0", "-1", "18446744073709551616", "3037000500", "999999999999999999", "1e5", "2.5", "-0.0", "-0"} {
		f.Add(s)
	}
	reg := kind.NewRegistry(kind.DefaultLimits(), nil)
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte("[" + text + "]")) {
			t.Skip()
		}
		p, _, err := reg.Plan(t.Context(), "acme", "squares", []byte(`{"numbers":[`+text+`]}`))
		if err != nil {
			return
		}
		var list []json.RawMessage
		if err := json.Unmarshal([]byte("["+text+"]"), &list); err != nil {
			t.Fatalf("accepted %q: %v", text, err)
		}
		items, _ := run(t, p)
		if len(items) != len(list) {
			t.Fatalf("%d items of %d", len(items), len(list))
		}
		for i, raw := range list {
			lit := strings.Trim(string(raw), `"`)
			got := string(items[int64(i)].Value)
			if n, ok := new(big.Int).SetString(lit, 10); ok {
				if want := n.Mul(n, n).String(); got != want {
					t.Errorf("%s squared is %s, want %s", lit, got, want)
				}
				continue
			}
			if _, exponent, _ := strings.Cut(strings.ToLower(lit), "e"); len(exponent) > 4 {
				continue // too large as a rational
			}
			v, ok := new(big.Rat).SetString(lit) // big.ParseFloat does not always round to nearest
			if !ok {
				continue
			}
			x, _ := v.Float64()
			if x = x * x; math.IsInf(x, 0) || math.Abs(x) < 1e-300 {
				continue
			}
			var y float64
			if err := json.Unmarshal([]byte(got), &y); err != nil || y != x {
				t.Errorf("%s squared is %s, want %g", lit, got, x)
			}
		}
	})
}

func BenchmarkSquares(b *testing.B) {
	p, _, err := kind.NewRegistry(kind.DefaultLimits(), nil).Plan(b.Context(), "acme", "squares", []byte(`{"range":{"stop":8192}}`))
	if err != nil {
		b.Fatal(err)
	}
	var local job.Scratch
	for b.Loop() {
		if _, err := p.Task(0, job.Resume{}).Step(b.Context(), time.Now(), &local); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8192, "ns/item")
}

// The submission that clients see has no members that only planning adds.
func TestAppendMembers(t *testing.T) {
	r := kind.NewRegistry(kind.DefaultLimits(), nil)
	for spec, want := range map[string]string{
		`{}`:                                    ``,
		`{"numbers":[1, 2],"a\u0062":null}`:     `,"numbers":[1, 2],"ab":null`,
		`{"array":{"name":"x"},"pin":{"id":7}}`: `,"array":{"name":"x"}`,
	} {
		if got := string(r.AppendMembers(nil, []byte(spec))); got != want {
			t.Errorf("%s: got %s, want %s", spec, got, want)
		}
	}
}
