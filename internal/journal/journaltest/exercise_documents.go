package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gather/internal/job"
)

// put updates a document.
func (h *harness) put(name, value string, revision uint64) uint64 {
	h.Helper()
	next, err := h.j.PutDocument(h.Context(), name, []byte(value), revision)
	h.ok(err)
	return next
}

// names returns the names of the documents with a prefix.
func (h *harness) names(prefix string) string {
	h.Helper()
	list, err := h.j.Documents(h.Context(), prefix)
	h.ok(err)
	var names []string
	for _, d := range list {
		names = append(names, d.Name)
	}
	return fmt.Sprint(names)
}

func testDocuments(h *harness) {
	changed, stop := h.j.WatchDocuments()
	defer func() { stop() }()
	missing, err := h.j.Document(h.Context(), "a/x")
	h.ok(err)
	h.equal(missing.Revision, uint64(0))
	first := h.put("a/x", "one", 0)
	<-changed
	h.put("a/.y..z.", "two", 0) // dots anywhere
	h.put("b/x", "three", 0)
	h.equal(h.names("a/"), "[a/.y..z. a/x]")
	h.equal(h.names("c/"), "[]")
	_, err = h.j.PutDocument(h.Context(), "a/x", []byte("other"), 0)
	h.want(err, job.ErrChanged)
	second := h.put("a/x", "uno", first)
	if second == first {
		h.Errorf("got revision %d twice", second)
	}
	for _, stale := range []uint64{0, first, second + 1} {
		_, err = h.j.PutDocument(h.Context(), "a/x", nil, stale)
		h.want(err, job.ErrChanged)
	}
	stop()
	h.reopen()
	d, err := h.j.Document(h.Context(), "a/x")
	h.ok(err)
	h.equal(string(d.Value), "uno")
	h.equal(d.Revision, second)
	_, err = h.j.PutDocument(h.Context(), "a/x", nil, second)
	h.ok(err)
	_, err = h.j.PutDocument(h.Context(), "a/x", nil, second)
	h.want(err, job.ErrChanged)
	_, err = h.j.PutDocument(h.Context(), "a/x", nil, 0) // deletes nothing
	h.ok(err)
	h.equal(h.names(""), "[a/.y..z. b/x]")
	again := h.put("a/x", "anew", 0)
	if again == first || again == second {
		h.Errorf("got revision %d again after a deletion", again)
	}
	h.reopen()
	h.equal(h.names(""), "[a/.y..z. a/x b/x]")
	changed, stop = h.j.WatchDocuments()
	h.put("b/x", "drei", h.document("b/x").Revision)
	<-changed
	large := bytes.Repeat([]byte("x"), 200<<10)
	h.put("large", string(large), 0)
	h.equal(len(h.document("large").Value), len(large))
}

func (h *harness) document(name string) job.Document {
	h.Helper()
	d, err := h.j.Document(h.Context(), name)
	h.ok(err)
	return d
}

// testDocumentRace checks that of concurrent updates of one revision one succeeds.
func testDocumentRace(h *harness) {
	const writers, rounds = 4, 10
	counts := make([]int, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for counts[w] < rounds {
				d, err := h.j.Document(h.Context(), "n")
				if err == nil {
					_, err = h.j.PutDocument(h.Context(), "n", append(slices.Clip(d.Value), byte('a'+w)), d.Revision)
				}
				switch {
				case err == nil:
					counts[w]++
				case !errors.Is(err, job.ErrChanged):
					h.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	value := h.document("n").Value
	h.equal(len(value), writers*rounds)
	for w := range writers {
		h.equal(bytes.Count(value, []byte{byte('a' + w)}), rounds)
	}
}
