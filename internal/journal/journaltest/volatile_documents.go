package journaltest

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"gather/internal/job"
	"gather/internal/notify"
)

// Documents returns the documents whose names begin with a prefix, by name.
func (v *Volatile) Documents(ctx context.Context, prefix string) ([]job.Document, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []job.Document
	for name, d := range v.documents {
		if strings.HasPrefix(name, prefix) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b job.Document) int { return cmp.Compare(a.Name, b.Name) })
	return found, ctx.Err()
}

// Document returns a document; a revision of 0 if it is missing.
func (v *Volatile) Document(ctx context.Context, name string) (job.Document, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d, ok := v.documents[name]; ok {
		return d, ctx.Err()
	}
	return job.Document{Name: name}, ctx.Err()
}

// PutDocument replaces the document of a revision, or deletes it.
func (v *Volatile) PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if v.documents[name].Revision != revision {
		return 0, job.ErrChanged
	}
	if value == nil && revision == 0 {
		return 0, nil
	}
	v.revision++
	switch {
	case value == nil:
		delete(v.documents, name)
	default:
		if v.documents == nil {
			v.documents = make(map[string]job.Document)
		}
		v.documents[name] = job.Document{Name: name, Value: slices.Clone(value), Revision: v.revision}
	}
	for s := range v.observers {
		s.Notify()
	}
	return v.revision, nil
}

// WatchDocuments returns a channel that is signalled after updates.
func (v *Volatile) WatchDocuments() (changed <-chan struct{}, stop func()) {
	s := notify.New()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.observers == nil {
		v.observers = make(map[notify.Signal]struct{})
	}
	v.observers[s] = struct{}{}
	return s, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.observers, s)
	}
}
