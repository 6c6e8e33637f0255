package journal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
	"gather/internal/notify"
)

// documents holds the documents of a server. The replica of a node has copies of the documents that the nodes share.
type documents struct {
	// head has the documents after the last request; owned by the writer.
	head map[string]job.Document

	mu       sync.Mutex
	durable  map[string]job.Document
	watchers map[notify.Signal]struct{}
}

// loadDocuments reads the documents at the start.
func (j *Journal) loadDocuments(ctx context.Context) error {
	d := &j.documents
	d.durable, d.watchers = make(map[string]job.Document), make(map[notify.Signal]struct{})
	err := scan(ctx, j.db, []byte{spaceDocument}, []byte{spaceDocument + 1}, func(key, value []byte) error {
		revision, n := binary.Uvarint(value)
		if n <= 0 {
			return corrupt("document")
		}
		doc := job.Document{Name: string(key[1:]), Value: bytes.Clone(value[n:]), Revision: revision}
		d.durable[doc.Name] = doc
		return nil
	})
	d.head = maps.Clone(d.durable)
	return err
}

// keepDocuments writes all documents again, after the content of the replica was replaced. The writer calls it.
func (j *Journal) keepDocuments() error {
	b := j.db.NewBatch()
	for _, doc := range j.documents.head {
		setDocument(b, &doc)
	}
	return errors.Join(b.Commit(pebble.NoSync), b.Close())
}

// setDocument adds a document to a batch.
func setDocument(b *pebble.Batch, doc *job.Document) {
	_ = b.Set(documentKey(doc.Name), append(binary.AppendUvarint(nil, doc.Revision), doc.Value...), nil)
}

func documentKey(name string) []byte { return append([]byte{spaceDocument}, name...) }

// Documents returns the durable documents whose names begin with a prefix, by name.
func (j *Journal) Documents(ctx context.Context, prefix string) ([]job.Document, error) {
	d := &j.documents
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []job.Document
	for name, doc := range d.durable {
		if strings.HasPrefix(name, prefix) {
			found = append(found, doc)
		}
	}
	slices.SortFunc(found, func(a, b job.Document) int { return cmp.Compare(a.Name, b.Name) })
	return found, ctx.Err()
}

// Document returns a durable document; a revision of 0 if it is missing.
func (j *Journal) Document(ctx context.Context, name string) (job.Document, error) {
	d := &j.documents
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc, ok := d.durable[name]; ok {
		return doc, ctx.Err()
	}
	return job.Document{Name: name}, ctx.Err()
}

// PutDocument replaces the document of a revision, 0 for a new one, and returns the new revision when it is durable. A nil value
// deletes it. It returns job.ErrChanged if the document has another revision, or job.ErrStorage while the disk fails; the update may
// then still become durable later.
func (j *Journal) PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error) {
	result := make(chan error, 1)
	req := &request{bytes: int64(len(name) + len(value) + 128), done: func(err error) { result <- err }}
	changed, next := false, uint64(0)
	req.op = func(b *pebble.Batch) func() {
		d := &j.documents
		old := d.head[name]
		if changed = old.Revision != revision; changed || value == nil && revision == 0 {
			return nil
		}
		// A time, so that a revision is not used again after a deletion.
		doc := job.Document{Name: name, Value: value, Revision: max(old.Revision+1, uint64(j.now().UnixNano()))}
		if value == nil {
			delete(d.head, name)
			_ = b.Delete(documentKey(name), nil)
		} else {
			d.head[name] = doc
			setDocument(b, &doc)
		}
		next = doc.Revision
		return func() { d.publish(doc) }
	}
	req.makePrompt()
	if err := j.enqueue(req, 0); err != nil {
		return 0, err
	}
	select {
	case err := <-result:
		if err == nil && changed {
			err = job.ErrChanged
		}
		if err != nil {
			return 0, err
		}
		return next, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// publish makes a durable update visible.
func (d *documents) publish(doc job.Document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc.Value == nil {
		delete(d.durable, doc.Name)
	} else {
		d.durable[doc.Name] = doc
	}
	for w := range d.watchers {
		w.Notify()
	}
}

// WatchDocuments returns a channel that is signalled after durable updates of documents. The caller must call stop.
func (j *Journal) WatchDocuments() (changed <-chan struct{}, stop func()) {
	d := &j.documents
	s := notify.New()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[s] = struct{}{}
	return s, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, s)
	}
}
