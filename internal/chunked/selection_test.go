package chunked_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"gather/internal/chunked"
)

// TestSelections tests parts of arrays against NumPy's, of generated and stored ones in every order of memory, and of tiles.
func TestSelections(t *testing.T) {
	data, err := os.ReadFile("testdata/selections.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Shape  []int64
		Select json.RawMessage
		Want   struct{ Shape, Elements []int64 }
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 500 {
		t.Errorf("got %d cases, want at least 500", len(cases))
	}
	w := chunked.NewWorker()
	for _, c := range cases {
		shape, _ := json.Marshal(c.Shape)
		whole := parse(t, fmt.Sprintf(`{"source":"arange","shape":%s}`, shape))
		for _, variant := range []string{"generated", "C", "Fortran", "C in place", "Fortran in place", "tiles"} {
			source := fmt.Sprintf(`"source":"arange","shape":%s`, shape)
			var opts chunked.Options
			if variant != "generated" {
				s := stored(t, whole, variant[0] == 'F', variant == "Fortran")
				source = `"source":"npy","name":"a"`
				switch variant {
				case "C in place", "Fortran in place":
					s = inPlace(s)
				case "tiles":
					file := make([]byte, s.Header.FileSize())
					if _, err := s.Reader.ReadAt(file, 0); err != nil {
						t.Fatal(err)
					}
					s, _ = inTiles(s.Header, file, slices.Repeat([]int64{3}, len(c.Shape)))
					source = `"source":"zarr","url":"file:///a"`
				}
				opts.Open = func(chunked.Ref) (chunked.Stored, error) { return s, nil }
			}
			a, errs := parseArray(fmt.Appendf(nil, `{%s,"select":%s,"chunks":2}`, source, c.Select), opts)
			if len(errs) > 0 {
				t.Fatalf("%s of %s, %s: %v", c.Select, shape, variant, errs)
			}
			if got := a.Shape(); !slices.Equal(got, c.Want.Shape) {
				t.Errorf("%s of %s, %s: got shape %v, want %v", c.Select, shape, variant, got, c.Want.Shape)
				continue
			}
			r, errs := parseReduction([]byte("[]"), nil, nil, a) // over no axis: the elements
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			p, err := chunked.NewFinePlan(a, r, 7, chunked.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			reducer := runAll(t, w, p)
			result, err := reducer.Result()
			if err != nil {
				t.Fatal(err)
			}
			got := []int64{}
			for i := range result.Len() {
				v, _ := result.At(i).Int64()
				got = append(got, v)
			}
			if !slices.Equal(got, c.Want.Elements) {
				t.Errorf("%s of %s, %s: got %v, want %v", c.Select, shape, variant, got, c.Want.Elements)
			}
		}
	}
}

func runAll(t *testing.T, w *chunked.Worker, p *chunked.Plan) *chunked.Reducer {
	t.Helper()
	reducer := p.NewReducer()
	for i := range p.Tasks() {
		partial, err := p.Run(t.Context(), w, i, nil, nil)
		if err == nil {
			err = reducer.Add(i, partial)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return reducer
}

// countedReader counts the bytes that are read.
type countedReader struct {
	io.ReaderAt
	bytes int64
}

func (r *countedReader) ReadAt(p []byte, off int64) (int, error) {
	r.bytes += int64(len(p))
	return r.ReaderAt.ReadAt(p, off)
}

// Elements that are far apart are read one by one, those that are close together with what is between them.
func TestSelectedReads(t *testing.T) {
	a := parse(t, `{"source":"arange","shape":[100,3000],"dtype":"int32"}`)
	for selection, most := range map[string]int64{
		`[{"start":10,"stop":20}]`: 10 * 3000 * 4,
		`[null,5]`:                 100 * 4,
		`[7,{"step":2}]`:           3000 * 4,
		`[{"step":-50},{"start":2999,"stop":500}]`: 0,
	} {
		s := stored(t, a, false, false)
		counted := &countedReader{ReaderAt: s.Reader}
		s.Reader = counted
		part, errs := parseArray([]byte(`{"source":"npy","name":"a","select":`+selection+`}`),
			chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return s, nil }})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		r, _ := parseReduction(nil, nil, nil, part)
		p, err := chunked.NewFinePlan(part, r, 1000, chunked.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		runAll(t, chunked.NewWorker(), p)
		if counted.bytes > most {
			t.Errorf("%s: got %d bytes read, want at most %d", selection, counted.bytes, most)
		}
	}
}

func TestSelectionFaults(t *testing.T) {
	for spec, want := range map[string]string{
		`[3]`:                   "/select/0 is index 3 of an axis of length 3",
		`[-4]`:                  "/select/0 is index -4 of an axis of length 3",
		`[0,0,0]`:               "/select/2 is for an axis that the array of shape (3, 4) has not: omit it",
		`5`:                     "/select is not a list: write a list with an index, null or {\"start\":0,\"stop\":10,\"step\":2} for each axis",
		`[{"step":0}]`:          "/select/0/step is 0: a step must not be 0",
		`[{"stop":1.5}]`:        "/select/0/stop is not an integer below 2^63",
		`[{"end":1}]`:           `/select/0/end is not a field of a slice: write "start", "stop" and "step"`,
		`["..."]`:               "/select/0 is neither an index, null nor a slice: write a list with an index, null or {\"start\":0,\"stop\":10,\"step\":2} for each axis",
		`[true]`:                "/select/0 is neither an index, null nor a slice: write a list with an index, null or {\"start\":0,\"stop\":10,\"step\":2} for each axis",
		`[1.5]`:                 "/select/0 is neither an index, null nor a slice: write a list with an index, null or {\"start\":0,\"stop\":10,\"step\":2} for each axis",
		`[9223372036854775808]`: "/select/0 is neither an index, null nor a slice: write a list with an index, null or {\"start\":0,\"stop\":10,\"step\":2} for each axis",
	} {
		_, errs := parseArray([]byte(`{"source":"ones","shape":[3,4],"select":`+spec+`}`), chunked.Options{})
		if len(errs) != 1 || errs[0].Pointer+" "+errs[0].Detail != want {
			t.Errorf("%s: got %v, want %s", spec, errs, want)
		}
	}
}
