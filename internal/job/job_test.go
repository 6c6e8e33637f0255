package job_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gather/internal/job"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

func submitted() job.Submitted {
	return job.Submitted{Job: job.Job{
		ID: job.NewID(), Tenant: "acme", Kind: "squares", Priority: job.High, Labels: map[string]string{"b": "2", "a": "1"},
		State: job.Queued, Progress: job.Progress{Total: 3}, Tasks: 1, CreatedAt: at, Timeout: time.Minute,
		Retention: time.Hour, RequestID: "r-1", TraceParent: "00-01",
	}, Spec: []byte(`{}`)}
}

// The whole table: every event in every state.
func TestApply(t *testing.T) {
	sub := submitted()
	in := func(s job.State) job.Job {
		if s == 0 {
			return job.Job{}
		}
		j := sub.Job
		j.State, j.Seq = s, 5
		return j
	}
	all := append([]job.State{0}, job.States()...)
	for _, tt := range []struct {
		name  string
		event job.Event
		next  map[job.State]job.State
	}{
		{"submitted", sub, map[job.State]job.State{0: job.Queued}},
		{"started", job.Started{At: at}, map[job.State]job.State{job.Queued: job.Running}},
		{"advanced", job.TaskProgress{Done: true}, map[job.State]job.State{job.Running: job.Running, job.Cancelling: job.Cancelling}},
		{"retry", job.TaskProgress{Retry: &job.Retry{Attempts: 1}}, map[job.State]job.State{job.Running: job.Running, job.Cancelling: job.Cancelling}},
		{"cancel", job.CancelRequested{At: at}, map[job.State]job.State{job.Queued: job.Cancelling, job.Running: job.Cancelling}},
		{"succeeded", job.Finished{State: job.Succeeded}, map[job.State]job.State{job.Running: job.Succeeded}},
		{"failed", job.Finished{State: job.Failed}, map[job.State]job.State{
			job.Queued: job.Failed, job.Running: job.Failed, job.Cancelling: job.Failed,
		}},
		{"cancelled", job.Finished{State: job.Cancelled}, map[job.State]job.State{job.Cancelling: job.Cancelled}},
		{"not final", job.Finished{State: job.Running}, nil},
	} {
		for _, from := range all {
			got, err := job.Apply(in(from), tt.event)
			want, legal := tt.next[from]
			switch {
			case legal && (err != nil || got.State != want):
				t.Errorf("%s in %v: %v, %v; want %v", tt.name, from, got.State, err, want)
			case !legal && !errors.Is(err, job.ErrTransition):
				t.Errorf("%s in %v: %v, want ErrTransition", tt.name, from, err)
			case !legal && !reflect.DeepEqual(got, in(from)):
				t.Errorf("%s in %v: the job changed", tt.name, from)
			}
		}
	}
}

func TestApplyCounts(t *testing.T) {
	var items job.Items
	for i := range 3 {
		items.Add(int64(i), []byte("7"), time.Millisecond)
	}
	j := job.Job{}
	for _, step := range []struct {
		event job.Event
		seq   uint64
	}{
		{submitted(), 1},
		{job.Started{At: at}, 2},
		{job.TaskProgress{Items: items, Completed: 3}, 5},
		{job.TaskProgress{Done: true, Bytes: 8}, 6},
		{job.Finished{At: at, State: job.Succeeded, Result: []byte("3"), Items: items, Completed: 1}, 10},
	} {
		var err error
		if j, err = job.Apply(j, step.event); err != nil {
			t.Fatal(err)
		}
		if j.Seq != step.seq {
			t.Errorf("after %T seq is %d, want %d", step.event, j.Seq, step.seq)
		}
	}
	if want := (job.Progress{Total: 3, Completed: 4, Bytes: 8}); j.Progress != want {
		t.Errorf("progress %+v, want %+v", j.Progress, want)
	}
	if j.TasksDone != 1 || !j.ExpiresAt.Equal(at.Add(time.Hour)) {
		t.Errorf("tasks done %d, expires %v", j.TasksDone, j.ExpiresAt)
	}
	running := j
	running.State = job.Running
	if _, err := job.Apply(running, job.TaskProgress{Done: true}); !errors.Is(err, job.ErrTransition) {
		t.Errorf("a second end of the only task: %v, want ErrTransition", err)
	}
}

