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

// clusterClient is a client of all nodes. It retries at the next node after a missing response, 503 or 409, and adds
// every response to the cluster's history.
type clusterClient struct {
	f    *testCluster
	node int // the next node
	// onError is called for every failed attempt; nil for none.
	onError func(node int, at time.Time, a *response, err error)
}

// requestTimeout is how long a node may take to respond before the client tries another. A node may hold a request for
// 5 s.
const requestTimeout = time.Minute

func (f *testCluster) client(node int) *clusterClient {
	return &clusterClient{f: f, node: node % len(f.nodes)}
}

func (c *clusterClient) hop() { c.node = (c.node + 1) % len(c.f.nodes) }

// do tries the nodes in turn until there is a final response. It returns when its request was sent.
func (c *clusterClient) do(ctx context.Context, method, path, body string, header ...string) (a *response, sent time.Time, err error) {
	for {
		sent = time.Now()
		a, err = c.try(ctx, method, path, body, header...)
		if err == nil && a.status != http.StatusServiceUnavailable && (a.status != http.StatusConflict || method != http.MethodPost) {
			return a, sent, nil
		}
		if c.onError != nil && ctx.Err() == nil {
			c.onError(c.node, sent, a, err)
		}
		if err == nil && a.header.Get("Retry-After") == "" {
			return nil, sent, fmt.Errorf("%w: %s: %d without Retry-After: %s", errResponse, path, a.status, a.body)
		}
		c.hop()
		if err := waitBriefly(ctx, err); err != nil {
			return nil, sent, err
		}
	}
}

func (c *clusterClient) try(ctx context.Context, method, path, body string, header ...string) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return c.f.clients[c.node].try(ctx, method, path, body, header...)
}

// waitBriefly waits briefly, or returns an error that includes the one before.
func waitBriefly(ctx context.Context, before error) error {
	select {
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), before)
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}

// submit submits a job. Without a key a submission whose response got lost may still create another job.
func (c *clusterClient) submit(ctx context.Context, o *order, body, key string, header ...string) (v view, replayed bool, err error) {
	if key != "" {
		header = append(header, "Idempotency-Key", key)
	}
	a, sent, err := c.do(ctx, http.MethodPost, "/v1/jobs", body, header...)
	if err != nil {
		return v, false, err
	}
	if a.status != http.StatusAccepted && a.status != http.StatusOK {
		return v, false, fmt.Errorf("%w to %s: %d %s", errResponse, body, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		return v, false, err
	}
	replayed = a.header.Get("Idempotency-Replayed") == "true"
	c.f.add(&observation{node: c.node, sent: sent, job: v.ID, accepted: &accepted{key: key, replayed: replayed, order: o}})
	c.f.add(&observation{node: c.node, sent: sent, job: v.ID, view: &v})
	return v, replayed, nil
}

// get reads a job, which must exist.
func (c *clusterClient) get(ctx context.Context, id string, header ...string) (v view, err error) {
	a, sent, err := c.do(ctx, http.MethodGet, "/v1/jobs/"+id, "", header...)
	if err != nil {
		return v, err
	}
	if err := c.checkFound(a.path, sent, id, a.status); err != nil {
		return v, err
	}
	if err := a.unmarshal(&v); err != nil {
		return v, err
	}
	c.f.add(&observation{node: c.node, sent: sent, job: id, view: &v})
	return v, nil
}

// checkFound adds to the history that an accepted job was not found.
func (c *clusterClient) checkFound(path string, sent time.Time, id string, status int) error {
	if status != http.StatusNotFound && status != http.StatusGone {
		return nil
	}
	c.f.add(&observation{node: c.node, sent: sent, job: id, gone: status})
	return fmt.Errorf("%w: node %d: %s: %d", errResponse, c.node, path, status)
}

// wait returns a job once it is terminal.
func (c *clusterClient) wait(ctx context.Context, id string) (v view, err error) {
	for {
		if v, err = c.get(ctx, id, "Prefer", "wait=5"); err != nil || v.terminal() {
			return v, err
		}
	}
}

// results waits for a job and reads its items page by page, from one node as long as it responds. After a switch the
// new node may lag.
func (c *clusterClient) results(ctx context.Context, id string) (view, []item, error) {
	v, err := c.wait(ctx, id)
	r := reading{whole: true}
	for after := int64(0); err == nil; {
		var a *response
		var sent time.Time
		if a, sent, err = c.do(ctx, http.MethodGet, fmt.Sprintf("/v1/jobs/%s/results?after=%d&limit=10000", id, after), ""); err != nil {
			break
		}
		var p page
		if err = errors.Join(c.checkFound(a.path, sent, id, a.status), a.unmarshal(&p)); err != nil {
			break
		}
		r.items = append(r.items, p.Items...)
		if p.Complete {
			c.f.add(&observation{node: c.node, job: id, read: &r})
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

// follow reads the events of a job to the end, reconnecting each time to another node.
func (c *clusterClient) follow(ctx context.Context, id, media string) error {
	var r reading
	for {
		broken, err := c.followOnce(ctx, id, media, &r, -1)
		if r.whole || errors.Is(err, errResponse) {
			c.f.add(&observation{node: c.node, job: id, read: &r})
			return err
		}
		if c.onError != nil && ctx.Err() == nil && err != nil {
			c.onError(c.node, broken, nil, err)
		}
		c.hop()
		if err := waitBriefly(ctx, err); err != nil {
			return err
		}
	}
}

// followOnce reads the next events, until the stream breaks, ends, or has sent n of them. It returns the time of the
// break.
func (c *clusterClient) followOnce(ctx context.Context, id, media string, r *reading, n int) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.f.nodes[c.node].url("/v1/jobs/"+id+"/events"), nil)
	if err != nil {
		return sent, err
	}
	req.Header.Set("Accept", media)
	if len(r.seqs) > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(r.seqs[len(r.seqs)-1], 10))
	}
	resp, err := c.f.clients[c.node].http.Do(req)
	if err != nil {
		return sent, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		r.whole = true
		return sent, nil
	case http.StatusServiceUnavailable:
		return sent, nil
	default:
		return sent, errors.Join(c.checkFound(req.URL.Path, sent, id, resp.StatusCode),
			fmt.Errorf("%w for the events of %s: %s", errResponse, id, resp.Status))
	}
	events := bufio.NewReader(resp.Body)
	for ; n != 0; n-- {
		e, err := nextEvent(events, media)
		if err != nil {
			return time.Now(), err // the next attempt receives the broken event again
		}
		if e.Seq != 0 {
			r.seqs = append(r.seqs, e.Seq)
		}
		switch e.Event {
		case "result":
			var it item
			if err := json.Unmarshal(e.Data, &it); err != nil {
				return sent, fmt.Errorf("%w: event %s: %w", errResponse, e.Data, err)
			}
			r.items = append(r.items, it)
		case "end":
			r.whole = true
			return sent, nil
		}
	}
	return sent, nil
}

// streamed is an event of a stream.
type streamed struct {
	Seq   int64           `json:"seq"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// nextEvent parses one event in either format.
func nextEvent(lines *bufio.Reader, media string) (e streamed, err error) {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		if media == ndjson {
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return e, fmt.Errorf("%w: line %q: %w", errResponse, line, err)
			}
			return e, nil
		}
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "id":
			if e.Seq, err = strconv.ParseInt(value, 10, 64); err != nil {
				return e, fmt.Errorf("%w: line %q: %w", errResponse, line, err)
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
