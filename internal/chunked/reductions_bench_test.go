package chunked_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"gather/internal/chunked"
)

// BenchmarkReductions compares five statistics in one pass with the sum alone, of stored data.
func BenchmarkReductions(b *testing.B) {
	for dtype, side := range map[string]int{"float64": 2896, "float32": 4096, "int16": 5792, "int64": 2896} { // 64 MiB
		kind := `"distribution":"normal"`
		if dtype[0] == 'i' {
			kind = `"distribution":"integers","low":-1000,"high":1000`
		}
		s := inPlace(stored(b, parse(b, fmt.Sprintf(`{"source":"random",%s,"dtype":%q,"shape":[%d,%d]}`, kind, dtype, side, side)), false, false))
		v, errs := parseArray([]byte(`{"source":"npy","name":"a","chunks":-1}`),
			chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return s, nil }})
		if len(errs) > 0 {
			b.Fatal(errs)
		}
		for _, axis := range []string{"null", "0", "1"} {
			for _, ops := range [][]string{{"sum"}, {"sum", "mean", "var", "min", "max"}} {
				b.Run(fmt.Sprintf("%s/axis %s/%d", dtype, axis, len(ops)), func(b *testing.B) {
					r, err := parseOps(b, v, reductionCase{Axis: json.RawMessage(axis)}, ops...)
					if err != nil {
						b.Fatal(err)
					}
					p, errs := newPlan(v, r, chunked.Limits{})
					if len(errs) > 0 {
						b.Fatal(errs)
					}
					w := chunked.NewWorker()
					var partial []byte
					b.SetBytes(v.Bytes())
					for b.Loop() {
						for task := range p.Tasks() {
							var err error
							if partial, err = p.Run(b.Context(), w, task, partial[:0], nil); err != nil {
								b.Fatal(err)
							}
						}
					}
				})
			}
		}
	}
}
