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
	req.GetBody = nil // or net/http repeats a request with an Idempotency-Key itself
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
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
	for {
		o := r.operation
		o.client, o.node, o.call = c.id, c.node, c.now()
		a, err := c.try(ctx, r.method, r.path, r.body, r.header...)
		o.ret = c.now()
		if err == nil && slices.Contains(r.accept, a.status) {
			o.status = a.status
			if r.decode != nil {
				if err := r.decode(a, &o); err != nil {
					return nil, fmt.Errorf("%s %s: %d %.300s: %w", r.method, r.path, a.status, a.body, err)
				}
			}
			c.done(&o)
			return &o, nil
		}
		if err == nil && !retryable(a.status, r.method) {
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

// retryable reports whether a response only means: later, or at another node. A submission with a key that is being processed is 409.
func retryable(status int, method string) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusConflict && method == http.MethodPost
}

// submit submits jobs until they are acknowledged, and returns the view of a single job.
func (c *client) submit(ctx context.Context, s *submission, header ...string) (*operation, error) {
	path := "/v1/jobs"
	if len(s.orders) > 1 {
		path += ":batch"
	}
	if s.key != "" {
		header = append(header, "Idempotency-Key", s.key)
	}
	return c.do(ctx, call{
		operation: operation{action: submit, sub: s},
		method:    http.MethodPost, path: path, body: []byte(s.body), header: header,
		accept: []int{http.StatusAccepted, http.StatusOK},
		decode: func(a *response, o *operation) error {
			o.replayed = a.header.Get("Idempotency-Replayed") == "true"
			views, err := decodeJobs(a.body, len(s.orders) > 1)
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
	})
}

func decodeJobs(body []byte, batch bool) ([]view, error) {
	if !batch {
		views := make([]view, 1)
		return views, json.Unmarshal(body, &views[0])
	}
	var page struct {
		Jobs []view `json:"jobs"`
	}
	err := json.Unmarshal(body, &page)
	return page.Jobs, err
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
	v, err := c.await(ctx, id)
	if err != nil || v == nil {
		return err
	}
	got := &reading{}
	limit := 1 + c.rng.IntN(5000)
	for after := int64(0); !got.whole; {
		a, err := c.page(ctx, fmt.Sprintf("/v1/jobs/%s/results?after=%d&limit=%d", id, after, limit))
		switch {
		case err != nil:
			return err
		case a.status == http.StatusGone:
			return nil
		case a.status != http.StatusOK:
			return fmt.Errorf("results of job %s: status %d: %.300s", id, a.status, a.body)
		}
		var p struct {
			Items     []item `json:"items"`
			NextAfter int64  `json:"next_after"`
			Complete  bool   `json:"complete"`
		}
		if err := json.Unmarshal(a.body, &p); err != nil {
			return err
		}
		got.items = append(got.items, p.Items...)
		got.whole = p.Complete
		if p.NextAfter <= after && !p.Complete {
			// Another node may lag.
			if _, err := c.await(ctx, id); err != nil {
				return err
			}
		}
		after = p.NextAfter
	}
	c.done(&operation{action: read, client: c.id, node: c.node, job: id, read: got, ret: c.now()})
	return nil
}

// page sends a GET until a node responds.
func (c *client) page(ctx context.Context, path string) (*response, error) {
	for {
		a, err := c.try(ctx, http.MethodGet, path, nil)
		if err == nil && !retryable(a.status, http.MethodGet) {
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
