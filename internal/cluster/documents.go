package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/notify"
)

// Documents are messages of a stream of their own, the last one of each subject, and their revisions its sequence numbers. The log
// cannot have them, because it is trimmed. A message without data is a deletion.

// documents has the documents in the memory of this node. It follows the stream, and has the updates of this node at once.
type documents struct {
	mu       sync.Mutex
	last     map[string]job.Document // deletions too, without a value
	seq      uint64                  // of the stream
	watchers map[notify.Signal]struct{}
}

func (d *documents) init() {
	d.last, d.watchers = make(map[string]job.Document), make(map[notify.Signal]struct{})
}

// set applies a message of the stream.
func (d *documents) set(doc job.Document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc.Revision <= d.last[doc.Name].Revision {
		return
	}
	d.last[doc.Name] = doc
	for w := range d.watchers {
		w.Notify()
	}
}

func (c *Cluster) documentStream() string { return c.upper() + "_DOCUMENTS" }

// documentSubject returns the subject of a document. A dot separates the tokens of a subject, so "=" stands for it.
func (c *Cluster) documentSubject(name string) string {
	return c.cfg.Prefix + ".documents." + strings.ReplaceAll(name, ".", "=")
}

func (c *Cluster) documentName(subject string) string {
	return strings.ReplaceAll(strings.TrimPrefix(subject, c.cfg.Prefix+".documents."), "=", ".")
}

// loadDocuments creates the stream if it is missing, and reads all documents.
func (c *Cluster) loadDocuments(ctx context.Context) error {
	s, err := c.stream(ctx, jetstream.StreamConfig{
		Name: c.documentStream(), Description: "Pauses and schedules of gather.", Subjects: []string{c.cfg.Prefix + ".documents.*"},
		Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1,
		// No direct gets, because a server that lags may answer them.
	})
	if err != nil {
		return err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(c.cfg.Prefix+".documents.*"))
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		doc, err := c.lastDocument(ctx, c.documentName(subject))
		if err != nil {
			return err
		}
		c.documents.set(doc)
	}
	c.documents.mu.Lock()
	c.documents.seq = info.State.LastSeq
	c.documents.mu.Unlock()
	return nil
}

// lastDocument reads the last message of a document from the server that leads the stream: with a revision and no value for a
// deletion, with none for a document that never existed.
func (c *Cluster) lastDocument(ctx context.Context, name string) (job.Document, error) {
	doc := job.Document{Name: name}
	s, err := c.js.Stream(ctx, c.documentStream())
	if err != nil {
		return doc, err
	}
	m, err := s.GetLastMsgForSubject(ctx, c.documentSubject(name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return doc, nil
	}
	if err != nil {
		return doc, err
	}
	return newDocument(name, m.Data, m.Sequence), nil
}

func newDocument(name string, data []byte, seq uint64) job.Document {
	doc := job.Document{Name: name, Revision: seq}
	if len(data) > 0 {
		doc.Value = data
	}
	return doc
}

// watchDocuments follows the stream, until ctx is done.
func (c *Cluster) watchDocuments(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.followDocuments(ctx); err != nil && ctx.Err() == nil {
			c.log.Debug("watch the documents", "error", err)
		}
		select {
		case <-time.After(applyPause):
		case <-ctx.Done():
		}
	}
}

func (c *Cluster) followDocuments(ctx context.Context) error {
	d := &c.documents
	d.mu.Lock()
	from := d.seq + 1
	d.mu.Unlock()
	return c.consume(ctx, c.documentStream(), from, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		d.set(newDocument(c.documentName(msg.Subject()), msg.Data(), meta.Sequence.Stream))
		d.mu.Lock()
		d.seq = max(d.seq, meta.Sequence.Stream)
		d.mu.Unlock()
		return nil
	})
}

// Documents returns the documents whose names begin with a prefix, by name, from the copy of this node.
func (c *Cluster) Documents(ctx context.Context, prefix string) ([]job.Document, error) {
	d := &c.documents
	d.mu.Lock()
	defer d.mu.Unlock()
	found := slices.DeleteFunc(slices.Collect(maps.Values(d.last)), func(doc job.Document) bool {
		return doc.Value == nil || !strings.HasPrefix(doc.Name, prefix)
	})
	slices.SortFunc(found, func(a, b job.Document) int { return cmp.Compare(a.Name, b.Name) })
	return found, ctx.Err()
}

// Document returns a document, or one with a revision of 0 if it is missing. It returns job.ErrStorage if the cluster cannot be reached.
func (c *Cluster) Document(ctx context.Context, name string) (job.Document, error) {
	doc, err := c.currentDocument(ctx, name)
	if doc.Value == nil {
		doc.Revision = 0
	}
	return doc, err
}

func (c *Cluster) currentDocument(ctx context.Context, name string) (job.Document, error) {
	try, cancel := context.WithTimeout(ctx, c.cfg.stallAfter)
	defer cancel()
	doc, err := c.lastDocument(try, name)
	if err != nil {
		return doc, documentError(ctx, err)
	}
	c.documents.set(doc)
	return doc, nil
}

// documentError returns job.ErrStorage for an error of JetStream, unless ctx is done.
func documentError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return newRejection("documents", fmt.Sprintf("the cluster does not store documents now: %v", err), time.Second)
}

// PutDocument replaces the document of a revision, 0 for a new one, and returns the new revision when a quorum has it. A nil value
// deletes it. It returns job.ErrChanged if the document has another revision, or job.ErrStorage if the cluster cannot be reached;
// the update may then still take effect later.
func (c *Cluster) PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error) {
	if err := c.checkHealthy(); err != nil {
		return 0, asRejection(err)
	}
	expected := revision
	if revision == 0 { // new, or deleted before
		doc, err := c.currentDocument(ctx, name)
		switch {
		case err != nil:
			return 0, err
		case doc.Value != nil:
			return 0, job.ErrChanged
		case value == nil:
			return 0, nil
		}
		expected = doc.Revision
	}
	try, cancel := context.WithTimeout(ctx, c.cfg.stallAfter)
	defer cancel()
	ack, err := c.js.Publish(try, c.documentSubject(name), value,
		jetstream.WithExpectStream(c.documentStream()), jetstream.WithExpectLastSequencePerSubject(expected),
		jetstream.WithMsgID(uuid.NewString()), jetstream.WithRetryAttempts(2))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == codeSequenceInWork) {
		return 0, job.ErrChanged
	}
	if err != nil {
		return 0, documentError(ctx, err)
	}
	c.documents.set(newDocument(name, value, ack.Sequence))
	return ack.Sequence, nil
}

// codeSequenceInWork is the code of the server for an update that lost against one that is in progress.
const codeSequenceInWork = 10164

// WatchDocuments returns a channel that is signalled after updates of documents. The caller must call stop.
func (c *Cluster) WatchDocuments() (changed <-chan struct{}, stop func()) {
	d := &c.documents
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
