package cluster

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"time"

	"gather/internal/job"
)

// copyTimeout limits the last copy of a node that stops.
const copyTimeout = 5 * time.Second

// copyDocuments copies changed documents into the replica, so that a backup and an import from it have them, until ctx is done. A
// document that is missing in the stream stays in the replica unless it was deleted: the stream may be lost.
func (c *Cluster) copyDocuments(ctx context.Context) {
	changed, stop := c.WatchDocuments()
	defer stop()
	copied := make(map[string]uint64) // the revisions in the stream, by name
	for ctx.Err() == nil {
		var retry <-chan time.Time
		if err := c.copyChanged(ctx, copied); err != nil && ctx.Err() == nil {
			c.log.Debug("copy the documents", "error", err)
			retry = time.After(applyPause)
		}
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), copyTimeout)
	defer cancel()
	if err := c.copyChanged(last, copied); err != nil {
		c.log.Warn("the replica does not have the last changes of pauses and schedules", "error", err)
	}
}

func (c *Cluster) copyChanged(ctx context.Context, copied map[string]uint64) error {
	c.documents.mu.Lock()
	all := maps.Clone(c.documents.last)
	c.documents.mu.Unlock()
	var errs []error
	for name, doc := range all {
		if copied[name] == doc.Revision {
			continue
		}
		err := c.copyDocument(ctx, &doc)
		if err == nil {
			copied[name] = doc.Revision
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// copyDocument writes a document, which nothing else writes in the replica.
func (c *Cluster) copyDocument(ctx context.Context, doc *job.Document) error {
	old, err := c.replica.Document(ctx, doc.Name)
	if err != nil || bytes.Equal(old.Value, doc.Value) {
		return err
	}
	_, err = c.replica.PutDocument(ctx, doc.Name, doc.Value, old.Revision)
	return err
}
