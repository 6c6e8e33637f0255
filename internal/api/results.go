package api

import (
	"net/http"
	"strconv"

	"gather/internal/job"
)

const (
	defaultItems = 1000
	maxItems     = 10_000
	// maxPageBytes is the size at which a JSON page ends.
	maxPageBytes = 4 << 20
)

// getJobResults implements GET /v1/jobs/{job_id}/results.
func (s *server) getJobResults(x *requestState) error {
	ints := x.ints()
	query := x.query()
	byIndex := query.Get("order") == "index"
	limit := integer(query, "limit", defaultItems)
	bounded := x.media == mediaJSON || query.Has("limit")
	if x.media == mediaJSON {
		limit = min(limit, maxItems)
	}
	least := int64(0)
	if byIndex {
		least = -1
	}
	after := integer(query, "after", least)
	if after < least {
		return malformed("parameter", "after", "must be at least 0")
	}
	if query.Has("op") && x.media != mediaNPY {
		return malformed("parameter", "op", "is only for Accept: "+mediaNPY+": omit it")
	}
	if err := s.refresh(x); err != nil {
		return err
	}
	j, err := s.find(x)
	if err != nil {
		return err
	}
	if x.media == mediaNPY {
		return x.writeNPY(&j, query.Get("op"))
	}
	if !byIndex {
		if j, err = s.reach(x, j, uint64(after)); err != nil {
			return err
		}
		if uint64(after) > j.Seq {
			return malformed("parameter", "after", notAnEvent)
		}
	}
	a := &resultsResponse{x: x, ints: ints, limit: limit, bounded: bounded, finished: j.State.Terminal()}
	if !byIndex {
		a.from = &logReader{x: x, id: j.ID, end: j.Seq, after: uint64(after), last: after}
	} else if a.finished {
		a.from = &indexReader{x: x, id: j.ID, after: after, more: true}
	} else {
		return job.ErrNotFinished
	}
	if x.media == mediaNDJSON {
		return a.writeLines()
	}
	return a.write()
}

// resultsResponse is a page of results.
type resultsResponse struct {
	x        *requestState
	from     reader
	ints     intEncoding
	limit    int64
	bounded  bool
	finished bool
}

func (a *resultsResponse) headers(media string) {
	h := a.x.Header()
	h["Content-Type"] = []string{media}
	h["Cache-Control"] = privateNoCache
	a.x.vary(varyResults)
	a.x.srv.setAge(a.x)
}

// write streams a page, which ends at limit items or maxPageBytes.
func (a *resultsResponse) write() error {
	if !a.x.srv.openStream() {
		return errStreams
	}
	defer a.x.srv.closeStream()
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = append(*buf, `{"items":[`...)
	first := true
	item := func(b []byte, it *job.Item) []byte {
		if !first {
			b = append(b, ',')
		}
		first = false
		return appendItem(b, it, a.ints)
	}
	more := true
	for left, sent := a.limit, 0; more; {
		b, n, again, err := a.from.read(*buf, left, item)
		if *buf, more = b, again; err != nil {
			return err // an error status if nothing was written yet; otherwise the connection is aborted
		}
		if left == 0 && n == 0 {
			break
		}
		if left -= n; sent+len(b) >= maxPageBytes {
			left = 0 // then check for another item
		}
		if more && (left > 0 || len(b) >= flushSize) {
			if err := a.send(b); err != nil {
				return abortStream(err)
			}
			sent, *buf = sent+len(b), b[:0]
		}
	}
	*buf = a.appendEnd(append(*buf, "],"...), more)
	return abortStream(a.send(*buf))
}

func (a *resultsResponse) send(b []byte) error {
	if !a.x.wrote {
		a.headers(mediaJSON)
		a.x.WriteHeader(http.StatusOK)
	}
	return a.x.srv.writeWithDeadline(a.x, b)
}

// appendEnd appends the members after the items and closes the object. more reports whether items are left.
func (a *resultsResponse) appendEnd(b []byte, more bool) []byte {
	b = append(b, `"next_after":`...)
	b = strconv.AppendInt(b, a.from.cursor(), 10)
	b = append(b, `,"complete":`...)
	b = strconv.AppendBool(b, a.finished && !more)
	return append(b, "}\n"...)
}

// writeLines streams results as NDJSON, one per line. The last line has the end of a page, because behind a proxy a
// truncated response can look complete.
func (a *resultsResponse) writeLines() error {
	if !a.x.srv.openStream() {
		return errStreams
	}
	defer a.x.srv.closeStream()
	a.x.mode = modeStream
	a.headers(mediaNDJSON)
	if a.x.req.Method == http.MethodHead {
		a.x.WriteHeader(http.StatusOK)
		return nil
	}
	buf := getBuffer()
	defer putBuffer(buf)
	left := a.limit
	if !a.bounded {
		left = 1 << 62
	}
	line := func(b []byte, it *job.Item) []byte { return append(appendItem(b, it, a.ints), '\n') }
	more := true
	for more {
		b, n, again, err := a.from.read((*buf)[:0], left, line)
		if err != nil {
			return err // an error status if nothing was written yet; otherwise the connection is aborted
		}
		if *buf = b; len(b) > 0 {
			if err := a.x.srv.writeWithDeadline(a.x, b); err != nil {
				return abortStream(err)
			}
		}
		if more = again; left == 0 && n == 0 { // at the limit more reports whether another item exists
			break
		}
		left -= n
	}
	*buf = a.appendEnd(append((*buf)[:0], '{'), more)
	return abortStream(a.x.srv.writeWithDeadline(a.x, *buf))
}
