package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"gather/client"
)

// view is a job as a client reads it.
type view struct {
	ID       string          `json:"id"`
	State    string          `json:"state"`
	Result   json.RawMessage `json:"result"`
	Error    json.RawMessage `json:"error"`
	Progress struct {
		Total     int64 `json:"total"`
		Completed int64 `json:"completed"`
		Failed    int64 `json:"failed"`
	} `json:"progress"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

func (v *view) terminal() bool {
	return v.State == "succeeded" || v.State == "failed" || v.State == "cancelled"
}

// outcome returns what must not change after a client saw it.
func (v *view) outcome() string {
	finished := ""
	if v.FinishedAt != nil {
		finished = v.FinishedAt.Format(time.RFC3339Nano)
	}
	return fmt.Sprintf("%s %s %s %s %+v", v.State, v.Result, v.Error, finished, v.Progress)
}

// item is an item result as a client reads it.
type item struct {
	Seq      int64           `json:"seq"`
	Index    int             `json:"index"`
	Value    json.RawMessage `json:"value"`
	Error    *string         `json:"error"`
	Duration float64         `json:"duration_ms"`
}

func (it *item) String() string {
	return fmt.Sprintf("%d: index %d, %s, %v, %v ms", it.Seq, it.Index, it.Value, it.Error, it.Duration)
}

// testClient is a client of a server that restarts: package client, and for tests that compare single responses with the
// contract requests of their own, which are repeated while the server is unavailable.
type testClient struct {
	p    *process
	http *http.Client
	api  *client.Client
}

func newClient(p *process) *testClient { return newClientAs(p, "") }

// newClientAs returns a client with an API key for the calls of package client.
func newClientAs(p *process, key string) *testClient {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	return &testClient{p: p, http: &http.Client{Timeout: time.Minute, Transport: transport}, api: p.connect(transport, key)}
}

// errResponse is an invalid response.
var errResponse = errors.New("unexpected response")

// response is a response with its body.
type response struct {
	path   string
	status int
	header http.Header
	body   []byte
}

// unmarshal decodes the body of a 200.
func (a *response) unmarshal(v any) error {
	if a.status != http.StatusOK {
		return fmt.Errorf("%w: %s: %d %.200s", errResponse, a.path, a.status, a.body)
	}
	return json.Unmarshal(a.body, v)
}

// try sends one request.
func (c *testClient) try(ctx context.Context, method, path, body string, header ...string) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.p.url(path), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return &response{path: path, status: resp.StatusCode, header: resp.Header, body: data}, err
}

// do retries until there is a final response: the server may be down, starting, stopping, or still processing a request
// with the same key.
func (c *testClient) do(ctx context.Context, method, path, body string, header ...string) (*response, error) {
	for {
		a, err := c.try(ctx, method, path, body, header...)
		if err == nil && a.status != http.StatusServiceUnavailable &&
			(a.status != http.StatusConflict || method != http.MethodPost) {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// viewOf returns a job as a view.
func viewOf(j *client.Job, err error) (v view, _ error) {
	if err != nil {
		return v, err
	}
	text, err := json.Marshal(j)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	return v, err
}

// submit submits a job, once also if it is repeated.
func (c *testClient) submit(ctx context.Context, body string, opts ...client.Option) (view, error) {
	return viewOf(c.api.Submit(ctx, json.RawMessage(body), opts...))
}

// wait returns the job once it is terminal.
func (c *testClient) wait(ctx context.Context, id string) (view, error) {
	return viewOf(c.api.Wait(ctx, id))
}

func (c *testClient) get(ctx context.Context, id string) (view, error) {
	return viewOf(c.api.Get(ctx, id))
}

// page is a page of results.
type page struct {
	Items     []item `json:"items"`
	NextAfter int64  `json:"next_after"`
	Complete  bool   `json:"complete"`
}

// results reads all items of a finished job in the order of completion.
func (c *testClient) results(ctx context.Context, id string, opts ...client.ResultsOption) (all []item, err error) {
	for it, err := range c.api.Results(ctx, id, opts...) {
		if err != nil {
			return nil, err
		}
		all = append(all, item{Seq: it.Seq, Index: int(it.Index), Value: it.Value, Error: it.Error, Duration: it.DurationMs})
	}
	return all, nil
}
