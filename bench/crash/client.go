package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// requestTimeout is how long a node may take to respond before a client tries the next one. Requests wait at most waitSeconds.
const (
	requestTimeout = 20 * time.Second
	waitSeconds    = 3
)

// A client sends requests to the nodes, one after the other, and records every attempt. It tries again at the next node until it
// has a final response.
type client struct {
	*run
	id, node int
	rng      *rand.Rand
}

// A response is a response with its body.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (c *client) hop() { c.node = (c.node + 1) % len(c.nodes) }

// try sends one request.
func (c *client) try(ctx context.Context, method, path string, body []byte, header ...string) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.open(ctx, method, path, body, header...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &response{status: resp.StatusCode, header: resp.Header, body: data}, nil
}

func (c *client) open(ctx context.Context, method, path string, body []byte, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.nodes[c.node].url(path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if key := req.Header["Idempotency-Key"]; key != nil { // under this name, net/http repeats the request itself
		req.Header.Del("Idempotency-Key")
		req.Header["idempotency-key"] = key
	}
	return c.http.Do(req)
}

// notSent reports whether an error means that no server has received the request.
func notSent(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// A call is an operation and its request.
type call struct {
	operation

	method, path string
	body         []byte
	header       []string
	// accept are the statuses of a final response.
	accept []int
	// decode completes the operation with the body of a final response; nil to ignore it.
	decode func(a *response, o *operation) error
}

// do repeats a call until it has a final response, and records each attempt that may have had an effect.
func (c *client) do(ctx context.Context, r call) (*operation, error) {
	for attempt := 0; ; attempt++ {
		o := r.operation
		o.client, o.node, o.call, o.attempt = c.id, c.node, c.now(), attempt
		a, err := c.try(ctx, r.method, r.path, r.body, r.header...)
		o.ret = c.now()
		if err == nil && slices.Contains(r.accept, a.status) && !inProgress(a) {
			o.status = a.status
			if r.decode != nil {
				if err := r.decode(a, &o); err != nil {
					return nil, fmt.Errorf("%s %s: %d %.300s: %w", r.method, r.path, a.status, a.body, err)
				}
			}
			c.done(&o)
			return &o, nil
		}
		if err == nil && !retryable(a) {
			return nil, fmt.Errorf("%s %s %.300s: got status %d, want one of %v: %.500s", r.method, r.path, r.body, a.status, r.accept, a.body)
		}
		if r.method != http.MethodGet && !notSent(err) {
			o.ret = never
			c.add(&o)
		}
		c.hop()
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// retryable reports whether a response only means: later, or at another node.
func retryable(a *response) bool {
	return a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests || inProgress(a)
}

// inProgress reports whether a submission with the same key is being processed.
func inProgress(a *response) bool {
	return a.status == http.StatusConflict && bytes.Contains(a.body, []byte("/problems/idempotency-in-progress"))
}

// newSubmission returns a submission, of which one in three has a webhook: which ones depends on the label.
func (c *client) newSubmission(label, key, array string, orders ...order) *submission {
	s := newSubmission(label, key, array, orders...)
	if share(label, 3) {
		s.webhook = c.webhook
	}
	return s
}

// submit submits jobs until they are acknowledged, and returns the view of a single job.
func (c *client) submit(ctx context.Context, s *submission, header ...string) (*operation, error) {
	if s.key != "" {
		header = append(header, "Idempotency-Key", s.key)
	}
	r := call{
		operation: operation{action: submit, sub: s, group: s.group},
		method:    http.MethodPost, path: s.path(), body: s.body(), header: header,
		accept: []int{http.StatusAccepted, http.StatusOK},
		decode: func(a *response, o *operation) error {
			o.replayed = a.header.Get("Idempotency-Replayed") == "true"
			views, group, err := decodeJobs(a.body, len(s.orders) > 1)
			if group != "" {
				o.group = group
			}
			for i := range views {
				o.ids = append(o.ids, views[i].ID)
			}
			switch {
			case err != nil:
				return err
			case len(views) != len(s.orders):
				return fmt.Errorf("got %d jobs, want %d", len(views), len(s.orders))
			case len(views) == 1:
				o.view = &views[0]
			}
			return nil
		},
	}
	if s.retryOf != "" {
		r.accept, r.decode = append(r.accept, http.StatusConflict), decodeRetry
	}
	return c.do(ctx, r)
}

// decodeJobs decodes the response to a submission; group is that of a batch.
func decodeJobs(body []byte, batch bool) (views []view, group string, err error) {
	if !batch {
		views = make([]view, 1)
		return views, "", json.Unmarshal(body, &views[0])
	}
	var page struct {
		Jobs  []view `json:"jobs"`
		Group string `json:"group"`
	}
	err = json.Unmarshal(body, &page)
	return page.Jobs, page.Group, err
}

// onJob sends a request about one job and returns its view; nil if it is deleted.
func (c *client) onJob(ctx context.Context, what action, id string, header ...string) (*view, error) {
	r := call{
		operation: operation{action: what, job: id}, method: http.MethodGet, path: "/v1/jobs/" + id, header: header,
		// A 404 is never right, but the model decides.
		accept: []int{http.StatusOK, http.StatusNotFound, http.StatusGone},
		decode: func(a *response, o *operation) error {
			if a.status != http.StatusOK && a.status != http.StatusAccepted {
				return nil
			}
			o.view = new(view)
			return json.Unmarshal(a.body, o.view)
		},
	}
	switch what {
	case cancel:
		r.method, r.path, r.accept = http.MethodPost, r.path+"/cancel", append(r.accept, http.StatusAccepted)
	case remove:
		r.method, r.accept, r.decode = http.MethodDelete, []int{http.StatusNoContent, http.StatusNotFound, http.StatusGone, http.StatusConflict}, nil
	default:
	}
	o, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return o.view, nil
}

// await returns a job once it is terminal; nil if it is deleted.
func (c *client) await(ctx context.Context, id string) (*view, error) {
	for {
		v, err := c.onJob(ctx, get, id, "Prefer", fmt.Sprintf("wait=%d", waitSeconds))
		if err != nil || v == nil || v.terminal() {
			return v, err
		}
		if c.rng.IntN(4) == 0 {
			c.hop()
		}
	}
}

// results waits for a job and reads its items page by page.
func (c *client) results(ctx context.Context, id string) error {
	_, err := c.readResults(ctx, id)
	return err
}

// readResults is results; it returns nil if the job is deleted.
func (c *client) readResults(ctx context.Context, id string) (*reading, error) {
	v, err := c.await(ctx, id)
	if err != nil || v == nil {
		return nil, err
	}
	got := &reading{}
	limit := 1 + c.rng.IntN(5000)
	for after := int64(0); !got.whole; {
		a, err := c.page(ctx, fmt.Sprintf("/v1/jobs/%s/results?after=%d&limit=%d", id, after, limit))
		switch {
		case err != nil:
			return nil, err
		case a.status == http.StatusGone:
			return nil, nil
		case a.status != http.StatusOK:
			return nil, fmt.Errorf("results of job %s: status %d: %.300s", id, a.status, a.body)
		}
		var p struct {
			Items     []item `json:"items"`
			NextAfter int64  `json:"next_after"`
			Complete  bool   `json:"complete"`
		}
		if err := json.Unmarshal(a.body, &p); err != nil {
			return nil, err
		}
		got.items = append(got.items, p.Items...)
		got.whole = p.Complete
		if p.NextAfter <= after && !p.Complete {
			// Another node may lag.
			if _, err := c.await(ctx, id); err != nil {
				return nil, err
			}
		}
		after = p.NextAfter
	}
	c.done(&operation{action: read, client: c.id, node: c.node, job: id, read: got, ret: c.now()})
	return got, nil
}

// page sends a GET until a node responds.
func (c *client) page(ctx context.Context, path string) (*response, error) {
	for {
		a, err := c.try(ctx, http.MethodGet, path, nil)
		if err == nil && !retryable(a) {
			return a, nil
		}
		c.hop()
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
