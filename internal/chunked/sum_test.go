package chunked_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"gather/internal/chunked"
)

// TestSums tests that every item and every element of the result equals the sum of math/big exactly, over all types,
// shapes, axes, chunks, task sizes and orders, memory orders and byte orders.
func TestSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := chunked.NewWorker()
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	sources := map[string]string{
		"bool":    `"source":"full","fill_value":true,"dtype":"bool"`,
		"int8":    `"source":"random","distribution":"integers","low":-128,"high":128,"dtype":"int8"`,
		"int16":   `"source":"random","distribution":"integers","low":-32768,"high":32768,"dtype":"int16"`,
		"int32":   `"source":"random","distribution":"integers","low":-2147483648,"high":2147483648,"dtype":"int32"`,
		"int64":   `"source":"random","distribution":"integers","low":-9223372036854775808,"high":9223372036854775808`,
		"uint8":   `"source":"random","distribution":"integers","high":256,"dtype":"uint8"`,
		"uint16":  `"source":"random","distribution":"integers","high":65536,"dtype":"uint16"`,
		"uint32":  `"source":"random","distribution":"integers","high":4294967296,"dtype":"uint32"`,
		"uint64":  `"source":"random","distribution":"integers","high":18446744073709551616,"dtype":"uint64"`,
		"float16": `"source":"random","dtype":"float16"`,
		"float32": `"source":"random","distribution":"normal","dtype":"float32","scale":1e29`,
		"float64": `"source":"random","distribution":"normal","scale":1e29`,
	}
	rounds := 40
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		for dtype, fields := range sources {
			shape := make([]string, rng.IntN(5))
			axes := make([]bool, len(shape))
			var axisList []string
			for i := range shape {
				shape[i] = pick("1", "2", "3", "7", "10", "17", "17")
				if rng.IntN(30) == 0 {
					shape[i] = "0"
				}
				if rng.IntN(2) == 0 {
					axes[i] = true
					axisList = append(axisList, fmt.Sprint(i-rng.IntN(2)*len(shape)))
				}
			}
			axis := "[" + strings.Join(axisList, ",") + "]"
			if round%3 == 0 || len(shape) == 0 {
				axis = ""
				for i := range axes {
					axes[i] = true
				}
			}
			chunks := make([]string, len(shape))
			for i := range chunks {
				chunks[i] = pick("1", "2", "3", "5", "-1", `"auto"`, `"200 B"`)
				if n := shape[i]; n == "10" && rng.IntN(2) == 0 {
					chunks[i] = "[0,1,4,0,5]"
				}
			}
			list := "[" + strings.Join(chunks, ",") + "]"
			shapeText := "[" + strings.Join(shape, ",") + "]"
			if dtype != "bool" {
				fields += fmt.Sprintf(`,"seed":%d`, round)
			}
			a := parse(t, fmt.Sprintf(`{%s,"shape":%s,"chunks":%s}`, fields, shapeText, list))
			result := pick("", `"float64"`, `"float32"`)
			if !a.DType().IsFloat() {
				result = pick("", `"float64"`, `"int8"`, `"uint64"`)
			}
			red := reduction(t, a, axis, pick("", "true", "false"), result)
			name := fmt.Sprintf("%s %s chunks %s axis %s dtype %s", dtype, shapeText, list, axis, result)
			results, items := newReference(t, a, red.DType()).outcome(axes)
			variants := []*chunked.Array{a}
			for _, order := range []struct{ fortran, big, inPlace, remote bool }{
				{true, false, false, false},
				{false, true, false, true},
				{true, true, false, false},
				{false, false, true, false},
				{true, false, true, true},
			} {
				opts := chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) {
					s := stored(t, a, order.fortran, order.big)
					s.Remote = order.remote
					if order.inPlace {
						s = inPlace(s)
					}
					return s, nil
				}}
				v, errs := parseArray([]byte(`{"source":"npy","name":"a","chunks":`+list+`}`), opts)
				if len(errs) > 0 {
					t.Fatalf("%s: %v", name, errs)
				}
				variants = append(variants, v)
			}
			for _, v := range variants {
				fine := int64(1 + rng.IntN(300)) // chunks of more are split
				if rng.IntN(2) == 0 {
					fine += 20_000 // several chunks per task
				}
				p, err := chunked.NewFinePlan(v, red, fine, chunked.Limits{})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				check(t, fmt.Sprintf("%s tasks of %d fortran %v", name, fine, v.Fortran()), red.DType(), sum(t, w, p, rng), results, items)
			}
		}
	}
}

