package api_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/npy"
)

// A valueCase is a spec whose result and item values all equal want.
type valueCase struct {
	spec string
	want any // a float64, or the text of an integer
	// size is the size of an element of the .npy file; 0 if the result is the number of items instead.
	size int
}

// valueCases are sums, over all axes and over one, of the special values of each dtype, and squares.
func valueCases() []valueCase {
	const (
		nan, inf, neg = `"NaN"`, `"Infinity"`, `"-Infinity"`
	)
	var (
		cases  []valueCase
		quiet  = math.NaN()
		up     = math.Inf(1)
		down   = math.Inf(-1)
		minus0 = math.Copysign(0, -1)
	)
	add := func(dtype string, size int, want any, values ...string) {
		array := `{"kind":"array_sum","array":{"dtype":"` + dtype + `","values":`
		cases = append(cases,
			valueCase{array + `[` + strings.Join(values, `,`) + `]}}`, want, size},
			valueCase{array + `[[` + strings.Join(values, `],[`) + `]]},"axis":0,"keepdims":true}`, want, size},
			valueCase{array + `[` + strings.Join(values, `,`) + `]},"axis":[0],"keepdims":true}`, want, size})
	}
	for _, f := range []struct {
		dtype                   string
		size                    int
		most, least, subnormals float64
	}{
		{"float64", 8, math.MaxFloat64, math.SmallestNonzeroFloat64, 0x0.fffffffffffffp-1022},
		{"float32", 4, math.MaxFloat32, math.SmallestNonzeroFloat32, 0x0.fffffep-126},
		{"float16", 2, 65504, 0x1p-24, 0x0.ffcp-14},
	} {
		text := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
		add(f.dtype, f.size, quiet, "1", nan)
		add(f.dtype, f.size, quiet, inf, neg)
		add(f.dtype, f.size, up, inf, "1")
		add(f.dtype, f.size, down, neg, "1")
		add(f.dtype, f.size, up, text(f.most), text(f.most))
		add(f.dtype, f.size, down, text(-f.most), text(-f.most))
		add(f.dtype, f.size, minus0, "-0.0", "-0.0")
		add(f.dtype, f.size, 0.0, "0", "-0.0")
		add(f.dtype, f.size, f.most, text(f.most), "0")
		add(f.dtype, f.size, -f.least, "0", text(-f.least))
		add(f.dtype, f.size, f.subnormals, text(f.subnormals), "0")
		add(f.dtype, f.size, 0.5, "0.25", "0.25")
	}
	add("float32", 4, 123456792.0, "123456789", "0") // not the shortest literal of the float32, 123456790
	add("float16", 2, 32992.0, "33000", "0")
	for bits := 8; bits <= 64; bits *= 2 {
		most := uint64(1)<<(bits-1) - 1
		add(fmt.Sprint("int", bits), 8, strconv.FormatUint(most, 10), strconv.FormatUint(most, 10), "0")
		add(fmt.Sprint("int", bits), 8, strconv.FormatInt(-int64(most)-1, 10), "0", strconv.FormatInt(-int64(most)-1, 10))
		add(fmt.Sprint("uint", bits), 8, strconv.FormatUint(2*most+1, 10), strconv.FormatUint(2*most+1, 10), "0")
	}
	for _, sq := range []struct {
		number string
		want   any
	}{
		{nan, quiet},
		{neg, up},
		{"1e200", up},
		{"1e-200", 0.0},
		{"-0.0", 0.0},
		{"3e-162", 1e-323},
		{"2.5", 6.25},
		{"-3", "9"},
		{"10000000000", "100000000000000000000"},
	} {
		cases = append(cases, valueCase{`{"kind":"squares","numbers":[` + sq.number + `]}`, sq.want, 0})
	}
	return cases
}

// strict decodes JSON by RFC 8259: no duplicate names, no invalid UTF-8, no trailing data.
func strict(t *testing.T, what string, data []byte) (v any) {
	t.Helper()
	if !jsontext.Value(bytes.TrimSpace(data)).IsValid() {
		t.Errorf("%s is not JSON: %.300s", what, data)
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Errorf("%s: %v: %.300s", what, err, data)
	}
	return v
}

// sameValue compares a decoded value, or every value in nested lists, with the expected one.
func sameValue(got, want any) bool {
	for {
		list, ok := got.([]any)
		if !ok {
			break
		}
		if len(list) != 1 {
			return false
		}
		got = list[0]
	}
	text := fmt.Sprint(got) // for json.Number the literal
	f, ok := want.(float64)
	if !ok {
		return text == want
	}
	_, quoted := got.(string)
	v, err := strconv.ParseFloat(text, 64)
	return err == nil && quoted == (math.IsNaN(f) || math.IsInf(f, 0)) &&
		(math.Float64bits(v) == math.Float64bits(f) || math.IsNaN(v) && math.IsNaN(f))
}

