package cluster_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"gather/internal/cluster"
	"gather/internal/job"
)

var update = flag.Bool("update", false, "make missing golden data; existing data never changes")

// century is a retention that outlives the tests.
const century = 100 * 365 * 24 * time.Hour

func keepCentury(c *cluster.Config) { c.TombstoneRetention, c.KeyRetention = century, century }

// writeGolden has a node write every kind of proposal, and returns the messages of the log, a line each, and its jobs.
func writeGolden(t *testing.T) (messages string, ids []job.ID) {
	t.Helper()
	f := newTestCluster(t, 1)
	a := f.open("a", keepCentury)
	keep := func(j *job.Job) { j.Retention, j.Labels = century, map[string]string{"team": "red"} }
	submit := func(change ...func(*job.Job)) job.ID {
		ids = append(ids, a.submit(2, append(change, keep)...))
		return ids[len(ids)-1]
	}
	submit()
	submit(func(j *job.Job) { j.Delay, j.StartAfter = century, time.Now().Add(century) })
	var items job.Items
	items.Add(0, []byte("0"), time.Millisecond)
	items.AddError(1, "not now", time.Millisecond)
	running := submit()
	f.ok(a.events(running, job.Started{At: a.Now()}, job.TaskProgress{Task: 0, Done: true, Completed: 1, Failed: 1, Items: items, Partial: []byte{1}}))
	for _, reason := range job.FailureReasons() {
		id := submit()
		f.ok(a.events(id, job.Started{At: a.Now()}, job.Finished{At: a.Now(), State: job.Failed, Failure: &job.Failure{Reason: reason, Detail: "why"}}))
	}
	keyed := newJob(1, keep)
	b := batch(keyed)
	b.Key = &job.Key{Tenant: "t", Route: "POST /v1/jobs", Value: "k", Expires: a.Now().Add(century)}
	b.Admission = &job.Admission{Jobs: 100, Sizes: []job.Size{{Waiting: 1, Memory: 2}}}
	f.ok(a.append(b))
	ids = append(ids, keyed.Job.ID)
	cancelled, deleted := submit(), submit()
	_, err := a.Cancel(t.Context(), "t", cancelled)
	f.ok(err)
	f.ok(a.events(deleted, job.Started{At: a.Now()}, job.Finished{At: a.Now(), State: job.Succeeded, Result: []byte("1")}))
	f.ok(a.Delete(t.Context(), "t", deleted))
	lease := a.lease() // join
	f.ok(lease.Start(t.Context()))
	lease.Decide(job.Finished{State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: "decided"}})
	lease.End() // leave
	imported := newJob(1, keep)
	ended := []job.Event{imported, job.Started{At: a.Now()}, job.Finished{At: a.Now(), State: job.Succeeded, Result: []byte("1")}}
	view := job.Job{}
	for _, ev := range ended {
		view, err = job.Apply(view, ev)
		f.ok(err)
	}
	ids = append(ids, view.ID)
	f.ok(a.ImportJob(t.Context(), view, nil, ended, nil))
	f.ok(a.ImportKey(t.Context(), job.KeyRecord{Hash: [32]byte{1}, Fingerprint: [32]byte{2}, Expires: a.Now().Add(century), IDs: ids[:1]}))
	f.ok(a.ImportTombstone(t.Context(), job.Tombstone{Tenant: "t", ID: job.NewID(), Expires: a.Now().Add(century)}))
	f.eventually("the decided job has ended", func() bool { return a.get(lease.Job.ID).State == job.Failed })
	a.close()
	parts := newJob(1, keep)
	ids = append(ids, parts.Job.ID)
	publishParts(f, job.Proposal{Kind: job.ProposeBatch, At: time.Now(), Entries: batch(parts).Entries})
	_, last := f.logRange()
	for _, p := range []job.Proposal{
		{Kind: job.ProposeTrim, At: time.Now(), First: 1, Before: 1, Through: last},
		{Kind: job.ProposeLargeTrim, At: time.Now(), First: 1, Before: 1, Through: last, Parts: last + 2},
	} {
		f.publishProposal("trim", &p)
	}
	return f.messages("FLEET_LOG"), ids
}

// publishParts publishes a write of another node in three messages.
func publishParts(f *testCluster, p job.Proposal) {
	f.Helper()
	body := p.AppendBinary(nil)
	body = append(binary.AppendUvarint(nil, uint64(len(body))), body...)
	third := len(body) / 3
	for part, data := range [][]byte{body[:third], body[third : 2*third], body[2*third:]} {
		_, err := f.jetStream().Publish(f.Context(), f.cfg.Prefix+".log.parts", append([]byte{1, byte(part + 1)}, data...))
		f.ok(err)
	}
}

// The messages of a log of the first version are applied, with the same state. See job.Format.
func TestGoldenLog(t *testing.T) {
	t.Parallel()
	const golden = "testdata/v1"
	if _, err := os.Stat(golden); *update && os.IsNotExist(err) {
		messages, ids := writeGolden(t)
		writeFiles(t, golden, map[string]string{"log.txt": messages, "ids.txt": fmt.Sprint(ids), "content.txt": applyGolden(t, messages, ids, (*node).describe)})
	}
	read := readFiles(t, golden)
	if got, want := applyGolden(t, read("log.txt"), parseIDs(t, read("ids.txt")), (*node).describe), read("content.txt"); got != want {
		t.Errorf("the state is\n%s\nwant\n%s", got, want)
	}
}

// applyGolden returns the state of a node that applies messages to an empty replica.
func applyGolden(t *testing.T, messages string, ids []job.ID, describe func(n *node, ids []job.ID) string) string {
	t.Helper()
	f := newTestCluster(t, 1)
	f.open("before").close() // makes the streams
	f.publishMessages(messages)
	n := f.open("after", keepCentury)
	f.catchUp(n)
	return describe(n, ids)
}
