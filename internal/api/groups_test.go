package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gather/internal/api"
)

func (s *service) group(name string, headers ...string) api.Group {
	s.t.Helper()
	a := s.do("GET", "/v1/groups/"+name, "", headers...)
	if a.status != 200 {
		s.t.Fatalf("group %s: %d: %s", name, a.status, a.body)
	}
	return decode[api.Group](s.t, a.body)
}

// TestGroup reads, waits for, lists, cancels and deletes a named group.
func TestGroup(t *testing.T) {
	s := newService(t)
	for i := range 3 {
		s.finished(fmt.Sprintf(`{"kind":"squares","numbers":[%d,2],"group":"nightly"}`, i))
	}
	g := s.group("nightly", "Prefer: wait=20")
	if g.Id != "nightly" || g.Jobs.Succeeded != 3 || g.Jobs.Total != 3 || g.Progress.Total != 6 || g.Progress.Completed != 6 || g.Progress.Fraction != 1 || g.FinishedAt == nil {
		t.Errorf("three jobs have the group %+v", g)
	}
	long := decode[api.Job](t, s.do("POST", "/v1/jobs", `{"kind":"sleep_batch","durations":["1ms","10m"],"group":"nightly"}`).body)
	if long.Group == nil || *long.Group != "nightly" {
		t.Errorf("a job of the group has group %v", long.Group)
	}
	if shown := decode[map[string]any](t, s.do("GET", path(long, "/submission"), "").body); shown["group"] != "nightly" {
		t.Errorf("its submission has the group %v", shown["group"])
	}
	if g = s.group("nightly", "Prefer: wait=0"); g.Jobs.Total != 4 || g.FinishedAt != nil || g.Progress.Fraction == 1 {
		t.Errorf("with an unfinished job: %+v", g)
	}
	if a := s.do("DELETE", "/v1/groups/nightly", ""); a.status != 409 || !strings.Contains(string(a.body), "1 jobs of the group have not finished") {
		t.Errorf("deletion with an unfinished job: %d %s", a.status, a.body)
	}
	if n := decode[api.BulkResult](t, s.do("POST", "/v1/groups/nightly/cancel?validate_only=true", "").body); n.Matched != 1 || n.Changed != 0 {
		t.Errorf("count before the cancel: %+v", n)
	}
	if n := decode[api.BulkResult](t, s.do("POST", "/v1/groups/nightly/cancel", "").body); n.Changed != 1 {
		t.Errorf("cancel: %+v", n)
	}
	if g = s.group("nightly", "Prefer: wait=20"); g.Jobs.Cancelled != 1 || g.Jobs.Succeeded != 3 || g.FinishedAt == nil {
		t.Errorf("after the cancel: %+v", g)
	}
	s.finished(`{"kind":"squares","numbers":[1],"group":"a"}`)
	list := decode[api.GroupList](t, s.do("GET", "/v1/groups?page_size=1", "").body)
	if len(list.Groups) != 1 || list.Groups[0].Id != "a" || list.NextAfter == nil || *list.NextAfter != "a" {
		t.Errorf("the first page of groups: %+v", list)
	}
	list = decode[api.GroupList](t, s.do("GET", "/v1/groups?page_size=1&after=a", "").body)
	if len(list.Groups) != 1 || list.Groups[0].Id != "nightly" || list.NextAfter != nil {
		t.Errorf("the second page of groups: %+v", list)
	}
	if jobs := decode[api.JobList](t, s.do("GET", list.Groups[0].Links.Jobs, "").body); len(jobs.Jobs) != 4 {
		t.Errorf("%d jobs in the list of the group, want 4", len(jobs.Jobs))
	}
	if n := decode[api.BulkResult](t, s.do("DELETE", "/v1/groups/nightly", "").body); n.Changed != 4 {
		t.Errorf("deletion: %+v", n)
	}
	if a := s.do("GET", "/v1/groups/nightly", ""); a.status != 404 {
		t.Errorf("the deleted group: %d", a.status)
	}
}

