package job_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gather/internal/job"
)

var update = flag.Bool("update", false, "add missing encodings to testdata/v1; existing ones never change")

const golden = "testdata/v1/encodings.txt"

// goldenID is the id of everything in the golden data.
var goldenID = job.ID{0x01, 0x93, 0x5f, 0x2a, 0x7c, 0x00, 0x70, 0x01, 0x80, 1, 2, 3, 4, 5, 6, 7}

// goldenValues returns a value for each encoding in the golden data.
func goldenValues() map[string]any {
	at := time.Date(2026, 11, 26, 12, 0, 0, 123456789, time.UTC)
	plain := job.Job{
		ID: goldenID, Tenant: "acme", Kind: "squares", Priority: job.High, State: job.Queued, Seq: 1,
		Labels:   map[string]string{"team": "red", "run": "7"},
		Progress: job.Progress{Total: 5, BytesTotal: 40}, Tasks: 2,
		CreatedAt: at, StartAfter: at.Add(time.Hour), Timeout: time.Minute, Retention: 100 * 365 * 24 * time.Hour,
		RequestID: "req-1", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	delayed := plain
	delayed.StartAfter, delayed.Delay = at.Add(time.Minute), time.Minute
	grouped := plain
	grouped.Group = "nightly"
	retried := grouped
	retried.RetryOf, retried.Delay, retried.StartAfter = goldenID, time.Minute, at.Add(time.Minute)
	dependent := retried
	dependent.After, dependent.Waits, dependent.AfterTimeout = []job.ID{{1}, goldenID}, 2, time.Hour
	released := dependent
	released.Waits, released.ReleasedAt = 0, at.Add(time.Second)
	kept := dependent
	kept.FailedRetention = 7 * 24 * time.Hour
	again := kept
	again.FailedRetention, again.Waits, again.State, again.StartedAt = 0, 0, job.Running, at
	again.Retries, again.Retry = 3, &job.TaskRetry{Task: 1, Retry: job.Retry{Attempts: 2, After: time.Minute, Error: "why"}}
	over := again
	over.Retry, over.FailedRetention = nil, time.Hour
	ended := plain
	ended.State, ended.Seq, ended.StartedAt, ended.FinishedAt, ended.ExpiresAt = job.Succeeded, 9, at, at.Add(time.Second), at.Add(time.Hour)
	ended.Progress.Completed, ended.TasksDone, ended.Result, ended.Details = 5, 2, []byte(`55`), []byte(`{"dtype":"int64"}`)
	var even, uneven job.Items
	for i := range int64(3) {
		even.Add(i, []byte("1"), time.Millisecond)
	}
	uneven.Add(7, []byte("49"), time.Millisecond)
	uneven.AddError(2, "not now", 3*time.Millisecond)
	uneven.Add(4, []byte(`"16"`), 2*time.Millisecond)
	var floats, integers, equal job.Items
	for i, v := range []float64{1.5, math.Copysign(0, -1), math.Inf(-1)} {
		floats.AddFloat(int64(i), v, time.Millisecond)
		equal.AddFloat(int64(i), 2.5, time.Millisecond)
		integers.AddInt(int64(2*i), int64(i*1000-1), time.Duration(i)*time.Millisecond)
	}
	key := &job.Key{Tenant: "acme", Route: "POST /v1/jobs", Value: "k-1", Fingerprint: [32]byte{1, 2, 3}, Expires: at.Add(24 * time.Hour)}
	hooked := ended
	hooked.Delay = time.Minute
	hooked.Webhooks = []job.Webhook{{URL: "https://hooks.example/x", Events: job.AllEvents}, {URL: "https://hooks.example/y", Events: job.EventOf(job.Failed), Standing: true}}
	attempt := job.DeliveryChange{Hook: 1, Total: 2, Attempt: &job.Attempt{At: at, Duration: time.Second, Status: 503, Error: "HTTP 503"}, State: job.DeliveryPending, NextAt: at.Add(time.Hour)}
	deliveries := job.Deliveries{
		{Hook: 0, Receiver: 1 << 63, State: job.DeliveryDone, Since: at, Tries: 1, Total: 1, Attempts: []job.Attempt{{At: at, Duration: time.Second, Status: 204}}},
		{Hook: 1, Receiver: 7, State: job.DeliveryPending, Since: at, Tries: 1, Total: 2, NextAt: at.Add(time.Hour), Attempts: []job.Attempt{{At: at}, *attempt.Attempt}},
		{Hook: 2, Receiver: 7, State: job.DeliveryFailed, Since: at},
	}
	values := map[string]any{
		"record webhooks": hooked, "deliveries": deliveries,
		"proposal delivery":        job.Proposal{Kind: job.ProposeDelivery, Number: 5, At: at, Tenant: "acme", ID: goldenID, Change: attempt},
		"proposal retry":           job.Proposal{Kind: job.ProposeDelivery, Number: 6, At: at, Tenant: "acme", ID: goldenID, Change: job.DeliveryChange{Hook: 1, NextAt: at}},
		"proposal import webhooks": job.Proposal{Kind: job.ProposeJob, View: hooked, Deliveries: deliveries, Spec: []byte(`{"numbers":[1]}`), Log: []job.Event{job.Started{At: at}}},
		"record plain":             plain, "record delayed": delayed, "record ended": ended, "record grouped": grouped, "record retry": retried,
		"record dependent": dependent, "record released": released, "record kept": kept, "record retries": again, "record retried": over,
		"pause":                  job.Pause{Scope: job.PauseKind, Name: "squares", Reason: "a move", At: at},
		"event submitted":        job.Submitted{Job: job.Job{CreatedAt: at, State: job.Queued}},
		"event started":          job.Started{At: at},
		"event checkpoint":       job.TaskProgress{Task: 1, Completed: 3, Bytes: 24, Items: even},
		"event task done":        job.TaskProgress{Task: 1, Done: true, Completed: 2, Failed: 1, Items: uneven, Partial: []byte{1, 2}},
		"event floats":           job.TaskProgress{Task: 1, Done: true, Completed: 3, Items: floats},
		"event integers":         job.Finished{At: at, State: job.Succeeded, Result: []byte("null"), Items: integers, Completed: 3},
		"event equal floats":     job.TaskProgress{Task: 1, Done: true, Completed: 3, Items: equal},
		"proposal batch floats":  job.Proposal{Kind: job.ProposeBatch, Number: 3, Entries: []job.Entry{{ID: goldenID, Events: []job.Event{job.TaskProgress{Task: 1, Done: true, Items: floats}}}}, Guards: []job.Guard{{Task: 1, Step: 2}}},
		"event dependency":       job.DependencySucceeded{Index: 1, At: at},
		"event retry":            job.TaskProgress{Task: 1, Retry: &again.Retry.Retry},
		"proposal batch retries": job.Proposal{Kind: job.ProposeBatch, Number: 3, Entries: []job.Entry{{ID: goldenID, Events: []job.Event{job.TaskProgress{Task: 1, Retry: &again.Retry.Retry}}}}, Guards: []job.Guard{{Task: 1, Step: 2}}},
		"event cancel":           job.CancelRequested{At: at},
		"event succeeded":        job.Finished{At: at, State: job.Succeeded, Result: []byte("55"), Details: []byte(`{"dtype":"int64"}`), Items: even, Completed: 3},
		"event cancelled":        job.Finished{At: at, State: job.Cancelled},
		"proposal join":          job.Proposal{Kind: job.ProposeJoin, Number: 1, ID: goldenID, Node: "node-1"},
		"proposal leave":         job.Proposal{Kind: job.ProposeLeave, Number: 2, At: at, ID: goldenID, Node: "node-1"},
		"proposal decision":      job.Proposal{Kind: job.ProposeDecision, At: at, ID: goldenID, Finished: job.Finished{State: job.Cancelled}},
		"proposal delete":        job.Proposal{Kind: job.ProposeDelete, Tenant: "acme", ID: goldenID},
		"proposal trim":          job.Proposal{Kind: job.ProposeTrim, At: at, First: 1, Before: 9, Through: 12, Rejected: []job.Rejected{{Seq: 3, Index: 1}}},
		"proposal large trim":    job.Proposal{Kind: job.ProposeLargeTrim, At: at, First: 1, Before: 9, Through: 12, Parts: 10, Total: 2, Rejected: []job.Rejected{{Seq: 3}}},
		"proposal snapshot trim": job.Proposal{Kind: job.ProposeSnapshotTrim, At: at, First: 1, Before: 9, Through: 12},
		"proposal import":        job.Proposal{Kind: job.ProposeJob, View: ended, Spec: []byte(`{"numbers":[1]}`), Log: []job.Event{job.Started{At: at}}},
		"proposal key":           job.Proposal{Kind: job.ProposeKey, KeyRecord: job.KeyRecord{Hash: [32]byte{9}, Fingerprint: [32]byte{8}, Expires: at, IDs: []job.ID{goldenID}}},
		"proposal tombstone":     job.Proposal{Kind: job.ProposeTombstone, Tombstone: job.Tombstone{Tenant: "acme", ID: goldenID, Expires: at}},
		"proposal batch events":  job.Proposal{Kind: job.ProposeBatch, Number: 3, Entries: []job.Entry{{ID: goldenID, Events: []job.Event{job.Started{At: at}}}}, Guards: []job.Guard{{Task: 1, Step: 2}}},
	}
	for name, j := range map[string]job.Job{"plain": plain, "delayed": delayed, "grouped": grouped, "retry": retried, "dependent": dependent, "kept": kept} {
		values["proposal batch "+name] = job.Proposal{
			Kind: job.ProposeBatch, Number: 4, At: at, Key: key, Guards: []job.Guard{{Task: job.NoTask}},
			Entries:   []job.Entry{{ID: goldenID, Events: []job.Event{job.Submitted{Job: j, Spec: []byte(`{"numbers":[1,2]}`)}, job.Started{At: at}}}},
			Admission: &job.Admission{Jobs: 10, TenantJobs: 5, Bytes: 100, Waiting: 7, Sizes: []job.Size{{Waiting: 1, Memory: 2}}},
		}
	}
	for _, reason := range job.FailureReasons() {
		failed := job.Finished{At: at, State: job.Failed, Failure: &job.Failure{Reason: reason, Detail: "why"}}
		values["event failed: "+reason.String()] = failed
		values["proposal decision: "+reason.String()] = job.Proposal{Kind: job.ProposeDecision, At: at, ID: goldenID, Finished: failed}
	}
	return values
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	switch v := value.(type) {
	case job.Job:
		return v.AppendBinary(nil)
	case job.Deliveries:
		return v.AppendBinary(nil)
	case job.Event:
		return job.AppendEvent(nil, v)
	case job.Proposal:
		return v.AppendBinary(nil)
	case job.Pause:
		return v.Encode()
	}
	t.Fatalf("no encoding of %T", value)
	return nil
}

// decoded returns a value as the decoder returned it, and encoded again.
func decoded(data []byte, like any) (again []byte, err error) {
	switch like.(type) {
	case job.Job:
		j, err := job.Decode(data)
		return j.AppendBinary(nil), err
	case job.Deliveries:
		ds, err := job.DecodeDeliveries(data)
		return ds.AppendBinary(nil), err
	case job.Event:
		events, err := job.DecodeEvents(data)
		for _, ev := range events {
			again = job.AppendEvent(again, ev)
		}
		return again, err
	case job.Pause:
		p, err := job.DecodePause(data)
		return p.Encode(), err
	}
	p, err := job.DecodeProposal(data)
	return p.AppendBinary(nil), err
}

// readGolden returns the encodings by name.
func readGolden(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	encodings := make(map[string][]byte)
	for line := range strings.Lines(string(text)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if encodings[name], err = hex.DecodeString(digits); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return encodings
}

// The encodings of the first version that wrote them are still read, and have the same values. See job.Format.
func TestGolden(t *testing.T) {
	values, encodings := goldenValues(), readGolden(t)
	if *update {
		var text strings.Builder
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if encodings[name] == nil {
				encodings[name] = encode(t, values[name])
			}
			fmt.Fprintf(&text, "%s\t%x\n", name, encodings[name])
		}
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range encodings {
		t.Run(name, func(t *testing.T) {
			value, ok := values[name]
			if !ok {
				t.Fatal("the golden data has no value in goldenValues; nothing is ever removed")
			}
			got, err := decoded(data, value)
			if want := encode(t, value); err != nil || !bytes.Equal(got, want) {
				t.Errorf("it is read as\n%x, %v; want\n%x", got, err, want)
			}
		})
	}
	for name := range values {
		if encodings[name] == nil {
			t.Errorf("%s is not in %s: run go test -run TestGolden -update, and commit it", name, golden)
		}
	}
}

// The golden data has every format, tag, reason and kind that this version writes.
func TestGoldenIsComplete(t *testing.T) {
	have := make(map[string]bool)
	for name, data := range readGolden(t) {
		switch kind, _, _ := strings.Cut(name, " "); kind {
		case "record":
			have[fmt.Sprint("record of format ", data[0])] = true
		case "deliveries":
			have[fmt.Sprint("deliveries of format ", data[0])] = true
		case "event":
			have[fmt.Sprint("event with tag ", data[0])] = true
			if events, err := job.DecodeEvents(data); err == nil {
				if f, ok := events[0].(job.Finished); ok && f.Failure != nil {
					have[fmt.Sprint("failure for reason ", f.Failure.Reason)] = true
				}
			}
		case "proposal":
			have[fmt.Sprint("proposal of format ", data[0])] = true
			have[fmt.Sprint("proposal of kind ", data[1])] = true
		}
	}
	var want []string
	for f := job.Format(1); f < job.Formats; f++ {
		want = append(want, fmt.Sprint("proposal of format ", f))
	}
	for _, f := range []job.Format{1, 2, 4, 5, 6, 8, 9, 10} { // format 3 changed no record
		want = append(want, fmt.Sprint("record of format ", f))
	}
	want = append(want, "deliveries of format 4")
	for tag := 1; tag < job.Tags; tag++ {
		want = append(want, fmt.Sprint("event with tag ", tag))
	}
	for kind := job.ProposalKind(1); kind < job.ProposalKinds; kind++ {
		want = append(want, fmt.Sprint("proposal of kind ", kind))
	}
	for _, r := range job.FailureReasons() {
		want = append(want, fmt.Sprint("failure for reason ", r))
	}
	for _, w := range want {
		if !have[w] {
			t.Errorf("the golden data has no %s: add a value to goldenValues", w)
		}
	}
}

// Whatever a later version may write is of another version, not corrupt; a proposal is of the newest format inside of it.
func TestUnknownFormats(t *testing.T) {
	encodings := readGolden(t)
	for name, change := range map[string]struct {
		of string
		at int // from the end if negative
		to byte
	}{
		"record of a later format":   {"record plain", 0, byte(job.Formats)},
		"deliveries of a later one":  {"deliveries", 0, byte(job.Formats)},
		"event with an unknown tag":  {"event started", 0, job.Tags},
		"proposal of a later format": {"proposal join", 0, byte(job.Formats)},
		"proposal of unknown kind":   {"proposal join", 1, byte(job.ProposalKinds)},
		"failure for unknown reason": {"event failed: job-failed", -7, byte(len(job.FailureReasons()) + 1)},
	} {
		t.Run(name, func(t *testing.T) {
			data := bytes.Clone(encodings[change.of])
			at := (change.at + len(data)) % len(data)
			data[at] = change.to
			_, err := decoded(data, goldenValues()[change.of])
			if !strings.Contains(fmt.Sprint(err), job.ErrVersion.Error()) {
				t.Errorf("got error %v, want %v", err, job.ErrVersion)
			}
		})
	}
	for name, want := range map[string]byte{"batch plain": 1, "batch delayed": 2, "delivery": 4, "import webhooks": 4, "batch dependent": 8, "batch kept": 9, "batch retries": 10} {
		if got := encodings["proposal "+name][0]; got != want {
			t.Errorf("the proposal %s is of format %d, want %d", name, got, want)
		}
	}
}
