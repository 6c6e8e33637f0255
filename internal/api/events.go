package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"gather/internal/job"
)

const (
	// heartbeat is the interval of the lines that keep idle connections alive.
	heartbeat = 15 * time.Second
	// progressGap is the minimum time between two progress events of a stream.
	progressGap = 250 * time.Millisecond
)

// getJobEvents implements GET /v1/jobs/{job_id}/events.
func (s *server) getJobEvents(x *requestState) error {
	ints := x.ints()
	after, where, name := uint64(integer(x.query(), "after", 0)), "parameter", "after"
	if last := x.req.Header.Get("Last-Event-Id"); last != "" {
		where, name = "header", "Last-Event-ID"
		var err error
		if after, err = strconv.ParseUint(last, 10, 63); err != nil {
			return malformed(where, name, notAnEvent)
		}
	}
	j, err := s.find(x)
	if err != nil {
		return err
	}
	if j, err = s.reach(x, j, after); err != nil {
		return err
	}
	if after > j.Seq {
		return malformed(where, name, notAnEvent)
	}
	if j.State.Terminal() && after == j.Seq {
		s.setAge(x)
		return x.writeNothing(http.StatusNoContent)
	}
	e := &eventStream{x: x, job: j, after: after, ints: ints, sse: x.media == mediaSSE}
	return e.write(j.ID, e.round, e.progressEvent)
}

// notAnEvent is the error for a cursor beyond the job's log, because such a stream would skip every event up to the
// cursor.
const notAnEvent = "must be the id of an event of this job"

// maxLag is how long a node of a cluster waits for events that a client has already read from another node.
const maxLag = 5 * time.Second

// reach returns the job once its log has reached a cursor. On a single server that is immediate: a cursor beyond the
// log is invalid. A node of a cluster may lag behind the node that sent the cursor. Errors: job.ErrStorage while it
// cannot reach the log.
func (s *server) reach(ctx context.Context, j job.Job, after uint64) (job.Job, error) {
	if after <= j.Seq || j.State.Terminal() || s.Replica == nil {
		return j, nil
	}
	if !s.openStream() {
		return j, errStreams
	}
	defer s.closeStream()
	if err := s.Replica.ReadBarrier(ctx); err != nil {
		return j, err
	}
	return s.await(ctx, j, maxLag, func(j *job.Job) bool { return after <= j.Seq || j.State.Terminal() })
}

// An eventStream sends a job's events.
type eventStream struct {
	x     *requestState
	job   job.Job // as of the last read
	after uint64  // seq of the last event sent
	ints  intEncoding
	sse   bool
	buf   []byte

	progressAt time.Time
	progress   job.Progress // as last sent
}

// A streamRound appends the events since the last round. It reports whether they are the last ones, and otherwise after how long
// a progress event is due; 0 for none.
type streamRound func() (last bool, later time.Duration, err error)

// write begins the response, and sends a round of events after every change of a job or group, and a keep-alive after a time without
// one.
func (e *eventStream) write(id job.ID, round streamRound, keepAlive func()) error {
	if !e.x.srv.openStream() {
		return errStreams
	}
	defer e.x.srv.closeStream()
	e.x.mode = modeStream
	h := e.x.Header()
	h["Cache-Control"] = []string{"private, no-store"}
	e.x.vary(varyAccept)
	h["X-Accel-Buffering"] = []string{"no"}
	e.x.srv.setAge(e.x)
	defer e.idle()
	e.buf = *getBuffer()
	if h["Content-Type"] = []string{mediaNDJSON}; e.sse {
		h["Content-Type"] = []string{mediaSSE + "; charset=utf-8"} // otherwise clients assume Latin-1 for text
		e.buf = append(e.buf, "retry: 2000\n\n"...)
	}
	e.x.WriteHeader(http.StatusOK)
	if e.x.req.Method == http.MethodHead {
		return nil
	}
	return abortStream(e.follow(id, round, keepAlive))
}

// follow sends rounds until the last one.
func (e *eventStream) follow(id job.ID, round streamRound, keepAlive func()) error {
	changed, stop := e.x.srv.Log.Watch(id)
	defer stop()
	beat := time.NewTimer(heartbeat)
	defer beat.Stop()
	for {
		if e.buf == nil {
			e.buf = *getBuffer()
		}
		// A round reads after Watch has started, so that no change is missed.
		last, later, err := round()
		if err != nil {
			return err
		}
		if last {
			return e.flush()
		}
		stale := e.x.srv.stale()
		if stale && e.sse {
			e.buf = append(e.buf, ": this node is cut off from the cluster; reconnect\n\n"...)
		}
		if err := e.flush(); err != nil || stale {
			return err // no end event, so that the client reconnects, to another node if there is one
		}
		e.idle()
		beat.Reset(heartbeat)
		if later > 0 {
			beat.Reset(later)
		}
		select {
		case <-changed:
		case <-beat.C:
			if later > 0 {
				continue
			}
			if e.sse { // a comment, which clients ignore
				e.buf = append(e.buf, ": still here\n\n"...)
			} else {
				keepAlive()
			}
		case <-e.x.principal.Revoked:
			return errRevoked
		case <-e.x.srv.Stopping.Done():
			return nil // no end event, so that the client reconnects
		case <-e.x.Done():
			return context.Cause(e.x)
		}
	}
}

// round implements streamRound for a job.
func (e *eventStream) round() (last bool, later time.Duration, err error) {
	if e.job, err = e.x.srv.Jobs.Get(e.x, e.job.Tenant, e.job.ID); err != nil {
		return false, 0, err
	}
	if err := e.catchUp(); err != nil {
		return false, 0, err
	}
	if !e.job.State.Terminal() {
		return false, e.sendProgress(false), nil
	}
	values, err := e.x.srv.values(e.x, &e.job, e.ints)
	if err != nil {
		return false, 0, err
	}
	e.event("end", 0, func(b []byte) []byte {
		view := e.x.srv.view(&e.job, e.ints)
		view.values = values
		return appendJob(b, &view)
	})
	return true, 0, nil
}

