package cluster_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster"
	"gather/internal/job"
)

// formats is the golden data of formats 2 to 7, and of the documents.
const formats = "testdata/v1/format7"

// writeFormats has a node write what formats 2 to 7 have added: delays, items of numbers, webhooks with their deliveries, groups, retries,
// and the trim of a snapshot; and documents. It returns the messages of both streams, a line each, and the jobs.
func writeFormats(t *testing.T) (log, documents string, ids []job.ID) {
	t.Helper()
	f := newTestCluster(t, 1)
	a := f.open("a", keepCentury)
	submit := func(change func(*job.Job)) job.ID {
		ids = append(ids, a.submit(1, func(j *job.Job) { j.Retention = century }, change))
		return ids[len(ids)-1]
	}
	var floats, integers job.Items
	floats.AddFloat(0, 0.25, time.Millisecond)
	integers.AddInt(0, -2, time.Millisecond)
	succeed := func(id job.ID, items job.Items) {
		f.ok(a.events(id, job.Started{At: a.Now()}, job.TaskProgress{Done: true, Completed: 1, Items: items},
			job.Finished{At: a.Now(), State: job.Succeeded, Result: []byte("1")}))
	}
	grouped := func(j *job.Job) { j.Group = "nightly" }
	hooked := func(j *job.Job) {
		grouped(j)
		j.Webhooks = []job.Webhook{{URL: "https://hooks.example/x", Events: job.AllEvents}, {URL: "https://hooks.example/y", Events: job.EventOf(job.Failed), Standing: true}}
	}
	submit(func(j *job.Job) { j.Delay, j.StartAfter = century, time.Now().Add(century) })
	succeed(submit(func(*job.Job) {}), floats)
	submit(grouped)
	succeed(submit(grouped), integers)
	delivered := submit(hooked)
	succeed(delivered, integers)
	_, err := a.ChangeDelivery(t.Context(), "t", delivered, job.DeliveryChange{
		Attempt: &job.Attempt{At: a.Now(), Duration: time.Second, Status: 204}, State: job.DeliveryDone,
	})
	f.ok(err)
	failed := submit(hooked) // its deliveries are pending
	f.ok(a.events(failed, job.Started{At: a.Now()}, job.Finished{At: a.Now(), State: job.Failed, Failure: &job.Failure{Reason: job.FailedResultTooLarge, Detail: "too large"}}))
	submit(func(j *job.Job) { j.Group, j.RetryOf = "nightly", failed })
	gone := submit(grouped)
	succeed(gone, floats)
	f.ok(a.Delete(t.Context(), "t", gone))
	pause := job.Pause{Scope: job.PauseKind, Name: "squares", Reason: "a move", At: a.Now()}
	_, err = a.PutDocument(t.Context(), pause.DocumentName(), pause.Encode(), 0)
	f.ok(err)
	revision, err := a.PutDocument(t.Context(), "schedule/t/nightly.v1", []byte(`{"format":1}`), 0)
	f.ok(err)
	_, err = a.PutDocument(t.Context(), "schedule/t/nightly.v1", []byte(`{"format":1,"name":"nightly.v1"}`), revision)
	f.ok(err)
	revision, err = a.PutDocument(t.Context(), "schedule/t/gone", []byte(`{"format":1}`), 0)
	f.ok(err)
	_, err = a.PutDocument(t.Context(), "schedule/t/gone", nil, revision)
	f.ok(err)
	a.close()
	_, last := f.logRange()
	trim := job.Proposal{Kind: job.ProposeSnapshotTrim, At: time.Now(), First: 1, Before: 1, Through: last}
	f.publishProposal("trim", &trim)
	return f.messages("FLEET_LOG"), f.messages("FLEET_DOCUMENTS"), ids
}

// describeFormats is describe, with groups and documents.
func (n *node) describeFormats(ids []job.ID) string {
	n.f.Helper()
	text := n.describe(ids)
	groups, err := n.Groups(n.f.Context(), "t", "", 10)
	n.f.ok(err)
	for _, g := range groups {
		text += fmt.Sprintf("group %+v\n", g)
		ends, err := n.GroupEnds(n.f.Context(), "t", g.Name, 0, 10)
		n.f.ok(err)
		for _, e := range ends {
			text += fmt.Sprintf("end %d %s\n", e.Seq, e.ID)
		}
	}
	docs, err := n.Documents(n.f.Context(), "")
	n.f.ok(err)
	for _, d := range docs {
		text += fmt.Sprintf("document %s %q\n", d.Name, d.Value)
	}
	return text
}