func TestJobCodec(t *testing.T) {
	full := submitted().Job
	full.State, full.Seq, full.Result, full.Details = job.Failed, 99, []byte("1"), []byte("{}")
	full.Failure = &job.Failure{Reason: job.FailedPanic, Detail: "boom"}
	full.StartAfter, full.StartedAt, full.FinishedAt, full.ExpiresAt = at, at, at, at
	full.Progress = job.Progress{Total: 1, Completed: 2, Failed: 3, Bytes: 4, BytesTotal: 5}
	delayed := full
	delayed.Delay = 2 * time.Second
	repeated := delayed
	repeated.Retries, repeated.Retry = 3, &job.TaskRetry{Task: 1, Retry: job.Retry{Attempts: 2, After: -time.Second, Error: "why"}}
	once := full
	once.Retries, once.FailedRetention = 1, time.Hour
	for _, want := range []job.Job{full, delayed, repeated, once, {State: job.Queued, Priority: job.Low}} {
		data := want.AppendBinary(nil)
		got, err := job.Decode(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		for n := range data {
			if _, err := job.Decode(data[:n]); !errors.Is(err, job.ErrCorrupt) {
				t.Errorf("%d of %d bytes: %v, want ErrCorrupt", n, len(data), err)
			}
		}
		if _, err := job.Decode(append(data, 0)); !errors.Is(err, job.ErrCorrupt) {
			t.Errorf("a byte too many: %v, want ErrCorrupt", err)
		}
	}
}

func someItems() []job.Items {
	ms := time.Millisecond
	blocks := make([]job.Items, 12)
	for i := range 5 {
		blocks[1].Add(int64(10+i), []byte("1.5"), ms)                // constant throughout
		blocks[2].Add(int64(10-i), []byte{byte('0' + i)}, 3*ms)      // index and values vary
		blocks[3].Add(int64(i), []byte("null"), time.Duration(i)*ms) // durations vary
		blocks[4].Add(int64(i), bytes.Repeat([]byte("9"), i*100+1), time.Duration(i))
	}
	blocks[5].Add(1, []byte("1"), ms)
	blocks[5].AddError(7, "no", 2*ms)
	blocks[5].Add(3, []byte("2"), ms)
	for i := range 5 {
		v := float64(i)*1e20 - 0.1
		blocks[6].AddFloat(int64(10+i), v, ms)
		blocks[7].AddInt(int64(10-i), int64(i)*math.MaxInt64, time.Duration(i)*ms)
		blocks[8].AddFloat(int64(i), math.NaN(), ms) // constant
		blocks[9].AddInt(int64(i), -7, ms)
		if i%2 == 0 { // numbers of both kinds, literals and errors
			blocks[10].AddFloat(int64(i), v, ms)
		} else {
			blocks[10].AddInt(int64(i), int64(i), ms)
		}
		blocks[11].AddInt(int64(i), int64(i), ms)
	}
	blocks[11].Add(8, []byte("18446744073709551616"), ms)
	blocks[11].AddError(9, "no", ms)
	return blocks
}

func TestItems(t *testing.T) {
	for n, b := range someItems() {
		got, err := job.DecodeItems(b.AppendBinary(nil))
		if err != nil || got.Len() != b.Len() {
			t.Errorf("block %d: %v, %v", n, got.String(), err)
			continue
		}
		for i, want := range b.All() {
			if !reflect.DeepEqual(got.At(i), want) {
				t.Errorf("block %d item %d: %+v, want %+v", n, i, got.At(i), want)
			}
		}
		lo, hi := got.Range()
		if wlo, whi := b.Range(); lo != wlo || hi != whi {
			t.Errorf("block %d: range %d to %d, want %d to %d", n, lo, hi, wlo, whi)
		}
	}
	var equal job.Items
	for i := range 100_000 {
		equal.Add(int64(i), []byte("1.000123"), time.Second)
	}
	if n := len(equal.AppendBinary(nil)); n > 64 {
		t.Errorf("100 000 equal items take %d bytes", n)
	}
	var numbers job.Items
	for i := range 100_000 {
		numbers.AddFloat(int64(i), 1.000123, time.Second)
	}
	if n := len(numbers.AppendBinary(nil)); n > 64 {
		t.Errorf("100 000 equal numbers take %d bytes", n)
	}
}

// Numbers have the literals that their kind would have written, in whatever company they are.
func TestNumbers(t *testing.T) {
	blocks := someItems()
	for n, want := range map[int][]string{
		6:  {"-0.1", "1e+20", "2e+20", "3e+20", "4e+20"},
		7:  {"0", "9223372036854775807", "-2", "9223372036854775805", "-4"},
		8:  {`"NaN"`, `"NaN"`, `"NaN"`, `"NaN"`, `"NaN"`},
		9:  {"-7", "-7", "-7", "-7", "-7"},
		10: {"-0.1", "1", "2e+20", "3", "4e+20"},
		11: {"0", "1", "2", "3", "4", "18446744073709551616", ""},
	} {
		var got []string
		for _, it := range blocks[n].All() {
			got = append(got, string(it.Value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("block %d: got %q, want %q", n, got, want)
		}
	}
}

func someEvents() []job.Event {
	events := []job.Event{
		job.Started{At: at},
		job.CancelRequested{At: at},
		job.Finished{At: at, State: job.Cancelled},
		job.Finished{At: at, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTimeout, Detail: "late"}},
		job.Finished{At: at, State: job.Succeeded, Result: []byte("1"), Details: []byte(`{"a":1}`), Completed: 9},
	}
	events = append(events, job.TaskProgress{Task: 1, Retry: &job.Retry{Attempts: 2, After: time.Second, Error: "why"}})
	for i, b := range someItems() {
		events = append(events, job.TaskProgress{Task: i, Done: i%2 == 0, Completed: 1, Failed: 2, Bytes: 3, Items: b, Partial: []byte("p")})
	}
	return events
}

func TestEventCodec(t *testing.T) {
	var data []byte
	for _, e := range someEvents() {
		data = job.AppendEvent(data, e)
	}
	got, err := job.DecodeEvents(data)
	if err != nil || len(got) != len(someEvents()) {
		t.Fatalf("%d events, %v", len(got), err)
	}
	var again []byte
	for _, e := range got {
		again = job.AppendEvent(again, e)
	}
	if !bytes.Equal(again, data) {
		t.Error("the events do not encode to the same bytes")
	}
}

func FuzzDecode(f *testing.F) {
	j := submitted().Job
	f.Add(j.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if j, err := job.Decode(data); err == nil {
			again, err := job.Decode(j.AppendBinary(nil))
			if err != nil || !reflect.DeepEqual(again, j) {
				t.Errorf("%+v became %+v, %v", j, again, err)
			}
		}
	})
}

func FuzzDecodeEvents(f *testing.F) {
	for _, e := range someEvents() {
		f.Add(job.AppendEvent(nil, e))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := job.DecodeEvents(data)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range events {
			again = job.AppendEvent(again, e)
		}
		if _, err := job.DecodeEvents(again); err != nil {
			t.Errorf("decoded events encode to something else: %v", err)
		}
	})
}

