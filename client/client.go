package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config has the settings of a Client.
type Config struct {
	// Server is the URL of the server, as http://127.0.0.1:8080.
	Server string
	// APIKey is sent with every request, unless it is empty.
	APIKey string
	// HTTP sends the requests; nil is a new http.Client. It must have no Timeout, which would cut streams.
	HTTP *http.Client
	// RetryFor is how long a call is retried without progress; 0 is a minute, and a negative duration disables retries.
	RetryFor time.Duration
	// OnRetry, unless it is nil, is called before every retry with the error of the last attempt and the pause before the
	// next one. It may be called by several goroutines at the same time.
	OnRetry func(err error, pause time.Duration)
}

// Client sends requests to one server. It may be used by several goroutines.
type Client struct {
	config Config
	server *url.URL
}

// New returns a client. It sends no request. It fails for an invalid URL of the server.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.Server)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("server: %q is not a URL such as http://127.0.0.1:8080", u.Redacted())
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	if c.RetryFor == 0 {
		c.RetryFor = defaultRetryFor
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &Client{config: c, server: u}, nil
}

const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
	mediaNPY    = "application/x-npy"
)

// Limits of one attempt.
const (
	// requestTimeout limits an attempt whose response is JSON, in addition to its wait.
	requestTimeout = 2 * time.Minute
	// maxIdle limits the time without a byte of a stream. The server sends one every 15 s.
	maxIdle = time.Minute
	// maxProblem limits the bytes of an error's body.
	maxProblem = 1 << 20
)

// request is a call of the API.
type request struct {
	method string
	path   []string // the segments below the server's URL
	query  url.Values
	header http.Header
	wait   time.Duration // how long the server may hold the response
	// body returns the body of an attempt, of size bytes.
	body func() io.Reader
	size int64
	// stream disables requestTimeout.
	stream bool
}

// call sends a request until it succeeds, cannot succeed, or RetryFor has passed, and decodes the JSON of the response
// into v unless it is nil. It returns the Retry-After of the response.
func (c *Client) call(ctx context.Context, r *request, v any) (after time.Duration, err error) {
	return after, c.retry(ctx, func(ctx context.Context, _ *attempts) error {
		return c.do(ctx, r, func(resp *http.Response) error {
			after = retryAfter(resp)
			data, err := io.ReadAll(resp.Body)
			if err != nil || v == nil {
				return err
			}
			return decode(data, v)
		})
	})
}

// decode decodes JSON. JSON that is cut is a connectionError, because proxies can pass on a response that was cut as a
// complete one.
func decode(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && syntax.Offset >= int64(len(data)) {
		return &connectionError{err}
	}
	return fmt.Errorf("the response is not gather's: %w", err)
}

// do sends a request once, and passes a response with a status of 2xx to read. Its errors name the operation.
func (c *Client) do(ctx context.Context, r *request, read func(*http.Response) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s /%s: %w", r.method, strings.Join(r.path, "/"), err)
		}
	}()
	if !r.stream {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, requestTimeout+r.wait, errTimeout)
		defer cancel()
	}
	req, err := c.build(ctx, r)
	if err != nil {
		return err
	}
	resp, err := c.config.HTTP.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the method and the URL are added above
		}
		return &connectionError{cause(ctx, err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return readError(resp)
	}
	resp.Body = io.NopCloser(body{resp.Body})
	return cause(ctx, read(resp))
}

// build returns a new http.Request.
func (c *Client) build(ctx context.Context, r *request) (*http.Request, error) {
	if slices.Contains(r.path, "") {
		return nil, errors.New("an empty id or name")
	}
	var content io.Reader
	if r.body != nil {
		content = r.body()
	}
	u := c.server.JoinPath(escaped(r.path)...)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), content)
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.ContentLength = r.size
	}
	req.Header.Set("Accept", mediaJSON)
	maps.Copy(req.Header, r.header)
	if c.config.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+c.config.APIKey)
	}
	return req, nil
}

// escaped returns the segments of a path so that none of them is taken for more than one, or for "..".
func escaped(segments []string) []string {
	out := make([]string, len(segments))
	for i, s := range segments {
		switch out[i] = url.PathEscape(s); s {
		case ".", "..":
			out[i] = strings.ReplaceAll(s, ".", "%2E")
		}
	}
	return out
}

// setBody makes data, which is JSON, the body of a request.
func (r *request) setBody(data []byte) {
	r.body, r.size = func() io.Reader { return bytes.NewReader(data) }, int64(len(data))
	r.header.Set("Content-Type", mediaJSON)
}
