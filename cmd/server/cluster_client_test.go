package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// caller is a client of all nodes. When one does not answer, or says "later", it goes to the next. What it is told goes
// into the history of the fleet.
type caller struct {
	f    *fleet
	node int // whom it asks next
	// trouble is told about every attempt that came to nothing; may be nil.
	trouble func(node int, at time.Time, a *answer, err error)
}

// patience is how long a node may take to answer before the caller goes to another. It may hold a request for 5 s.
const patience = time.Minute

func (f *fleet) caller(node int) *caller { return &caller{f: f, node: node % len(f.nodes)} }

func (c *caller) hop() { c.node = (c.node + 1) % len(c.f.nodes) }

// do asks one node after the other until there is an answer that is not "later". It returns when that was asked for.
func (c *caller) do(ctx context.Context, method, path, body string, header ...string) (a *answer, asked time.Time, err error) {
	for {
		asked = time.Now()
		a, err = c.try(ctx, method, path, body, header...)
		if err == nil && a.status != http.StatusServiceUnavailable && (a.status != http.StatusConflict || method != http.MethodPost) {
			return a, asked, nil
		}
		if c.trouble != nil && ctx.Err() == nil {
			c.trouble(c.node, asked, a, err)
		}
		if err == nil && a.header.Get("Retry-After") == "" {
			return nil, asked, fmt.Errorf("%w: %s: %d without Retry-After: %s", errAnswer, path, a.status, a.body)
		}
		c.hop()
		if err := pause(ctx, err); err != nil {
			return nil, asked, err
		}
	}
}

func (c *caller) try(ctx context.Context, method, path, body string, header ...string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.f.asks[c.node].try(ctx, method, path, body, header...)
}

// pause waits a moment, or returns why not and what happened before.
func pause(ctx context.Context, before error) error {
	select {
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), before)
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}

