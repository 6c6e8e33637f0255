package job_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"gather/internal/job"
)

// someProposals are of every kind, with everything that each may have.
func someProposals() []job.Proposal {
	sub := submitted()
	key := &job.Key{Tenant: "acme", Route: "POST /v1/jobs", Value: "k", Fingerprint: [32]byte{1, 31: 2}, Expires: at}
	ids := []job.ID{job.NewID(), job.NewID()}
	ended := job.Finished{At: at, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: "no"}}
	return []job.Proposal{
		{Kind: job.ProposeBatch, Number: 1, At: at},
		{
			Kind: job.ProposeBatch, Number: 1 << 60, At: at, Key: key,
			Admission: &job.Admission{
				Sizes: []job.Size{{Waiting: 3, Memory: 4}, {}}, Jobs: 1, TenantJobs: 2, Bytes: 1 << 40, Waiting: 5,
			},
			Entries: []job.Entry{
				{ID: sub.Job.ID, Events: []job.Event{sub, job.Started{At: at}, job.TaskProgress{Task: 7, Done: true, Partial: []byte("p")}}},
				{ID: ids[0], Events: []job.Event{job.CancelRequested{At: at}, ended}},
				{ID: ids[1]},
			},
			Guards: []job.Guard{{Task: 7, Step: 2}, {Task: job.Reduction}, {Task: job.NoTask}},
		},
		{Kind: job.ProposeJoin, ID: ids[0], Node: "a"},
		{Kind: job.ProposeLeave, At: at, ID: ids[1], Node: "b"},
		{Kind: job.ProposeDecision, Number: 9, At: at, ID: ids[0], Finished: ended},
		{Kind: job.ProposeDelete, Number: 9, At: at, Tenant: "acme", ID: ids[0]},
		{Kind: job.ProposeTrim, First: 3, Before: 1 << 50, Through: 1 << 51, Rejected: []job.Rejected{{Seq: 5, Index: 2}, {Seq: 6}}},
		{Kind: job.ProposeJob, View: sub.Job, Spec: []byte("{}"), Log: []job.Event{job.Started{At: at}, ended}},
		{Kind: job.ProposeKey, KeyRecord: job.KeyRecord{Hash: [32]byte{3}, Fingerprint: [32]byte{4}, Expires: at, IDs: ids}},
		{Kind: job.ProposeTombstone, Tombstone: job.Tombstone{Tenant: "acme", ID: ids[0], Expires: at}},
		{Kind: job.ProposeLargeTrim, Before: 9, Through: 12, Rejected: []job.Rejected{{Seq: 11, Index: 2}}, Parts: 13, Total: 4},
	}
}

// plain is a proposal without the differences that an encoding does not keep.
func plain(p job.Proposal) job.Proposal {
	if p.Kind == job.ProposeBatch {
		for i := len(p.Guards); i < len(p.Entries); i++ {
			p.Guards = append(p.Guards, job.Guard{Task: job.NoTask})
		}
		if len(p.Entries) == 0 {
			p.Entries, p.Guards = nil, nil
		}
	}
	return p
}

func TestProposalCodec(t *testing.T) {
	for _, want := range someProposals() {
		data := want.AppendBinary(nil)
		got, err := job.DecodeProposal(data)
		if err != nil {
			t.Errorf("kind %d: %v", want.Kind, err)
			continue
		}
		if !reflect.DeepEqual(plain(got), plain(want)) {
			t.Errorf("kind %d: got\n%+v, want\n%+v", want.Kind, got, want)
		}
		if again := got.AppendBinary(nil); !bytes.Equal(again, data) {
			t.Errorf("kind %d encodes to other bytes", want.Kind)
		}
		if want.Kind == job.ProposeJob {
			continue // a log ends where its bytes end
		}
		for n := 2; n < len(data); n++ {
			if _, err := job.DecodeProposal(data[:n]); !errors.Is(err, job.ErrCorrupt) {
				t.Errorf("kind %d, %d of %d bytes: %v, want ErrCorrupt", want.Kind, n, len(data), err)
			}
		}
		if _, err := job.DecodeProposal(append(data, 0)); !errors.Is(err, job.ErrCorrupt) {
			t.Errorf("kind %d, a byte too many: %v, want ErrCorrupt", want.Kind, err)
		}
	}
}

