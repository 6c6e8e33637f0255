package api

import (
	"time"

	"gather/internal/job"
)

// readMemory is the memory that a page of events or items needs: while it is read, for its decoded form too, and while it is written,
// for a part of its encoding. More is reserved for a page whose last event is larger than that leaves room for.
const readMemory = 2*job.PageBytes + job.PageBytes/2

// reserveRead reserves n bytes of the readers' budget until the end of the response or the next resizeRead. It waits
// for a second longer than WriteTimeout, when readers that stalled before it began have been disconnected. A response
// that already holds enough does not wait again. Errors: *job.Rejection, the cause of the context.
func (x *requestState) reserveRead(n int64) error {
	n = min(n, x.srv.readers.share)
	if x.read > 0 {
		x.resizeRead(n)
		return nil
	}
	if err := x.srv.readers.wait(x, x.principal.Tenant, n, x.srv.WriteTimeout+time.Second); err != nil {
		return err
	}
	x.read = n
	return nil
}

// resizeRead sets the response's share of the readers' budget to the size of the page it has read and of its encoding.
func (x *requestState) resizeRead(n int64) {
	x.srv.readers.adjust(x.principal.Tenant, n-x.read)
	x.read, x.page = n, n
}

// holdPage records the size of the page that was read. The rest of what is reserved is for its encoding.
func (x *requestState) holdPage(size int) {
	x.resizeRead(max(x.read, int64(size)))
	x.page = int64(size)
}

// encoding counts n bytes of an encoded response toward the response's share of the budget, and returns how to release them.
func (x *requestState) encoding(n int) (release func()) {
	more := x.page + int64(n) - x.read
	if x.read == 0 || more <= 0 {
		return func() {}
	}
	x.srv.readers.adjust(x.principal.Tenant, more)
	return func() { x.srv.readers.adjust(x.principal.Tenant, -more) }
}

// readLog reads a page of a job's log.
func (x *requestState) readLog(id job.ID, after uint64, limit int) ([]job.LogRecord, error) {
	if err := x.reserveRead(readMemory); err != nil {
		return nil, err
	}
	records, err := x.srv.Log.Log(x, id, after, limit)
	size := 0
	for i := range records {
		size += job.EventBytes(records[i].Event)
	}
	x.holdPage(size)
	return records, err
}

// readByIndex reads a page of items and reports whether more may follow.
func (x *requestState) readByIndex(id job.ID, after int64, limit int) (page []job.Item, more bool, err error) {
	if err := x.reserveRead(readMemory); err != nil {
		return nil, false, err
	}
	page, err = x.srv.Log.ItemsByIndex(x, id, after, limit)
	size := 0
	for i := range page {
		size += page[i].Bytes()
	}
	x.holdPage(size)
	return page, len(page) >= limit || size >= job.PageBytes, err
}