// catchUp sends the events up to the job's Seq.
func (e *eventStream) catchUp() error {
	for e.after < e.job.Seq {
		records, err := e.x.readLog(e.job.ID, e.after, logPage)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return job.ErrExpired // deleted between two reads
		}
		for i := range records {
			r := &records[i]
			if r.Seq > e.job.Seq { // later events are sent in the next round
				return nil
			}
			for more := true; more; more = hasItems(r, e.after) {
				e.buf, _, e.after = appendItems(e.buf, r, e.after, 1<<62, e.item)
				if len(e.buf) >= flushSize {
					if err := e.flush(); err != nil {
						return err
					}
				}
			}
			e.change(r)
			e.after = r.Seq
		}
		if e.after < e.job.Seq { // before reading the next page
			if err := e.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// item appends an item event.
func (e *eventStream) item(b []byte, it *job.Item) []byte {
	if e.sse {
		b = strconv.AppendUint(append(b, "id: "...), it.Seq, 10)
		b = append(b, "\nevent: result\ndata: "...)
		return append(appendItem(b, it, e.ints), "\n\n"...)
	}
	b = strconv.AppendUint(append(b, `{"seq":`...), it.Seq, 10)
	b = append(b, `,"event":"result","data":`...)
	return append(appendItem(b, it, e.ints), "}\n"...)
}

// change appends an event if the log record changes the job's state or the jobs that it waits for, or is a failed attempt that is repeated.
func (e *eventStream) change(r *job.LogRecord) {
	var state job.State
	var at time.Time
	switch ev := r.Event.(type) {
	case job.Submitted:
		state, at = job.Queued, ev.Job.CreatedAt
	case job.Started:
		state, at = job.Running, ev.At
	case job.CancelRequested:
		state, at = job.Cancelling, ev.At
	case job.Finished:
		state, at = ev.State, ev.At
		e.sendProgress(true)
	case job.DependencySucceeded:
		e.dependency(r.Seq, ev)
		return
	case job.TaskProgress:
		if ev.Retry != nil {
			e.retry(r.Seq, &job.TaskRetry{Task: ev.Task, Retry: *ev.Retry})
		}
		return
	default:
		return
	}
	e.event("state", r.Seq, func(b []byte) []byte {
		b = strconv.AppendUint(append(b, `{"seq":`...), r.Seq, 10)
		b = append(append(b, `,"state":"`...), state.String()...)
		return append(appendTime(append(b, `","at":`...), at), '}')
	})
}

// retry appends a failed attempt of a task that is followed by another one.
func (e *eventStream) retry(seq uint64, r *job.TaskRetry) {
	e.event("retry", seq, func(b []byte) []byte {
		b = strconv.AppendUint(append(b, `{"seq":`...), seq, 10)
		return append(appendRetry(append(b, ','), &e.job, r), '}')
	})
}

// dependency appends an event for a job of After that has succeeded.
func (e *eventStream) dependency(seq uint64, ev job.DependencySucceeded) {
	e.event("dependency", seq, func(b []byte) []byte {
		b = strconv.AppendUint(append(b, `{"seq":`...), seq, 10)
		b = appendID(append(b, `,"job_id":"`...), e.job.After[ev.Index])
		return append(appendTime(append(b, `","at":`...), ev.At), '}')
	})
}

// sendProgress sends a progress event if the progress changed. Unless now is set it may return after how long the event
// is due instead.
func (e *eventStream) sendProgress(now bool) (later time.Duration) {
	if e.job.Progress == e.progress {
		return 0
	}
	at := time.Now()
	if wait := progressGap - at.Sub(e.progressAt); !now && wait > 0 {
		return wait
	}
	e.progressAt, e.progress = at, e.job.Progress
	e.progressEvent()
	return 0
}

// progressEvent sends the progress; in formats without comments the last one again keeps a stream alive.
func (e *eventStream) progressEvent() {
	e.event("progress", 0, func(b []byte) []byte { return appendProgress(b, &e.job, e.x.srv.Wall()) })
}

// event appends an event. Events with seq 0, from which a stream cannot resume, get no id.
func (e *eventStream) event(name string, seq uint64, data func([]byte) []byte) {
	b := e.buf
	if e.sse {
		if seq > 0 {
			b = append(strconv.AppendUint(append(b, "id: "...), seq, 10), '\n')
		}
		b = append(append(append(b, "event: "...), name...), "\ndata: "...)
		e.buf = append(data(b), "\n\n"...)
		return
	}
	b = append(b, '{')
	if seq > 0 {
		b = append(strconv.AppendUint(append(b, `"seq":`...), seq, 10), ',')
	}
	b = append(append(append(b, `"event":"`...), name...), `","data":`...)
	e.buf = append(data(b), "}\n"...)
}

// flush sends the appended events.
func (e *eventStream) flush() error {
	if len(e.buf) == 0 {
		return nil
	}
	err := e.x.srv.writeWithDeadline(e.x, e.buf)
	e.buf = e.buf[:0]
	if err == nil {
		err = e.x.srv.flush(e.x)
	}
	return err
}

// idle releases the stream's memory until the next event.
func (e *eventStream) idle() {
	if buf := e.buf; buf != nil {
		putBuffer(&buf)
	}
	e.buf = nil
	e.x.resizeRead(0)
}

// abortStream returns an error that aborts the connection, so that the client can distinguish it from the end of the
// stream.
func abortStream(err error) error {
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}