func member(v any, path ...string) any {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// Every response and stream with a value is valid JSON and has the value exactly; so does the .npy file.
func TestEveryValueOnEveryEndpoint(t *testing.T) {
	s := newService(t)
	cases := valueCases()
	specs := make([]string, len(cases))
	byID := make(map[string]*valueCase)
	// result compares the JSON of a job with its case.
	result := func(what string, v any) {
		id, _ := member(v, "id").(string)
		c := byID[id]
		if c == nil {
			t.Errorf("%s: no case has job %q", what, id)
			return
		}
		want := c.want
		if c.size == 0 {
			want = "1"
		}
		if got := member(v, "result"); !sameValue(got, want) {
			t.Errorf("%s: %s has result %v, want %v", what, c.spec, got, want)
		}
		hex, ok := member(v, "details", "hex").(string)
		if f, isFloat := c.want.(float64); isFloat && c.size > 0 {
			got, err := strconv.ParseFloat(hex, 64)
			if err != nil || math.Float64bits(got) != math.Float64bits(f) && !(math.IsNaN(got) && math.IsNaN(f)) {
				t.Errorf("%s: %s has hex %q, want %x", what, c.spec, hex, f)
			}
		} else if ok {
			t.Errorf("%s: %s has hex %q, want none", what, c.spec, hex)
		}
	}
	for i := range cases {
		specs[i] = cases[i].spec
		a := s.do("POST", "/v1/jobs", specs[i], "Prefer: wait=60")
		v := strict(t, "POST of "+specs[i], a.body)
		id, _ := member(v, "id").(string)
		byID[id] = &cases[i]
		result("POST", v)
		get := func(query, accept string) []byte {
			t.Helper()
			a := s.do("GET", "/v1/jobs/"+id+query, "", "Accept: "+accept)
			if a.status != 200 {
				t.Errorf("GET %s of %s: %d %.300s", query, specs[i], a.status, a.body)
			}
			return a.body
		}
		result("GET", strict(t, "GET of "+specs[i], get("", "application/json")))
		item := func(what string, v any) {
			if got := member(v, "value"); !sameValue(got, cases[i].want) {
				t.Errorf("%s: %s has value %v, want %v", what, specs[i], got, cases[i].want)
			}
		}
		page := strict(t, "results of "+specs[i], get("/results", "application/json"))
		items, _ := member(page, "items").([]any)
		if len(items) != 1 {
			t.Errorf("%s has %d items, want 1", specs[i], len(items))
		}
		for _, it := range items {
			item("results", it)
		}
		for line := range bytes.Lines(get("/results", "application/x-ndjson")) {
			if bytes.HasPrefix(line, []byte(`{"next_after":`)) {
				continue
			}
			item("a line of results", strict(t, "a line of the results of "+specs[i], line))
		}
		seen := map[string]int{}
		event := func(what, name string, v any) {
			switch seen[what+name]++; name {
			case "result":
				item(what, v)
			case "end":
				result(what, v)
			}
		}
		for line := range bytes.Lines(get("/events", "application/x-ndjson")) {
			v := strict(t, "a line of the events of "+specs[i], line)
			name, _ := member(v, "event").(string)
			event("NDJSON ", name, member(v, "data"))
		}
		name := ""
		for line := range strings.Lines(string(get("/events", "text/event-stream"))) {
			if after, ok := strings.CutPrefix(line, "event: "); ok {
				name = strings.TrimSpace(after)
			} else if data, ok := strings.CutPrefix(line, "data: "); ok {
				event("SSE ", name, strict(t, "an event of "+specs[i], []byte(data)))
			}
		}
		for _, want := range []string{"NDJSON result", "NDJSON end", "SSE result", "SSE end"} {
			if seen[want] != 1 {
				t.Errorf("%s: %d events %s, want 1", specs[i], seen[want], want)
			}
		}
		if cases[i].size > 0 {
			checkNPY(t, &cases[i], get("/results", "application/x-npy"))
		}
	}
	for _, query := range []string{"?page_size=200", "?page_size=200&int_encoding=string"} {
		jobs, _ := member(strict(t, "the list", s.do("GET", "/v1/jobs"+query, "").body), "jobs").([]any)
		if len(jobs) != len(cases) {
			t.Errorf("%s has %d jobs, want %d", query, len(jobs), len(cases))
		}
		for _, v := range jobs {
			result("list", v)
		}
	}
	// A repeated batch returns its jobs in their current state.
	body := `{"jobs":[` + strings.Join(specs, `,`) + `]}`
	for _, again := range []bool{false, true} {
		a := s.do("POST", "/v1/jobs:batch", body, "Idempotency-Key: all")
		jobs, _ := member(strict(t, "the batch", a.body), "jobs").([]any)
		if len(jobs) != len(cases) {
			t.Fatalf("the batch has %d jobs, want %d: %.300s", len(jobs), len(cases), a.body)
		}
		for i, v := range jobs {
			id, _ := member(v, "id").(string)
			if byID[id] = &cases[i]; again {
				result("batch", v)
			}
			s.do("GET", "/v1/jobs/"+id, "", "Prefer: wait=60")
		}
	}
}

// checkNPY checks the only element of a file.
func checkNPY(t *testing.T, c *valueCase, file []byte) {
	h, err := npy.ParseHeader(bytes.NewReader(file))
	if err != nil || h.Type.Size != c.size || len(file) != int(h.Offset)+c.size {
		t.Errorf("%s: a file of %d bytes, %+v, %v, want one element of %d bytes", c.spec, len(file), h, err, c.size)
		return
	}
	var word [8]byte
	copy(word[:], file[h.Offset:])
	bits := binary.LittleEndian.Uint64(word[:])
	var got any
	switch {
	case h.Type.Kind == 'i':
		got = json.Number(strconv.FormatInt(int64(bits), 10))
	case h.Type.Kind == 'u':
		got = json.Number(strconv.FormatUint(bits, 10))
	default:
		f := math.Float64frombits(bits)
		switch h.Type.Size {
		case 4:
			f = float64(math.Float32frombits(uint32(bits)))
		case 2:
			f = npy.Float16frombits(uint16(bits))
		}
		if want, _ := c.want.(float64); math.Float64bits(f) != math.Float64bits(want) && !(math.IsNaN(f) && math.IsNaN(want)) {
			t.Errorf("%s: the .npy file has %v, want %v", c.spec, f, c.want)
		}
		return
	}
	if !sameValue(got, c.want) {
		t.Errorf("%s: the .npy file has %v, want %v", c.spec, got, c.want)
	}
}