// submit submits a job. A submission without a key whose answer got lost may have been accepted all the same; nothing
// was promised then.
func (c *caller) submit(ctx context.Context, o *order, body, key string, header ...string) (v view, replayed bool, err error) {
	if key != "" {
		header = append(header, "Idempotency-Key", key)
	}
	a, asked, err := c.do(ctx, http.MethodPost, "/v1/jobs", body, header...)
	if err != nil {
		return v, false, err
	}
	if a.status != http.StatusAccepted && a.status != http.StatusOK {
		return v, false, fmt.Errorf("%w to %s: %d %s", errAnswer, body, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		return v, false, err
	}
	replayed = a.header.Get("Idempotency-Replayed") == "true"
	c.f.add(&told{node: c.node, asked: asked, job: v.ID, accepted: &accepted{key: key, replayed: replayed, order: o}})
	c.f.add(&told{node: c.node, asked: asked, job: v.ID, view: &v})
	return v, replayed, nil
}

// get reads a job, which must be known.
func (c *caller) get(ctx context.Context, id string, header ...string) (v view, err error) {
	a, asked, err := c.do(ctx, http.MethodGet, "/v1/jobs/"+id, "", header...)
	if err != nil {
		return v, err
	}
	if err := c.known(a.path, asked, id, a.status); err != nil {
		return v, err
	}
	if err := a.unmarshal(&v); err != nil {
		return v, err
	}
	c.f.add(&told{node: c.node, asked: asked, job: id, view: &v})
	return v, nil
}

// known puts it into the history when an accepted job is not there.
func (c *caller) known(path string, asked time.Time, id string, status int) error {
	if status != http.StatusNotFound && status != http.StatusGone {
		return nil
	}
	c.f.add(&told{node: c.node, asked: asked, job: id, gone: status})
	return fmt.Errorf("%w: node %d: %s: %d", errAnswer, c.node, path, status)
}

// wait returns a job once it is terminal.
func (c *caller) wait(ctx context.Context, id string) (v view, err error) {
	for {
		if v, err = c.get(ctx, id, "Prefer", "wait=5"); err != nil || v.terminal() {
			return v, err
		}
	}
}

// results waits for a job and reads its items page by page, all from one node as long as that answers. A node that has
// just taken over from another may know less.
func (c *caller) results(ctx context.Context, id string) (view, []item, error) {
	v, err := c.wait(ctx, id)
	r := reading{whole: true}
	for after := int64(0); err == nil; {
		var a *answer
		var asked time.Time
		if a, asked, err = c.do(ctx, http.MethodGet, fmt.Sprintf("/v1/jobs/%s/results?after=%d&limit=10000", id, after), ""); err != nil {
			break
		}
		var p page
		if err = errors.Join(c.known(a.path, asked, id, a.status), a.unmarshal(&p)); err != nil {
			break
		}
		r.items = append(r.items, p.Items...)
		if p.Complete {
			c.f.add(&told{node: c.node, job: id, read: &r})
			return v, r.items, nil
		}
		if p.NextAfter <= after {
			v, err = c.wait(ctx, id)
		}
		after = p.NextAfter
	}
	return v, nil, err
}

// Media types of a stream.
const (
	sse    = "text/event-stream"
	ndjson = "application/x-ndjson"
)

// follow reads the events of a job to the end, through every break, each time from another node.
func (c *caller) follow(ctx context.Context, id, media string) error {
	var r reading
	for {
		broken, err := c.followOnce(ctx, id, media, &r, -1)
		if r.whole || errors.Is(err, errAnswer) {
			c.f.add(&told{node: c.node, job: id, read: &r})
			return err
		}
		if c.trouble != nil && ctx.Err() == nil && err != nil {
			c.trouble(c.node, broken, nil, err)
		}
		c.hop()
		if err := pause(ctx, err); err != nil {
			return err
		}
	}
}

// followOnce reads the events behind those that were read, until the stream breaks, or ends, or has given n of them; it
// returns when that was.
func (c *caller) followOnce(ctx context.Context, id, media string, r *reading, n int) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.f.nodes[c.node].url("/v1/jobs/"+id+"/events"), nil)
	if err != nil {
		return asked, err
	}
	req.Header.Set("Accept", media)
	if len(r.seqs) > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(r.seqs[len(r.seqs)-1], 10))
	}
	resp, err := c.f.asks[c.node].http.Do(req)
	if err != nil {
		return asked, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		r.whole = true
		return asked, nil
	case http.StatusServiceUnavailable:
		return asked, nil
	default:
		return asked, errors.Join(c.known(req.URL.Path, asked, id, resp.StatusCode),
			fmt.Errorf("%w for the events of %s: %s", errAnswer, id, resp.Status))
	}
	events := bufio.NewReader(resp.Body)
	for ; n != 0; n-- {
		e, err := nextEvent(events, media)
		if err != nil {
			return time.Now(), err // what a broken event tells comes again
		}
		if e.Seq != 0 {
			r.seqs = append(r.seqs, e.Seq)
		}
		switch e.Event {
		case "result":
			var it item
			if err := json.Unmarshal(e.Data, &it); err != nil {
				return asked, fmt.Errorf("%w: event %s: %w", errAnswer, e.Data, err)
			}
			r.items = append(r.items, it)
		case "end":
			r.whole = true
			return asked, nil
		}
	}
	return asked, nil
}

// streamed is an event of a stream.
type streamed struct {
	Seq   int64           `json:"seq"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// nextEvent reads one event, in either form.
func nextEvent(lines *bufio.Reader, media string) (e streamed, err error) {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		if media == ndjson {
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return e, fmt.Errorf("%w: line %q: %w", errAnswer, line, err)
			}
			return e, nil
		}
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "id":
			if e.Seq, err = strconv.ParseInt(value, 10, 64); err != nil {
				return e, fmt.Errorf("%w: line %q: %w", errAnswer, line, err)
			}
		case name == "event":
			e.Event = value
		case name == "data":
			e.Data = bytes.Clone([]byte(value))
		case line == "" && e.Event != "":
			return e, nil
		}
	}
}
