package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"gather/internal/api"
	"gather/internal/job"
)

var envelopeMembers = []string{"kind", "priority", "timeout", "start_after", "labels", "retention", "failed_retention", "webhooks", "group", "after", "after_timeout"}

// Decoding never panics, and an accepted spec has all members of the kind unchanged and no others.
func FuzzSubmission(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"squares","numbers":[1,2]}`,
		`{"numbers" : [1, {"a":1}] , "kind":"squares","timeout":"5s", "b":{}}`,
		`{"k\u0069nd":"squares","labels":{"a":"b"},"retention":1.5,"start_after":"2030-01-01T00:00:00Z"}`,
		`{"kind":"squares","kind":"squares"}`, `{"kind":"a"} x`, `{}`, `[]`, `null`, `{"kind":null}`, "{\"\xff\":1}", `{"":""}`,
		`{"priority":"high","kind":"x"}`, `{"kind":"squares","webhooks":[],"group":"a"}`, `{"kind":"squares","numbers":[1],"webhooks":["https://hooks.example/a",1]}`, `{"jobs":[]}`,
		`{"kind":"squares","after":["01935f2a-7c00-7001-8001-020304050607",0,-1,1e9],"after_timeout":"1h"}`, ` {"kind" : "x" , "y" : "\"," } `,
	} {
		f.Add([]byte(seed))
	}
	_, h := newIdle(f, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		var want map[string]json.RawMessage
		plain := json.Unmarshal(body, &want)
		sub, err := api.Submission(h, bytes.Clone(body))
		if err != nil {
			return
		}
		if plain != nil {
			t.Fatalf("accepted invalid JSON: %v", plain)
		}
		for _, m := range envelopeMembers {
			delete(want, m)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(sub.Spec, &got); err != nil {
			t.Fatalf("spec %q: %v", sub.Spec, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("spec %q of %q", sub.Spec, body)
		}
		if sub.Kind == "" && !bytes.Contains(body, []byte(`""`)) || sub.Timeout < 0 || sub.Retention < 0 || len(sub.Labels) > 16 || len(sub.After) > job.MaxAfter || sub.AfterTimeout < 0 {
			t.Fatalf("%+v", sub)
		}
	})
}

// A batch decodes like its jobs alone.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(`{"kind":"squares","numbers":[1,2]}`), []byte(`{"kind":"squares","priority":"low"}`))
	f.Add([]byte(`{"kind":"squares"}`), []byte(`7`))
	_, h := newIdle(f, 0)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		body := bytes.Join([][]byte{[]byte(`{"jobs":[`), a, {','}, b, []byte(`]}`)}, nil)
		subs, err := api.Submissions(h, body)
		if err != nil {
			return
		}
		for i, one := range [][]byte{a, b} {
			sub, err := api.Submission(h, bytes.Clone(one))
			if err != nil || len(subs) != 2 {
				return // the boundary between the jobs may move
			}
			if !bytes.Equal(sub.Spec, subs[i].Spec) || sub.Kind != subs[i].Kind || sub.Priority != subs[i].Priority {
				t.Fatalf("alone %+v, in a batch %+v", sub, subs[i])
			}
		}
	})
}

func FuzzPageToken(f *testing.F) {
	q := job.Query{Tenant: "acme", Kinds: []string{"squares"}, States: []job.State{job.Running, job.Queued}, Labels: map[string]string{"a": "b"}}
	id := job.NewID()
	f.Add(api.PageToken(&q, id))
	f.Add("")
	f.Add("AQGiA9_ihH29mjHovudP-8wrc7LmNnXIi87IWvo=")
	f.Add("AX000000000000000000001xl778uXNV\ncOy-X4k")
	f.Fuzz(func(t *testing.T, token string) {
		got, ok := api.ReadPageToken(&q, token)
		if ok && api.PageToken(&q, got) != token {
			t.Fatalf("%q is parsed, but written differently", token)
		}
		other := q
		other.Tenant = "other"
		if _, foreign := api.ReadPageToken(&other, token); ok && foreign {
			t.Fatalf("%q is good for two tenants", token)
		}
	})
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{`abc`, `"abc"`, `"a\"b\\"`, `"`, `""`, ` x `, "\x00", "ä", strings.Repeat("x", 256)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		key, err := api.IdempotencyKey(http.Header{"Idempotency-Key": {header}})
		if err != nil {
			return
		}
		if key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q -> %q", header, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := api.IdempotencyKey(http.Header{"Idempotency-Key": {quoted}}); err != nil || again != key {
			t.Fatalf("quoted, %q is %q, %v", key, again, err)
		}
	})
}

func FuzzPrefer(f *testing.F) {
	for _, seed := range []string{"wait=10", `respond-async, wait="5"; x=y`, "wait", "wait=-1", `a="wait=3", WAIT=4`, "gzip;q=0.5, zstd;Q=.4", ",,;=", `"`} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if d := api.PreferredWait(http.Header{"Prefer": {a, b}}); d < 0 || d > 30*time.Second || d%time.Second != 0 {
			t.Fatal(d)
		}
		_, _ = api.Negotiate(http.Header{"Accept": {a, b}}, "application/json", "text/event-stream")
		if c := api.Coding(http.Header{"Accept-Encoding": {a, b}}); c != "" && !strings.Contains(strings.ToLower(a+b), c) {
			t.Fatalf("got the coding %q for %q and %q", c, a, b)
		}
		api.Matches([]string{a, b}, `W/"1"`)
		api.TraceParent(http.Header{"Traceparent": {a}})
	})
}