// Bytes that a later version may have written are not corrupt, because a node must not skip them.
func TestProposalVersion(t *testing.T) {
	p := someProposals()[0]
	data := p.AppendBinary(nil)
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
	}{
		{"nothing", func([]byte) []byte { return nil }},
		{"version", func(b []byte) []byte { b[0] = byte(job.Formats); return b }},
		{"kind 0", func(b []byte) []byte { b[1] = 0; return b }},
		{"kind of the future", func(b []byte) []byte { b[1] = byte(job.ProposalKinds); return b }},
	} {
		if _, err := job.DecodeProposal(c.change(bytes.Clone(data))); !errors.Is(err, job.ErrVersion) {
			t.Errorf("%s: %v, want ErrVersion", c.name, err)
		}
	}
	// Earlier versions read version 1, and would reject a failure that they do not have.
	for reason, want := range map[job.FailureReason]byte{job.FailedSourceCorrupt: 1, job.FailedResultTooLarge: 2} {
		ended := job.Finished{At: at, State: job.Failed, Failure: &job.Failure{Reason: reason}}
		view := submitted().Job
		view.State, view.Failure = job.Failed, ended.Failure
		for name, p := range map[string]job.Proposal{
			"decision": {Kind: job.ProposeDecision, ID: job.NewID(), Finished: ended},
			"batch":    {Kind: job.ProposeBatch, Entries: []job.Entry{{}, {ID: job.NewID(), Events: []job.Event{job.Started{At: at}, ended}}}},
			"log":      {Kind: job.ProposeJob, View: submitted().Job, Log: []job.Event{job.Started{At: at}, ended}},
			"view":     {Kind: job.ProposeJob, View: view},
		} {
			data := p.AppendBinary(nil)
			if _, err := job.DecodeProposal(data); err != nil || data[0] != want {
				t.Errorf("%s with %v: version %d, error %v; want version %d", name, reason, data[0], err, want)
			}
		}
	}
	// The second record version, of a delayed job, is read by nodes that read the second version of proposals.
	delayed := submitted()
	delayed.Job.Delay = time.Second
	for name, p := range map[string]job.Proposal{
		"batch": {Kind: job.ProposeBatch, Entries: []job.Entry{{ID: job.NewID(), Events: []job.Event{delayed}}}},
		"view":  {Kind: job.ProposeJob, View: delayed.Job},
	} {
		data := p.AppendBinary(nil)
		if _, err := job.DecodeProposal(data); err != nil || data[0] != 2 {
			t.Errorf("%s with a delay: version %d, error %v; want version 2", name, data[0], err)
		}
	}
	// The author of a corrupt proposal is identified by its number.
	p.Number = 77
	got, err := job.DecodeProposal(append(p.AppendBinary(nil), 0))
	if !errors.Is(err, job.ErrCorrupt) || got.Number != 77 {
		t.Errorf("number %d, %v", got.Number, err)
	}
}