// The messages of formats 2 to 7 and of documents are applied, with the same state, as the first version with all of them wrote them. See
// job.Format.
func TestGoldenFormats(t *testing.T) {
	t.Parallel()
	describe := (*node).describeFormats
	if _, err := os.Stat(formats); *update && os.IsNotExist(err) {
		log, documents, ids := writeFormats(t)
		writeFiles(t, formats, map[string]string{
			"log.txt": log, "documents.txt": documents, "ids.txt": fmt.Sprint(ids), "content.txt": applyGolden(t, log+documents, ids, describe),
		})
	}
	read := readFiles(t, formats)
	if got, want := applyGolden(t, read("log.txt")+read("documents.txt"), parseIDs(t, read("ids.txt")), describe), read("content.txt"); got != want {
		t.Errorf("the state is\n%s\nwant\n%s", got, want)
	}
}

// The manifest of a snapshot is read as the first version with snapshots wrote it.
func TestGoldenManifest(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(formats, "manifest.json")); *update && os.IsNotExist(err) {
		f := newTestCluster(t, 1)
		a := f.open("a", compacting)
		a.churn(10)
		a.compact()
		data, err := f.snapshots().GetBytes(t.Context(), f.objects(false)[0])
		f.ok(err)
		writeFiles(t, formats, map[string]string{"manifest.json": string(data)})
	}
	data := readFiles(t, formats)("manifest.json")
	again, err := cluster.ParseManifest([]byte(data))
	if err != nil || string(again) != data {
		t.Errorf("got manifest %s (%v), want %s", again, err, data)
	}
	later := strings.Replace(data, `"version":1`, `"version":2`, 1)
	if _, err := cluster.ParseManifest([]byte(later)); !errors.Is(err, job.ErrVersion) {
		t.Errorf("a manifest of version 2: got error %v, want %v", err, job.ErrVersion)
	}
}

// FuzzManifest decodes manifests, which is an error or gives one that can be used: one that is encoded and decoded again is the same.
func FuzzManifest(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join(formats, "manifest.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"log":"x","from":1,"seq":2,"n":-1,"parts":[{"bytes":-1,"sha256":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := cluster.ParseManifest(data)
		if err != nil {
			if !errors.Is(err, cluster.ErrUnusable) && !errors.Is(err, job.ErrVersion) {
				t.Errorf("got error %v, want %v or %v", err, cluster.ErrUnusable, job.ErrVersion)
			}
			return
		}
		again, err := cluster.ParseManifest(m)
		if err != nil || string(again) != string(m) {
			t.Errorf("got %s (%v) after another round, want %s", again, err, m)
		}
	})
}

// parseIDs parses the ids of a file of golden data.
func parseIDs(t *testing.T, text string) (ids []job.ID) {
	t.Helper()
	for one := range strings.FieldsSeq(strings.Trim(text, "[]")) {
		id, err := job.ParseID(one)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func readFiles(t *testing.T, dir string) func(file string) string {
	t.Helper()
	return func(file string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}

// messages returns the messages of a stream, a line each.
func (f *testCluster) messages(name string) string {
	f.Helper()
	stream, err := f.jetStream().Stream(f.Context(), name)
	f.ok(err)
	var text strings.Builder
	for seq := stream.CachedInfo().State.FirstSeq; seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(f.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) { // of a document that was changed
			continue
		}
		f.ok(err)
		fmt.Fprintf(&text, "%s\t%x\n", m.Subject, m.Data)
	}
	return text.String()
}

// publishMessages publishes messages, a line each.
func (f *testCluster) publishMessages(messages string) {
	f.Helper()
	for line := range strings.Lines(messages) {
		subject, digits, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		data, err := hex.DecodeString(digits)
		f.ok(err)
		_, err = f.jetStream().Publish(f.Context(), subject, data)
		f.ok(err)
	}
}

// publishProposal publishes a proposal as a node does.
func (f *testCluster) publishProposal(subject string, p *job.Proposal) {
	f.Helper()
	body := p.AppendBinary(nil)
	_, err := f.jetStream().Publish(f.Context(), f.cfg.Prefix+".log."+subject, append(binary.AppendUvarint([]byte{1, 0}, uint64(len(body))), body...))
	f.ok(err)
}
