package api

import (
	"context"

	"gather/internal/job"
)

// logPage is about how many events and items one read of the log returns.
const logPage = 16384

// itemsOf returns the block of items of an event and the seq before its first.
func itemsOf(r *job.LogRecord) (block *job.Items, before uint64) {
	switch e := r.Event.(type) {
	case job.Advanced:
		return &e.Items, r.Seq - uint64(e.Items.Len())
	case job.Finished:
		return &e.Items, r.Seq - 1 - uint64(e.Items.Len())
	}
	return nil, 0
}

// appendItems appends those items of an event that come after a seq, each by line, until there are limit of them or b has
// flushSize. It returns how many, and the seq of the last.
func appendItems(
	b []byte, r *job.LogRecord, after uint64, limit int64, line func([]byte, *job.Item) []byte,
) (_ []byte, n int64, last uint64) {
	block, before := itemsOf(r)
	if block == nil {
		return b, 0, after
	}
	from := 0
	if after > before {
		from = int(min(after-before, uint64(block.Len())))
	}
	to := block.Len()
	if int64(to-from) > limit {
		to = from + int(limit)
	}
	var it job.Item // one for all: line makes it escape
	for i := from; i < to && len(b) < flushSize; i++ {
		it = block.At(i)
		it.Seq = before + uint64(i) + 1
		b = line(b, &it)
		n++
		after = it.Seq
	}
	return b, n, after
}

// hasItems reports whether an event has an item after a seq.
func hasItems(r *job.LogRecord, after uint64) bool {
	block, before := itemsOf(r)
	return block != nil && block.Len() > 0 && before+uint64(block.Len()) > after
}

// A reader is where results are read from: the log, or the index.
type reader interface {
	// read appends the next items to b until there are limit of them, b has flushSize, or another page must be read, and
	// returns how many. With none, more reports whether there is another item; with some, whether there may be. The
	// appended bytes must be written before the next read.
	read(ctx context.Context, b []byte, limit int64, line func([]byte, *job.Item) []byte) (_ []byte, n int64, more bool, err error)
	// cursor is the after that goes on where the last read ended.
	cursor() int64
}

// logReader reads items in the order of their completion, up to the seq of the job's view.
type logReader struct {
	x       *requestState
	id      job.ID
	end     uint64 // the seq of the view
	after   uint64 // the last event or item that was read
	last    int64  // the last item that was read, or where it began
	records []job.LogRecord
}

func (r *logReader) cursor() int64 { return r.last }

func (r *logReader) read(
	ctx context.Context, b []byte, limit int64, line func([]byte, *job.Item) []byte,
) (_ []byte, n int64, more bool, err error) {
	for r.after < r.end && n == 0 {
		if len(r.records) == 0 {
			if r.records, err = r.x.readLog(ctx, r.id, r.after, int(min(max(limit, 1), logPage))); err != nil {
				return b, n, false, err
			}
			if len(r.records) == 0 { // it was deleted meanwhile
				return b, n, false, nil
			}
		}
		for len(r.records) > 0 {
			rec := &r.records[0]
			var k int64
			b, k, r.after = appendItems(b, rec, r.after, limit-n, line)
			if n += k; k > 0 {
				r.last = int64(r.after)
			}
			if hasItems(rec, r.after) {
				return b, n, true, nil
			}
			r.after = rec.Seq
			r.records = r.records[1:]
		}
	}
	return b, n, r.after < r.end, nil
}

// indexReader reads the items of a terminal job in the order of the input.
type indexReader struct {
	x     *requestState
	id    job.ID
	after int64
	items []job.Item
	more  bool // there may be another page
}

func (r *indexReader) cursor() int64 { return r.after }

func (r *indexReader) read(
	ctx context.Context, b []byte, limit int64, line func([]byte, *job.Item) []byte,
) (_ []byte, n int64, more bool, err error) {
	if len(r.items) == 0 && r.more {
		// One more shows whether there is more.
		r.items, r.more, err = r.x.readByIndex(ctx, r.id, r.after, int(min(limit, logPage))+1)
		if err != nil {
			return b, 0, false, err
		}
	}
	for len(r.items) > 0 && n < limit && len(b) < flushSize {
		b = line(b, &r.items[0])
		r.after = r.items[0].Index
		r.items = r.items[1:]
		n++
	}
	return b, n, len(r.items) > 0 || r.more, nil
}
