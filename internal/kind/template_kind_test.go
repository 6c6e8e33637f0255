package kind_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/kind"
)

// The tests of a new kind: values and results of specs with no, one and several tasks; every error of a spec; limits;
// invalid partials. The helpers run and plan replace the executor.

func TestLengths(t *testing.T) {
	for _, tt := range []struct {
		spec   string
		items  []string
		result string
	}{
		{`{"texts":[]}`, nil, "0"},
		{`{"texts":["", "one", "zwölf \u00e9"]}`, []string{"0", "3", "7"}, "10"},
		{`{"texts":["a"` + strings.Repeat(`,"bc"`, 9999) + `]}`, append([]string{"1"}, slices.Repeat([]string{"2"}, 9999)...), "19999"},
	} {
		items, out := run(t, plan(t, "lengths", tt.spec))
		name := fmt.Sprintf("%.40s", tt.spec)
		if string(out.Value) != tt.result || len(items) != len(tt.items) {
			t.Errorf("%s: got %s of %d items, want %s of %d", name, out.Value, len(items), tt.result, len(tt.items))
			continue
		}
		for i, want := range tt.items {
			if got := string(items[int64(i)].Value); got != want {
				t.Errorf("%s: item %d is %s, want %s", name, i, got, want)
			}
		}
	}
}

func TestLengthsErrors(t *testing.T) {
	reg := kind.NewRegistry(kind.Limits{Items: 4}, nil)
	for spec, want := range map[string][]string{
		`{}`:                                  {"/texts"},
		`{"texts":"one"}`:                     {"/texts"},
		`{"texts":["one",2,null],"text":"x"}`: {"/text", "/texts/1", "/texts/2"},
		`{"texts":["1","2","3","4","5"]}`:     {"/texts"},
		`{"texts":["` + strings.Repeat("x", 20_000) + `"]}`: {"/texts/0"},
	} {
		var got []string
		if invalid, ok := errors.AsType[*fields.Errors](reg.Validate(t.Context(), "acme", "lengths", []byte(spec))); ok {
			for _, f := range invalid.List {
				got = append(got, f.Pointer)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%.40s: errors at %q, want %q", spec, got, want)
		}
	}
}

func TestLengthsPartials(t *testing.T) {
	p := plan(t, "lengths", `{"texts":["one"]}`)
	for _, partial := range []string{"", "\xff", "\x01\x01"} {
		if err := p.Reducer().Add(0, []byte(partial)); !errors.Is(err, job.ErrCorrupt) {
			t.Errorf("the partial %q is %v, want %v", partial, err, job.ErrCorrupt)
		}
	}
}