// TestLargeSums uses the default task sizes, for code that small arrays do not reach, and compares with a plain loop.
func TestLargeSums(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	w := chunked.NewWorker()
	for _, test := range []struct{ shape, chunks, axis string }{
		{"[3000000]", "-1", ""},
		{"[3000000]", "1000", ""},
		{"[1500,2000]", "[100,100]", ""},
		{"[1500,2000]", "[1500,7]", ""},
		{"[40,50000]", "[7,1000]", ""},
		{"[5,7,11000]", "[2,3,[4000,1,6999]]", ""},
		{"[1500,2000]", "[[1,1499],[1999,1]]", ""},
		{"[1500,2000]", `"auto"`, "0"},
		{"[1500,2000]", `"auto"`, "1"},
		{"[100000,3]", `"auto"`, "1"},
		{"[3,100000]", `"auto"`, "0"},
		{"[1000000,3]", `"auto"`, "0"},
		{"[20,300,500]", `"auto"`, "1"},
		{"[20,300,500]", `"auto"`, "[0,2]"},
		{"[200,5,2,300,5]", `"auto"`, "[0,2,4]"},
		{"[200,5,2,300,5]", `"auto"`, "[1,3]"},
		{"[800,1000,3]", `"auto"`, "[0,2]"},
		{"[800,100,3,7]", `"auto"`, "[0,2]"},
		{"[20,40,100,3,7]", `"auto"`, "[1,3]"},
		{"[20,40,3,5,7]", `"auto"`, "[1,3]"},
	} {
		a := parse(t, fmt.Sprintf(`{"source":"random","distribution":"integers","low":-1000,"high":1000,"dtype":"int16","shape":%s,"chunks":%s}`, test.shape, test.chunks))
		red := reduction(t, a, test.axis, "", "")
		p, errs := newPlan(a, red, chunked.Limits{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		got := sum(t, w, p, rng)
		for _, order := range []struct{ fortran, inPlace bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
			opts := chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) {
				if order.inPlace {
					return inPlace(stored(t, a, order.fortran, false)), nil
				}
				s := stored(t, a, order.fortran, !order.fortran)
				s.Remote = true
				return s, nil
			}}
			v, errs := parseArray([]byte(`{"source":"npy","name":"a","chunks":`+test.chunks+`}`), opts)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if p, errs = newPlan(v, red, chunked.Limits{}); len(errs) > 0 {
				t.Fatal(errs)
			}
			if again := sum(t, w, p, rng); !reflect.DeepEqual(again, got) {
				t.Fatalf("%+v stored, %+v: got another sum", test, order)
			}
		}
		axes := map[int]bool{}
		var list []int
		if test.axis != "" && json.Unmarshal([]byte("["+strings.Trim(test.axis, "[]")+"]"), &list) != nil {
			t.Fatal(test.axis)
		}
		for _, i := range list {
			axes[i] = true
		}
		b := elements(t, a, 0, a.Elements())
		sums := make([]int64, p.Items())
		lookup := make([][]int64, len(a.Shape())) // number of the chunk or output along each axis, by index
		for i, d := range a.Shape() {
			lookup[i] = make([]int64, d)
			at := 0
			for chunk, l := range a.Grid().Lengths(i) {
				for range l {
					lookup[i][at] = int64(chunk)
					if test.axis != "" {
						lookup[i][at] = int64(at)
					}
					at++
				}
			}
		}
		index := make([]int64, len(a.Shape()))
		for e := range a.Elements() {
			g := int64(0)
			for i, n := range a.Grid().NumBlocks() {
				switch {
				case test.axis == "":
					g = g*n + lookup[i][index[i]]
				case !axes[i]:
					g = g*a.Shape()[i] + index[i]
				}
			}
			sums[g] += int64(int16(word(b, 2, int(e))))
			for i := len(index) - 1; i >= 0; i-- {
				if index[i]++; index[i] < a.Shape()[i] {
					break
				}
				index[i] = 0
			}
		}
		for i, want := range sums {
			if got.items[i] != fmt.Sprint(want) {
				t.Fatalf("%+v in %d tasks: item %d is %s, want %d", test, p.Tasks(), i, got.items[i], want)
			}
		}
	}
}

// TestWorkerIsReusable runs tasks of different plans with one worker, alternately.
func TestWorkerIsReusable(t *testing.T) {
	w := chunked.NewWorker()
	for range 3 {
		for _, test := range []struct{ array, axis, want string }{
			{`{"source":"ones","shape":[1000,1000],"chunks":[100,100]}`, "", "1000000.0"},
			{`{"source":"ones","shape":[10,2],"dtype":"float32"}`, "0", "[10.0,10.0]"},
			{`{"source":"full","shape":[10,2],"fill_value":2}`, "1", "[4,4,4,4,4,4,4,4,4,4]"},
			{`{"values":[1,2.5]}`, "", "3.5"},
			{`{"source":"ones","shape":[1000,1000],"chunks":[1000,1]}`, "", "1000000.0"},
		} {
			a := parse(t, test.array)
			p, errs := newPlan(a, reduction(t, a, test.axis, "", ""), chunked.Limits{})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			r := p.NewReducer()
			for task := range p.Tasks() {
				partial, err := p.Run(context.Background(), w, task, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Add(task, partial); err != nil {
					t.Fatal(err)
				}
			}
			res, err := r.Result()
			if err != nil {
				t.Fatal(err)
			}
			if got := string(res.AppendJSON(nil)); got != test.want {
				t.Errorf("%+v: got %s", test, got)
			}
		}
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	a := parse(t, `{"source":"random","shape":[1000000000000]}`)
	p, errs := newPlan(a, reduction(t, a, "", "", ""), chunked.Limits{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Run(ctx, chunked.NewWorker(), 0, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if p.Tasks() > 1<<20+1 || p.TaskBytes(0)/8 > 1<<21 {
		t.Errorf("%d tasks, of %d bytes", p.Tasks(), p.TaskBytes(0))
	}
}
