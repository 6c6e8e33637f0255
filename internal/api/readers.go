package api

import (
	"context"
	"time"

	"gather/internal/job"
)

// readMemory is the largest memory of a page of events or items while it is read: the page, and its decoded form.
const readMemory = 2 * job.PageBytes

// beginRead reserves n bytes of the readers' budget, which the answer holds until its end or until holdRead. It waits for
// them a second longer than WriteTimeout: by then readers that stalled at its beginning have been cut off. An answer that
// has its bytes already does not wait again. Errors: *job.Rejection, the cause of the context.
func (x *requestState) beginRead(n int64) error {
	n = min(n, x.srv.readers.share)
	if x.read > 0 {
		x.holdRead(n)
		return nil
	}
	if err := x.srv.readers.wait(x, x.principal.Tenant, n, x.srv.WriteTimeout+time.Second); err != nil {
		return err
	}
	x.read = n
	return nil
}

// holdRead sets the share of the readers' budget that the answer holds, for the page that it has read and the encoding
// of that.
func (x *requestState) holdRead(n int64) {
	x.srv.readers.adjust(x.principal.Tenant, n-x.read)
	x.read = n
}

// readLog reads a page of a log.
func (x *requestState) readLog(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error) {
	if err := x.beginRead(readMemory); err != nil {
		return nil, err
	}
	records, err := x.srv.Log.Log(ctx, id, after, limit)
	size := 0
	for i := range records {
		size += job.EventBytes(records[i].Event)
	}
	x.holdRead(max(x.read, int64(size)))
	return records, err
}

// readByIndex reads a page of items, and reports whether there may be more.
func (x *requestState) readByIndex(ctx context.Context, id job.ID, after int64, limit int) (page []job.Item, more bool, err error) {
	if err := x.beginRead(readMemory); err != nil {
		return nil, false, err
	}
	page, err = x.srv.Log.ItemsByIndex(ctx, id, after, limit)
	size := 0
	for i := range page {
		size += page[i].Bytes()
	}
	x.holdRead(max(x.read, int64(size)))
	return page, len(page) >= limit || size >= job.PageBytes, err
}
