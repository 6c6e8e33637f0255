package journal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"gather/internal/job"
)

// items returns the block of items in a record, and the seq of its first item.
func items(r job.LogRecord) (block *job.Items, first uint64) {
	switch e := r.Event.(type) {
	case job.TaskProgress:
		return &e.Items, r.Seq - uint64(e.Items.Len()) + 1
	case job.Finished:
		return &e.Items, r.Seq - uint64(e.Items.Len())
	}
	return nil, 0
}

// ItemsByIndex returns at most limit durable items of a job with an index above after, with their Seq, in ascending order of
// their indexes. A page with fewer items ends with the item that reaches job.PageBytes, or is the last page. For an unfinished
// job it returns the items so far, for a missing job none.
func (j *Journal) ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) (page []job.Item, err error) {
	visible, _, known := j.visibleSeq(id)
	if visible == 0 || limit <= 0 {
		return nil, ctx.Err()
	}
	s := indexPage{after: after, limit: limit}
	err = j.read(ctx, func(db *pebble.DB) error {
		ordered, err := s.scanOrder(ctx, db, id, visible)
		if err != nil || ordered {
			return err
		}
		return scanLog(ctx, db, id, 0, func(run uint64, records []job.LogRecord) (bool, error) {
			if run > visible {
				return false, nil
			}
			for _, r := range records {
				if block, first := items(r); block != nil {
					s.add(block, first)
				}
			}
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	if !known {
		if _, _, known := j.visibleSeq(id); known {
			return nil, nil
		}
	}
	return s.result(), nil
}

// An indexPage collects the items with the smallest indexes above after: at most limit items and about job.PageBytes, with at
// most about twice as much in memory. It copies the values, because an item would otherwise keep its whole run in memory.
type indexPage struct {
	after  int64
	limit  int
	items  []placedItem
	values []byte
	size   int
	// bound is the largest index that can still be part of the page, if enough is true.
	bound  int64
	enough bool // there are enough items for a page
}

// A placedItem is an item whose value is values[at:end].
type placedItem struct {
	job.Item
	at, end int
}

func (it *placedItem) bytes() int { return it.Bytes() + it.end - it.at }

func (s *indexPage) add(block *job.Items, first uint64) {
	lo, hi := block.Range()
	if hi <= s.after || s.enough && lo > s.bound {
		return
	}
	for i, item := range block.All() {
		if item.Index <= s.after || s.enough && item.Index > s.bound {
			continue
		}
		item.Seq = first + uint64(i)
		s.size += item.Bytes()
		at := len(s.values)
		s.values = append(s.values, item.Value...)
		item.Value = nil
		s.items = append(s.items, placedItem{item, at, len(s.values)})
		if len(s.items) >= 2*s.limit || s.size >= 2*job.PageBytes {
			s.trim()
		}
	}
}

// full reports whether there are enough items for a page.
func (s *indexPage) full() bool { return len(s.items) >= s.limit || s.size >= job.PageBytes }

// trim drops the items that are not part of the page.
func (s *indexPage) trim() {
	full := s.full()
	slices.SortFunc(s.items, func(a, b placedItem) int { return cmp.Compare(a.Index, b.Index) })
	n, size := 0, 0
	for n < min(len(s.items), s.limit) && size < job.PageBytes {
		size += s.items[n].bytes()
		n++
	}
	if n < len(s.items) {
		s.keep(n)
	}
	s.size = size
	if full {
		s.bound, s.enough = s.items[n-1].Index, true
	}
}

// keep drops all items after the first n, with their values.
func (s *indexPage) keep(n int) {
	clear(s.items[n:])
	s.items = s.items[:n]
	var values []byte
	for i := range s.items {
		it := &s.items[i]
		at := len(values)
		values = append(values, s.values[it.at:it.end]...)
		it.at, it.end = at, len(values)
	}
	s.values = values
}

func (s *indexPage) result() []job.Item {
	s.trim()
	page := make([]job.Item, len(s.items))
	for i := range s.items {
		it := &s.items[i]
		page[i] = it.Item
		if it.end > it.at {
			page[i].Value = s.values[it.at:it.end:it.end]
		}
	}
	return page
}

// scanOrder adds the items of a job in the order of their indexes, and reports whether the job has an index of items.
func (s *indexPage) scanOrder(ctx context.Context, db *pebble.DB, id job.ID, visible uint64) (ordered bool, err error) {
	prefix := appendIDKey(nil, spaceOrder, id)
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)})
	if err != nil {
		return false, fmt.Errorf("read order of job %s: %w", id, err)
	}
	defer func() { _ = it.Close() }()
	var runs runCache
	for ok := it.First(); ok; ok = it.Next() {
		o, err := parseOrderKey(it.Key())
		if err != nil {
			return true, fmt.Errorf("job %s: %w", id, err)
		}
		ordered = true
		if s.full() && (!s.enough || o.lo > s.bound) {
			s.trim()
		}
		if s.enough && o.lo > s.bound {
			break
		}
		if o.hi <= s.after || o.seq > visible {
			continue
		}
		v, err := it.ValueAndErr()
		if err == nil && len(v) != 8 {
			err = corrupt("order value")
		}
		if err != nil {
			return true, fmt.Errorf("read order of job %s: %w", id, err)
		}
		records, err := runs.get(db, id, binary.BigEndian.Uint64(v))
		if err != nil {
			return true, err
		}
		for _, r := range records {
			if block, first := items(r); block != nil && r.Seq == o.seq {
				s.add(block, first)
			}
		}
		if err := ctx.Err(); err != nil {
			return true, err
		}
	}
	return ordered, it.Error()
}

// A runCache holds the last read run, because adjacent blocks of the index are often in the same run.
type runCache struct {
	seq     uint64
	records []job.LogRecord
}

func (c *runCache) get(db *pebble.DB, id job.ID, seq uint64) ([]job.LogRecord, error) {
	if c.records != nil && c.seq == seq {
		return c.records, nil
	}
	key := appendLogKey(nil, id, seq)
	found, err := get(db, key, func(v []byte) (err error) {
		_, c.records, err = parseRun(key, bytes.Clone(v))
		return err
	})
	if err == nil && !found {
		err = pebble.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read log of job %s: %w", id, err)
	}
	c.seq = seq
	return c.records, nil
}