// A proposal that contains a record, an event, a failure or items of a later version is of another version, not corrupt: a
// corrupt proposal is rejected by all nodes alike, but the nodes of the later version would apply this one.
func TestProposalOfLaterParts(t *testing.T) {
	id := job.NewID()
	ended := job.Finished{At: at, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: "detail of it"}}
	sub := submitted()
	items := job.TaskProgress{Done: true}
	items.Items.Add(0, []byte("1"), 0)
	for name, c := range map[string]struct {
		p job.Proposal
		// find is text of the encoded proposal, at is the offset from it of the byte that becomes another.
		find string
		at   int
		to   byte
	}{
		"record of a batch":     {job.Proposal{Kind: job.ProposeBatch, Entries: []job.Entry{{ID: id, Events: []job.Event{sub}}}}, string(sub.Job.ID[:]), -1, byte(job.Formats)},
		"record of an import":   {job.Proposal{Kind: job.ProposeJob, View: sub.Job, Log: []job.Event{job.Started{At: at}}}, string(sub.Job.ID[:]), -1, byte(job.Formats)},
		"event of a batch":      {job.Proposal{Kind: job.ProposeBatch, Entries: []job.Entry{{ID: id, Events: []job.Event{job.Started{At: at}}}}}, string(job.AppendEvent(nil, job.Started{At: at})), 0, 99},
		"event of a decision":   {job.Proposal{Kind: job.ProposeDecision, ID: id, Finished: ended}, string(id[:]), 16, 99},
		"event of an import":    {job.Proposal{Kind: job.ProposeJob, View: sub.Job, Log: []job.Event{job.Started{At: at}}}, string(job.AppendEvent(nil, job.Started{At: at})), 0, 99},
		"failure of a batch":    {job.Proposal{Kind: job.ProposeBatch, Entries: []job.Entry{{ID: id, Events: []job.Event{ended}}}}, "detail of it", -2, 99},
		"failure of a decision": {job.Proposal{Kind: job.ProposeDecision, ID: id, Finished: ended}, "detail of it", -2, 99},
		"items of a batch":      {job.Proposal{Kind: job.ProposeBatch, Entries: []job.Entry{{ID: id, Events: []job.Event{items}}}}, string(job.AppendEvent(nil, items)), 7, 99},
	} {
		data := c.p.AppendBinary(nil)
		if _, err := job.DecodeProposal(data); err != nil {
			t.Fatalf("%s: got %v, want none before the change", name, err)
		}
		i := bytes.Index(data, []byte(c.find))
		if i < 0 {
			t.Fatalf("%s: the proposal does not contain %q", name, c.find)
		}
		data[i+c.at] = c.to
		if _, err := job.DecodeProposal(data); !errors.Is(err, job.ErrVersion) || errors.Is(err, job.ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrVersion", name, err)
		}
	}
}

func FuzzDecodeProposal(f *testing.F) {
	for _, p := range someProposals() {
		f.Add(p.AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := job.DecodeProposal(data)
		if err != nil {
			if !errors.Is(err, job.ErrCorrupt) && !errors.Is(err, job.ErrVersion) {
				t.Errorf("error %v is of no kind", err)
			}
			return
		}
		var items uint64
		for _, e := range append(p.Entries, job.Entry{Events: append(p.Log, p.Finished)}) {
			for _, ev := range e.Events {
				items += job.Seqs(ev)
			}
		}
		if items > 1<<16 {
			return // few bytes may stand for many items, which take long to encode one by one
		}
		again := p.AppendBinary(nil)
		q, err := job.DecodeProposal(again)
		if err != nil {
			t.Fatalf("%+v encodes to what cannot be decoded: %v", p, err)
		}
		if !bytes.Equal(q.AppendBinary(nil), again) {
			t.Errorf("%+v became %+v", p, q)
		}
	})
}

func TestRate(t *testing.T) {
	var r job.Rate
	now := time.Unix(1000, 0)
	if d := r.RetryAfter(now, 1); d != 10*time.Second {
		t.Errorf("before any job ended: %v", d)
	}
	for range 160 {
		r.Add(now)
	}
	for _, c := range []struct {
		after time.Duration
		n     int
		want  time.Duration
	}{
		{0, 1, time.Second},
		{0, 50, 5 * time.Second},
		{15 * time.Second, 100, 10 * time.Second},
		{15 * time.Second, 100_000, time.Minute},
		{16 * time.Second, 100, 10 * time.Second}, // the window is empty
		{16 * time.Second, 1, 10 * time.Second},
		{time.Hour, 1, 10 * time.Second},
	} {
		if d := r.RetryAfter(now.Add(c.after), c.n); d != c.want {
			t.Errorf("%d jobs, %v later: %v, want %v", c.n, c.after, d, c.want)
		}
	}
}