// TestBatchGroup: a batch has a group, of its name or its own.
func TestBatchGroup(t *testing.T) {
	s := newService(t)
	const jobs = `[{"kind":"squares","numbers":[1]},{"kind":"squares","numbers":[2]}]`
	b := decode[api.Batch](t, s.do("POST", "/v1/jobs:batch", `{"jobs":`+jobs+`}`, "Idempotency-Key: k").body)
	again := decode[api.Batch](t, s.do("POST", "/v1/jobs:batch", `{"jobs":`+jobs+`}`, "Idempotency-Key: k").body)
	if len(b.Group) != 36 || again.Group != b.Group {
		t.Errorf("groups %q and, replayed, %q; want the same UUID", b.Group, again.Group)
	}
	if g := s.group(b.Group, "Prefer: wait=20"); g.Jobs.Succeeded != 2 {
		t.Errorf("group of the batch: %+v", g)
	}
	// The group of the batch is not part of what its jobs were submitted as.
	if shown := decode[map[string]any](t, s.do("GET", path(b.Jobs[0], "/submission"), "").body); shown["group"] != nil {
		t.Errorf("its submission has the group %v", shown["group"])
	}
	b = decode[api.Batch](t, s.do("POST", "/v1/jobs:batch", `{"jobs":`+jobs+`,"group":"x.1_-"}`).body)
	if g := s.group("x.1_-", "Prefer: wait=20"); b.Group != "x.1_-" || g.Jobs.Succeeded != 2 {
		t.Errorf("a batch with a name: %q, %+v", b.Group, g)
	}
	const name = "must be a string of 1 to 63 letters"
	for _, c := range []struct{ path, body, pointer, detail string }{
		{"jobs", `{"kind":"squares","numbers":[1],"group":""}`, "/group", name},
		{"jobs", `{"kind":"squares","numbers":[1],"group":7}`, "/group", name},
		{"jobs", `{"kind":"squares","numbers":[1],"group":"a/b"}`, "/group", name},
		{"jobs", `{"kind":"squares","numbers":[1],"group":"-a"}`, "/group", name},
		{"jobs", `{"kind":"squares","numbers":[1],"group":"` + strings.Repeat("a", 64) + `"}`, "/group", name},
		{"jobs", `{"kind":"squares","numbers":[1],"group":"01a20406-6d9d-7711-a911-300652e08630"}`, "/group", "form of a UUID"},
		{"jobs:batch", `{"group":"a b","jobs":[{"kind":"squares","numbers":[1]}]}`, "/group", name},
		{"jobs:batch", `{"group":"a","jobs":[{"kind":"squares","numbers":[1]},{"kind":"squares","numbers":[1],"group":"b"}]}`, "/jobs/1/group", "set /group"},
		{"jobs:batch", `{"groups":"a","jobs":[{"kind":"squares","numbers":[1]}]}`, "/groups", "a batch has jobs and group"},
	} {
		a := s.do("POST", "/v1/"+c.path, c.body)
		p := decode[api.Problem](t, a.body)
		if a.status != 422 || p.Errors == nil || len(*p.Errors) != 1 || *(*p.Errors)[0].Pointer != c.pointer || !strings.Contains((*p.Errors)[0].Detail, c.detail) {
			t.Errorf("%s: %d %s; want %s %s", c.body, a.status, a.body, c.pointer, c.detail)
		}
	}
	for _, ok := range []string{`null`, `"a"`, `"` + strings.Repeat("a", 63) + `"`, `"0.x"`} {
		if a := s.do("POST", "/v1/jobs", `{"kind":"squares","numbers":[1],"group":`+ok+`}`); a.status != 202 {
			t.Errorf("group %s: %d: %s", ok, a.status, a.body)
		}
	}
}

// groupLine is a line of a group's stream.
type groupLine struct {
	Seq   int64           `json:"seq"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// follow reads lines of a group's stream until stop or the end.
func (s *service) follow(path string, stop func(groupLine) bool) (lines []groupLine) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), "GET", s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-ndjson")
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == 204 {
		return nil
	}
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		line := decode[groupLine](s.t, in.Bytes())
		if lines = append(lines, line); stop(line) {
			return lines
		}
	}
	return lines
}

// TestGroupEvents: every job of a group is in the stream once, in the order of the ends, also when the stream is resumed again and
// again while jobs end.
func TestGroupEvents(t *testing.T) {
	s := newService(t)
	const jobs = 60
	var body []string
	for i := range jobs {
		body = append(body, fmt.Sprintf(`{"kind":"sleep_batch","durations":["%dms"]}`, 1+i%20))
	}
	b := decode[api.Batch](t, s.do("POST", "/v1/jobs:batch", `{"group":"g","jobs":[`+strings.Join(body, ",")+`]}`).body)
	var seen []string
	after, ended := int64(0), false
	for !ended {
		n := 0
		lines := s.follow(fmt.Sprintf("/v1/groups/g/events?after=%d", after), func(l groupLine) bool {
			if l.Event == "job" {
				n++
			}
			return n == 7 || l.Event == "finished"
		})
		if lines == nil {
			t.Fatalf("nothing more after %d jobs", len(seen))
		}
		for _, line := range lines {
			switch line.Event {
			case "job":
				j := decode[api.Job](t, line.Data)
				if j.State != api.StateSucceeded || line.Seq <= after {
					t.Errorf("a job %s with seq %d after %d", j.State, line.Seq, after)
				}
				seen, after = append(seen, j.Id.String()), line.Seq
			case "group", "finished":
				g := decode[api.Group](t, line.Data)
				if ended = line.Event == "finished"; ended && (g.Jobs.Succeeded != jobs || g.FinishedAt == nil) {
					t.Errorf("the end has %+v", g)
				}
			default:
				t.Errorf("event %q", line.Event)
			}
		}
	}
	var want []string
	for i := range b.Jobs {
		want = append(want, b.Jobs[i].Id.String())
	}
	slices.Sort(want)
	if slices.Sort(seen); !slices.Equal(seen, want) {
		t.Errorf("%d jobs in the streams, want the %d of the batch, each once", len(seen), len(want))
	}
	if lines := s.follow(fmt.Sprintf("/v1/groups/g/events?after=%d", after), nil); lines != nil {
		t.Errorf("after the end: %v", lines)
	}
	// A deleted job is left out.
	s.do("DELETE", path(b.Jobs[0], ""), "")
	n := 0
	s.follow("/v1/groups/g/events", func(l groupLine) bool {
		if l.Event == "job" {
			n++
		}
		return false
	})
	if n != jobs-1 {
		t.Errorf("%d jobs after the deletion of one, want %d", n, jobs-1)
	}
	if a := s.do("GET", "/v1/groups/g/events?after=9000000000000000000", ""); a.status != 400 {
		t.Errorf("a cursor in the future: %d, want 400", a.status)
	}
}
