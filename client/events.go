package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"
)

// Event is something that happened to a job. Exactly one of its pointers is set.
type Event struct {
	// Seq is the position in the job's log, from which Events resumes; 0 for Progress and End.
	Seq   int64
	State *StateChange
	// Dependency is a job that this one waited for and that has succeeded.
	Dependency *DependencySucceeded
	Result     *Item
	// Retry is a failed attempt of a task that is followed by another one.
	Retry    *RetryEvent
	Progress *Progress
	// End is the job, which has ended. It is the last event.
	End *Job
}

// MarshalJSON returns the event as the server writes it in NDJSON.
func (e Event) MarshalJSON() ([]byte, error) {
	raw := struct {
		Seq   int64  `json:"seq,omitempty"`
		Event string `json:"event"`
		Data  any    `json:"data"`
	}{Seq: e.Seq}
	switch {
	case e.State != nil:
		raw.Event, raw.Data = "state", e.State
	case e.Dependency != nil:
		raw.Event, raw.Data = "dependency", e.Dependency
	case e.Result != nil:
		raw.Event, raw.Data = "result", e.Result
	case e.Retry != nil:
		raw.Event, raw.Data = "retry", e.Retry
	case e.Progress != nil:
		raw.Event, raw.Data = "progress", e.Progress
	case e.End != nil:
		raw.Event, raw.Data = "end", e.End
	}
	return json.Marshal(raw)
}

// Events returns everything that happens to a job after a position in its log (0: from its submission) until it ends. It
// reconnects when the stream is cut, the server restarts or a node of a cluster fails, and yields no event twice. It ends
// with the event End, or with the first error.
func (c *Client) Events(ctx context.Context, id string, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		after := after
		r := jobRequest(http.MethodGet, id, "events")
		nothing, err := c.lines(ctx, r, func() { r.query.Set("after", strconv.FormatInt(after, 10)) }, func(line []byte) (bool, error) {
			e, err := decodeEvent(line)
			if err != nil {
				return false, err
			}
			after = max(after, e.Seq)
			if e == (Event{Seq: e.Seq}) { // of a later version
				return false, nil
			}
			if !yield(e, nil) {
				return false, errStopped
			}
			return e.End != nil, nil
		})
		if nothing && err == nil { // the job has ended, and End was lost or is before the position
			var j *Job
			if j, err = c.Get(ctx, id); err == nil {
				yield(Event{End: j}, nil)
				return
			}
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(Event{}, err)
		}
	}
}

// errStopped ends a stream whose consumer needs no more.
var errStopped = errors.New("stopped")

// decodeEvent decodes a line of /events.
func decodeEvent(line []byte) (Event, error) {
	var raw struct {
		Seq   int64           `json:"seq"`
		Event string          `json:"event"`
		Data  json.RawMessage `json:"data"`
	}
	err := decode(line, &raw)
	e := Event{Seq: raw.Seq}
	if err != nil {
		return e, err
	}
	switch raw.Event {
	case "state":
		err = decode(raw.Data, &e.State)
	case "dependency":
		err = decode(raw.Data, &e.Dependency)
	case "result":
		err = decode(raw.Data, &e.Result)
	case "retry":
		err = decode(raw.Data, &e.Retry)
	case "progress":
		err = decode(raw.Data, &e.Progress)
	case "end":
		err = decode(raw.Data, &e.End)
	}
	return e, err
}

// ResultsOption changes what Results returns.
type ResultsOption func(*results)

type results struct {
	byIndex bool
	stored  bool
	after   int64
}

// ByIndex returns the items in the order of the input, once the job has ended.
func ByIndex() ResultsOption { return func(r *results) { r.byIndex = true } }

// Stored returns only the items that are there now.
func Stored() ResultsOption { return func(r *results) { r.stored = true } }

// After returns the items after the one with this Seq or, with ByIndex, this Index.
func After(cursor int64) ResultsOption { return func(r *results) { r.after = cursor } }

// Results returns the items of a job in the order in which they complete, as they complete, until the job has ended. It
// resumes like Events. It ends with the first error; that a job fails is none, see Job.Err of Get.
func (c *Client) Results(ctx context.Context, id string, opts ...ResultsOption) iter.Seq2[*Item, error] {
	o := results{after: -1}
	for _, opt := range opts {
		opt(&o)
	}
	return func(yield func(*Item, error) bool) {
		if err := c.results(ctx, id, o, yield); err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

func (c *Client) results(ctx context.Context, id string, o results, yield func(*Item, error) bool) error {
	r := jobRequest(http.MethodGet, id, "results")
	if o.byIndex {
		r.query.Set("order", "index")
		if !o.stored {
			if _, err := c.Wait(ctx, id); err != nil {
				return err
			}
		}
	}
	var complete bool
	resume := func() {
		if o.after >= 0 {
			r.query.Set("after", strconv.FormatInt(o.after, 10))
		}
	}
	_, err := c.lines(ctx, r, resume, func(line []byte) (bool, error) {
		var l struct {
			Item

			Complete *bool `json:"complete"` // of the last line
		}
		if err := decode(line, &l); err != nil {
			return false, err
		}
		if l.Complete != nil {
			complete = *l.Complete
			return true, nil
		}
		if o.after = l.Seq; o.byIndex {
			o.after = l.Index
		}
		if !yield(&l.Item, nil) {
			return false, errStopped
		}
		return false, nil
	})
	if err != nil || complete || o.stored {
		return err
	}
	for e, err := range c.Events(ctx, id, max(o.after, 0)) {
		if err != nil {
			return err
		}
		if e.Result != nil && !yield(e.Result, nil) {
			return errStopped
		}
	}
	return nil
}

// lines requests NDJSON and calls line for every line of the response, until line returns true or an error. When the
// response ends before, it calls resume, which sets the cursor of the request, and requests the rest. nothing is true if
// the server answered 204.
func (c *Client) lines(ctx context.Context, r *request, resume func(), line func([]byte) (last bool, err error)) (nothing bool, err error) {
	r.stream = true
	r.header.Set("Accept", mediaNDJSON)
	return nothing, c.retry(ctx, func(ctx context.Context, a *attempts) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		idle := time.AfterFunc(maxIdle, func() { cancel(errIdle) })
		defer idle.Stop()
		resume()
		return c.do(ctx, r, func(resp *http.Response) error {
			if nothing = resp.StatusCode == http.StatusNoContent; nothing {
				return nil
			}
			for buf := bufio.NewReader(resp.Body); ; {
				b, err := buf.ReadBytes('\n')
				if errors.Is(err, io.EOF) {
					err = &connectionError{io.ErrUnexpectedEOF}
				}
				if err != nil { // a line without its end is requested again
					return err
				}
				idle.Reset(maxIdle)
				a.progressed()
				if last, err := line(bytes.TrimSpace(b)); last || err != nil {
					return err
				}
			}
		})
	})
}