func FuzzDecodeItems(f *testing.F) {
	for _, b := range someItems() {
		f.Add(b.AppendBinary(nil))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		b, err := job.DecodeItems(data)
		if err != nil {
			return
		}
		n := 0
		for range b.All() {
			n++
			if n > 1000 {
				break
			}
		}
		b.Range()
	})
}

func TestNames(t *testing.T) {
	for _, s := range job.States() {
		if got, err := job.ParseState(s.String()); got != s || err != nil {
			t.Errorf("%v: %v, %v", s, got, err)
		}
	}
	for _, p := range job.Priorities() {
		if got, err := job.ParsePriority(p.String()); got != p || err != nil {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	for _, bad := range []string{"", "Queued", "state(1)"} {
		if _, err := job.ParseState(bad); err == nil {
			t.Errorf("%q is no state", bad)
		}
	}
}

func TestID(t *testing.T) {
	before := time.Now().Add(-time.Millisecond)
	last := job.NewID()
	if d := last.Time().Sub(before); d < 0 || d > time.Minute {
		t.Errorf("the time of a new ID is %v after now", d)
	}
	for range 1000 {
		id := job.NewID()
		if bytes.Compare(last[:], id[:]) >= 0 {
			t.Fatalf("%v does not come after %v", id, last)
		}
		last = id
	}
	if id, err := job.ParseID(last.String()); id != last || err != nil {
		t.Errorf("%v, %v", id, err)
	}
	if id, err := job.ParseID(strings.ToUpper(last.String())); id != last || err != nil {
		t.Errorf("upper case: %v, %v", id, err)
	}
	for _, bad := range []string{"", "x", "{" + last.String() + "}", "00000000-0000-0000-0000-000000000000", "urn:uuid:" + last.String(), strings.ReplaceAll(last.String(), "-", "")} {
		if _, err := job.ParseID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestQueryMatches(t *testing.T) {
	j := submitted().Job
	for _, tt := range []struct {
		q    job.Query
		want bool
	}{
		{job.Query{Tenant: "acme"}, true},
		{job.Query{Tenant: "other"}, false},
		{job.Query{Tenant: "acme", Kinds: []string{"sleep_batch", "squares"}, Labels: map[string]string{"a": "1"}, States: []job.State{job.Failed, job.Queued}}, true},
		{job.Query{Tenant: "acme", Kinds: []string{"sleep_batch"}}, false},
		{job.Query{Tenant: "acme", Labels: map[string]string{"a": "2"}}, false},
		{job.Query{Tenant: "acme", Labels: map[string]string{"c": ""}}, false},
		{job.Query{Tenant: "acme", States: []job.State{job.Running}}, false},
	} {
		if got := tt.q.Matches(&j); got != tt.want {
			t.Errorf("%+v: %v", tt.q, got)
		}
	}
}

func TestErrors(t *testing.T) {
	r := &job.Rejection{Err: job.ErrQueueFull, Detail: "10 of 10"}
	if !errors.Is(r, job.ErrQueueFull) || r.Error() != "the queue is full: 10 of 10" {
		t.Error(r)
	}
}
