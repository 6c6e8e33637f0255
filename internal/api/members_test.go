package api_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"gather/internal/api"
)

// An object with more members than any submission has is rejected at any depth; colons in strings do not count.
func TestMembers(t *testing.T) {
	s := newService(t)
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":1`, i)
		}
		return b.String()
	}
	job := `{"kind":"squares","numbers":[1],"labels":{"a":"` + strings.Repeat(`:`, 200) + `"}`
	for name, c := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"few":             {job + many(900) + `}`, 422, "unknown field"},
		"many":            {job + many(1001) + `}`, 422, "an object has 1004 members; the limit is 1000"},
		"nested":          {job + `,"x":[{"y":0` + many(1500) + `}]}`, 422, "an object has 1501 members; the limit is 1000"},
		"in labels":       {`{"kind":"squares","numbers":[1],"labels":{"a":"b"` + many(1500) + `}}`, 422, "an object has 1501 members"},
		"one name":        {job + strings.Repeat(`,"m":1`, 2000) + `}`, 422, "an object has 2003 members"},
		"colons":          {`{"kind":"` + strings.Repeat(`:\":`, 2000) + `"}`, 422, "unknown kind"},
		"cut off":         {`{` + many(2000)[1:] + `,"x`, 422, "members"},
		"deep":            {strings.Repeat(`{"x":`, 20000), 400, "malformed"},
		"closed too much": {`}}}]]` + strings.Repeat(":", 2000), 422, "members"},
	} {
		if a := s.do("POST", "/v1/jobs", c.body); a.status != c.status || !strings.Contains(string(a.body), c.want) {
			t.Errorf("%s: %d %s; want %d with %q", name, a.status, a.body, c.status, c.want)
		}
	}
	batch := `{"jobs":[` + strings.TrimSuffix(strings.Repeat(`{"kind":"squares","numbers":[]},`, 5000), ",") + `]}`
	if a := s.do("POST", "/v1/jobs:batch", batch); a.status != 202 {
		t.Errorf("a batch of 5000 jobs: %d, want 202: %.300s", a.status, a.body)
	}
}

// A special number without quotes, as Python's json.dumps writes it, is rejected with the correct spelling.
func TestBareNumbers(t *testing.T) {
	s := newService(t)
	for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
		for _, body := range []string{
			`{"kind":"squares","numbers":[1, ` + name + `]}`, `{"kind":"array_sum","array":{"values":[` + name + `]}}`, name, `{"kind":` + name,
		} {
			want := name + ` is not a JSON number: write it in quotes, as \"` + name + `\"`
			if a := s.do("POST", "/v1/jobs", body); a.status != 400 || !strings.Contains(string(a.body), want) {
				t.Errorf("%s: got %d %s, want 400 with %s", body, a.status, a.body, want)
			}
		}
	}
	if a := s.do("POST", "/v1/jobs", `{"kind":nul}`); a.status != 400 || strings.Contains(string(a.body), "quotes") {
		t.Errorf("got %d %s, want 400 without advice on numbers", a.status, a.body)
	}
}

// Null selects the default of an optional member.
func TestNullMembers(t *testing.T) {
	s := newService(t)
	const envelope = `"priority":null,"timeout":null,"start_after":null,"labels":null,"retention":null`
	for _, body := range []string{
		`{"kind":"squares","range":{"start":null,"stop":2,"step":null},` + envelope + `}`,
		`{"kind":"array_sum","axis":null,"dtype":null,"keepdims":null,"array":{"source":"ones","shape":[2,3],"chunks":null,"dtype":null},` + envelope + `}`,
		`{"kind":"array_sum","array":{"source":null,"values":[1,2],"chunks":[null]}}`,
		`{"kind":"array_sum","array":{"source":"random","shape":3,"seed":null,"distribution":null,"loc":null,"scale":null,"low":null,"high":null,"name":null}}`,
	} {
		a := s.do("POST", "/v1/jobs", body)
		if a.status != 202 {
			t.Errorf("%s: got %d %s, want 202", body, a.status, a.body)
			continue
		}
		if j := decode[api.Job](t, a.body); j.Priority != "normal" || len(j.Labels) != 0 || j.StartAfter != nil {
			t.Errorf("%s: got priority %s, labels %v, start_after %v, want the defaults", body, j.Priority, j.Labels, j.StartAfter)
		}
	}
}

// The memory for an invalid body is bounded by its size: at most two copies of it, and a small response.
func TestInvalidBodies(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute under the race detector, which allocates too")
	}
	s := newService(t)
	const size = 8 << 20
	var names strings.Builder
	for i := 0; names.Len() < size; i++ {
		fmt.Fprintf(&names, `,"%x":1`, i)
	}
	fill := func(part string) string { return strings.Repeat(part, size/len(part)) }
	long := strings.Repeat("x", size)
	squares := `{"kind":"squares","numbers":[1]`
	for name, body := range map[string]string{
		"unknown members":  squares + names.String() + `}`,
		"nested members":   squares + `,"x":{"y":1` + names.String() + `}}`,
		"labels":           squares + `,"labels":{"a":"b"` + names.String() + `}}`,
		"array members":    `{"kind":"array_sum","array":{"source":"ones"` + names.String() + `}}`,
		"duplicates":       squares + fill(`,"a":1`) + `}`,
		"nulls":            `{"kind":"squares","numbers":[` + fill("null,") + `1]}`,
		"objects":          `{"kind":"squares","numbers":[` + fill("{},") + `1]}`,
		"durations":        `{"kind":"sleep_batch","durations":[` + fill(`"x",`) + `1]}`,
		"values":           `{"kind":"array_sum","array":{"values":[` + fill("[],") + `1]}}`,
		"chunks":           `{"kind":"array_sum","array":{"source":"ones","shape":[5],"chunks":[` + fill("null,") + `1]}}`,
		"long name":        squares + `,"` + long + `":1}`,
		"long kind":        `{"kind":"` + long + `"}`,
		"long timeout":     squares + `,"timeout":"` + long + `"}`,
		"long label":       squares + `,"labels":{"` + long + `":"a"}}`,
		"long digits":      `{"kind":"squares","numbers":[` + strings.Repeat("1", size) + `]}`,
		"long duration":    `{"kind":"sleep_batch","count":1,"duration":"` + long + `"}`,
		"jobs of a batch":  `{"jobs":[` + fill("{},") + `{}]}`,
		"batch of unknown": `{"jobs":[]` + names.String() + `}`,
	} {
		p := "/v1/jobs"
		if strings.Contains(body[:20], "jobs") {
			p += ":batch"
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := api.Validate(s.handler, p == "/v1/jobs:batch", []byte(body))
		runtime.ReadMemStats(&after)
		// The test itself makes one copy of the body.
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 3*size+1<<20 {
			t.Errorf("%s: %d MiB for %d MiB, %.100v; want an error and at most two copies", name, got>>20, len(body)>>20, err)
		}
		if a := s.do("POST", p, body); a.status != 422 && a.status != 400 || len(a.body) > 100<<10 {
			t.Errorf("%s: %d, %d bytes; want 422 or 400, and a small response", name, a.status, len(a.body))
		}
	}
}
