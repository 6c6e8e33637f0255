package chunked_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"gather/internal/chunked"
)

// BenchmarkSum runs all tasks of a sum with one worker, reads their items and reduces them.
func BenchmarkSum(b *testing.B) {
	for _, bench := range []struct{ name, array, axis string }{
		{"ones1000x1000/100x100", `{"source":"ones","shape":[1000,1000],"chunks":[100,100]}`, ""},
		{"ones20000x20000/1000x1000", `{"source":"ones","shape":[20000,20000],"chunks":[1000,1000]}`, ""},
		{"tiny/10000x1", `{"source":"ones","shape":[10000],"chunks":1}`, ""},
		{"tiny/10000x100", `{"source":"ones","shape":[1000000],"chunks":100}`, ""},
		{"tiny/100x100of10x10", `{"source":"ones","shape":[1000,1000],"chunks":[10,10]}`, ""},
		{"tiny/10000random10x10", `{"source":"random","shape":[1000,1000],"chunks":[10,10]}`, ""},
		{"tiny/10000int64of10x10", `{"source":"ones","dtype":"int64","shape":[1000,1000],"chunks":[10,10]}`, ""},
		{"arange1e7", `{"source":"arange","stop":10000000}`, ""},
		{"arangefloat1e7", `{"source":"arange","stop":10000000.0}`, ""},
		{"random1e7", `{"source":"random","shape":10000000}`, ""},
		{"random1e7float32", `{"source":"random","shape":10000000,"dtype":"float32"}`, ""},
		{"normal1e7", `{"source":"random","shape":10000000,"distribution":"normal"}`, ""},
		{"random4000x4000/100x100", `{"source":"random","shape":[4000,4000],"chunks":[100,100]}`, ""},
		{"ones4000x4000axis0", `{"source":"ones","shape":[4000,4000]}`, "0"},
		{"ones4000x4000axis1", `{"source":"ones","shape":[4000,4000]}`, "1"},
		{"random4000x4000axis0", `{"source":"random","shape":[4000,4000]}`, "0"},
		{"ones1000000x10axis0", `{"source":"ones","shape":[1000000,10]}`, "0"},
		{"ones1000000x3axis1", `{"source":"ones","shape":[1000000,3]}`, "1"},
		{"ones1000x1000x3axis02", `{"source":"ones","shape":[1000,1000,3]}`, "[0,2]"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			a := parse(b, bench.array)
			red := reduction(b, a, bench.axis, "", "")
			w := chunked.NewWorker()
			var partial []byte
			b.SetBytes(a.Bytes())
			b.ReportAllocs()
			var p *chunked.Plan
			for b.Loop() {
				p, _ = newPlan(a, red, chunked.Limits{})
				r := p.NewReducer()
				for task := range p.Tasks() {
					var err error
					if partial, err = p.Run(context.Background(), w, task, partial[:0], nil); err != nil {
						b.Fatal(err)
					}
					if err := r.Add(task, partial); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := r.Result(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(p.Items()), "ns/item")
			b.ReportMetric(float64(p.Tasks()), "tasks")
		})
	}
}

func BenchmarkStored(b *testing.B) {
	const side = 4000
	a := parse(b, fmt.Sprintf(`{"source":"random","shape":[%d,%d]}`, side, side))
	s := stored(b, a, false, false)
	for _, test := range []struct{ chunks, axis string }{{"-1", ""}, {"1000", ""}, {"100", ""}, {"-1", "0"}, {"-1", "1"}} {
		b.Run(test.chunks+"axis"+test.axis, func(b *testing.B) {
			opts := chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return s, nil }}
			v, errs := parseArray([]byte(`{"source":"npy","name":"a","chunks":`+test.chunks+`}`), opts)
			if len(errs) > 0 {
				b.Fatal(errs)
			}
			p, _ := newPlan(v, reduction(b, v, test.axis, "", ""), chunked.Limits{})
			w := chunked.NewWorker()
			var partial []byte
			b.SetBytes(v.Bytes())
			for b.Loop() {
				for task := range p.Tasks() {
					var err error
					if partial, err = p.Run(context.Background(), w, task, partial[:0], nil); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkParseValues(b *testing.B) {
	var buf bytes.Buffer
	buf.WriteString(`{"values":[0.5`)
	for i := range 1_000_000 {
		fmt.Fprintf(&buf, ",%d.25", i)
	}
	buf.WriteString("]}")
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if _, errs := parseArray(buf.Bytes(), chunked.Options{}); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

// BenchmarkPlan measures planning a million chunks.
func BenchmarkPlan(b *testing.B) {
	a := parse(b, `{"source":"ones","shape":[1000000,10],"chunks":[1,-1]}`)
	red := reduction(b, a, "", "", "")
	for b.Loop() {
		if _, errs := newPlan(a, red, chunked.Limits{}); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
