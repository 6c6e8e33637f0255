package api

import "gather/internal/job"

// logPage is the approximate number of events and items that one read of the log returns.
const logPage = 16384

// itemsOf returns an event's block of items and the seq before the first item.
func itemsOf(r *job.LogRecord) (block *job.Items, before uint64) {
	switch e := r.Event.(type) {
	case job.TaskProgress:
		return &e.Items, r.Seq - uint64(e.Items.Len())
	case job.Finished:
		return &e.Items, r.Seq - 1 - uint64(e.Items.Len())
	}
	return nil, 0
}

// An encoder appends an item in the format of a response.
type encoder func(b []byte, it *job.Item) []byte

// appendItems appends an event's items after a seq, encoded by line, up to limit items or until b reaches flushSize. It
// returns their number and the seq of the last.
func appendItems(b []byte, r *job.LogRecord, after uint64, limit int64, line encoder) (_ []byte, n int64, last uint64) {
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
	var it job.Item // reused, because it escapes through line
	for i := from; i < to && len(b) < flushSize; i++ {
		it = block.At(i)
		it.Seq = before + uint64(i) + 1
		b = line(b, &it)
		n++
		after = it.Seq
	}
	return b, n, after
}

// hasItems reports whether an event has items after a seq.
func hasItems(r *job.LogRecord, after uint64) bool {
	block, before := itemsOf(r)
	return block != nil && block.Len() > 0 && before+uint64(block.Len()) > after
}

// A reader reads items from the log or from the index.
type reader interface {
	// read appends the next items to b, up to limit items, until b reaches flushSize or the end of a page, and returns
	// their number. If it appended none, more reports whether another item exists; otherwise whether one may exist. The
	// appended bytes must be written before the next read.
	read(b []byte, limit int64, line encoder) (_ []byte, n int64, more bool, err error)
	// cursor returns the after parameter that continues where the last read ended.
	cursor() int64
}

// logReader reads items in the order of their completion, up to the seq of the job's view.
type logReader struct {
	x       *requestState
	id      job.ID
	end     uint64 // seq of the view
	after   uint64 // last event or item read
	last    int64  // last item read, or the start
	records []job.LogRecord
}

func (r *logReader) cursor() int64 { return r.last }

func (r *logReader) read(b []byte, limit int64, line encoder) (_ []byte, n int64, more bool, err error) {
	for r.after < r.end && n == 0 {
		if len(r.records) == 0 {
			if r.records, err = r.x.readLog(r.id, r.after, int(min(max(limit, 1), logPage))); err != nil {
				return b, n, false, err
			}
			if len(r.records) == 0 { // the job was deleted meanwhile
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
	more  bool // another page may exist
}

func (r *indexReader) cursor() int64 { return r.after }

func (r *indexReader) read(b []byte, limit int64, line encoder) (_ []byte, n int64, more bool, err error) {
	if len(r.items) == 0 && r.more {
		// Request one more to detect a next item.
		r.items, r.more, err = r.x.readByIndex(r.id, r.after, int(min(limit, logPage))+1)
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
