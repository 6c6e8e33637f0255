package cluster_test

import (
	"fmt"
	"testing"

	"gather/internal/journal"
)

// TestDocumentsInReplica tests that the replica of a stopped node has the documents that the node had: those of other nodes, without the
// deleted ones, also if the stream was lost before a restart.
func TestDocumentsInReplica(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	a, b := f.open("a"), f.open("b")
	put := func(name, value string, revision uint64) uint64 {
		var data []byte
		if value != "" {
			data = []byte(value)
		}
		revision, err := a.PutDocument(t.Context(), name, data, revision)
		f.ok(err)
		return revision
	}
	check := func(n *node, want string) {
		t.Helper()
		f.eventually("the node has the documents", func() bool {
			docs, err := n.Documents(t.Context(), "")
			f.ok(err)
			got := ""
			for _, doc := range docs {
				got += fmt.Sprintf("%s=%s ", doc.Name, doc.Value)
			}
			return got == want
		})
		n.close()
		if got := replicaDocuments(t, n.dir); got != want {
			t.Errorf("the replica of %s has %q, want %q", n.dir, got, want)
		}
	}
	put("pause/kind/squares", "1", 0)
	deleted := put("pause/kind/array_sum", "1", 0)
	changed := put("schedule/t/s", "1", 0)
	check(b, "pause/kind/array_sum=1 pause/kind/squares=1 schedule/t/s=1 ")
	put("pause/kind/array_sum", "", deleted)
	put("schedule/t/s", "2", changed)
	const want = "pause/kind/squares=1 schedule/t/s=2 "
	check(f.open("b"), want)
	check(a, want)
	f.s.DeleteStreams(t, "FLEET_DOCUMENTS")
	f.open("b").close()
	if got := replicaDocuments(t, b.dir); got != want {
		t.Errorf("after the loss of the stream the replica has %q, want %q", got, want)
	}
}

// replicaDocuments returns the documents in the replica of a stopped node.
func replicaDocuments(t *testing.T, dir string) (text string) {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	docs, err := j.Documents(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		text += fmt.Sprintf("%s=%s ", doc.Name, doc.Value)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return text
}
