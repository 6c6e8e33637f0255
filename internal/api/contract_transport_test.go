package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"gather"
)

// contract is a transport that checks every request and response against the contract and records the statuses.
type contract struct {
	t    testing.TB
	doc  *openapi3.T
	mu   sync.Mutex
	seen map[string]bool // "operation status"
}

func newContract(tb testing.TB) *contract {
	tb.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(gather.Spec)
	if err != nil {
		tb.Fatal(err)
	}
	if err := doc.Validate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return &contract{t: tb, doc: doc, seen: make(map[string]bool)}
}

// RoundTrip implements http.RoundTripper.
func (c *contract) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	return c.check(r, sent, resp)
}

// check checks a response against the contract.
func (c *contract) check(r *http.Request, sent []byte, resp *http.Response) (*http.Response, error) {
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	resp.Body = io.NopCloser(bytes.NewReader(got))
	what := fmt.Sprintf("%s %s -> %d", r.Method, r.URL.Path, resp.StatusCode)
	if resp.Header.Get("X-Request-Id") == "" {
		c.t.Errorf("%s: no X-Request-Id", what)
	}
	if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") != "application/problem+json" {
		c.t.Errorf("%s: an error that is %s", what, resp.Header.Get("Content-Type"))
	}
	route, params := c.route(r)
	if route == nil {
		return resp, nil
	}
	c.mu.Lock()
	c.seen[fmt.Sprintf("%s %d", route.Operation.OperationID, resp.StatusCode)] = true
	c.mu.Unlock()
	if resp.StatusCode == http.StatusMethodNotAllowed {
		return resp, nil
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r.Clone(r.Context()), PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true,
		},
	}
	if resp.StatusCode < 300 {
		input.Request.Body = io.NopCloser(bytes.NewReader(sent))
		if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
			c.t.Errorf("%s: accepted what the contract does not allow: %v", what, err)
		}
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err := c.checkBody(input, resp, media, got); err != nil {
		c.t.Errorf("%s: %v\n%.2000s", what, err, got)
	}
	return resp, nil
}

func (c *contract) checkBody(in *openapi3filter.RequestValidationInput, resp *http.Response, media string, body []byte) error {
	switch media {
	case "application/x-ndjson":
		schema := in.Route.Operation.Responses.Status(200).Value.Content.Get(media).Schema.Value
		for line := range bytes.Lines(body) {
			if err := visit(schema, bytes.TrimSpace(line)); err != nil {
				return err
			}
		}
		return nil
	case "text/event-stream":
		for _, e := range parseSSE(string(body)) {
			name := map[string]string{"state": "StateChange", "dependency": "DependencySucceeded", "result": "Item", "progress": "Progress", "end": "Job", "job": "Job", "group": "Group", "finished": "Group"}[e.name]
			if name == "" {
				return fmt.Errorf("unknown event %q", e.name)
			}
			if err := visit(c.doc.Components.Schemas[name].Value, []byte(e.data)); err != nil {
				return fmt.Errorf("event %s: %w", e.name, err)
			}
		}
		return nil
	case "application/json", "application/problem+json", "":
	default: // documents: their schemas are plain strings
		return nil
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Options: in.Options,
	}
	out.SetBodyBytes(body)
	return openapi3filter.ValidateResponse(in.Request.Context(), out)
}

func visit(schema *openapi3.Schema, data []byte) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	return schema.VisitJSON(v, openapi3.EnableJSONSchema2020())
}

// route returns the operation of a request, or nil.
func (c *contract) route(r *http.Request) (*routers.Route, map[string]string) {
	got := strings.Split(r.URL.Path, "/")
	for _, path := range c.doc.Paths.InMatchingOrder() {
		want := strings.Split(path, "/")
		params := make(map[string]string)
		fits := len(want) == len(got)
		for i := 0; fits && i < len(want); i++ {
			if name, ok := strings.CutPrefix(want[i], "{"); ok {
				params[strings.TrimSuffix(name, "}")] = got[i]
			} else {
				fits = want[i] == got[i]
			}
		}
		item := c.doc.Paths.Value(path)
		if op := item.GetOperation(r.Method); fits && op != nil {
			return &routers.Route{Spec: c.doc, Path: path, PathItem: item, Method: r.Method, Operation: op}, params
		}
	}
	return nil, nil
}

// sseEvent is one server-sent event.
type sseEvent struct{ id, name, data string }

func parseSSE(body string) []sseEvent {
	var events []sseEvent
	for block := range strings.SplitSeq(body, "\n\n") {
		var e sseEvent
		lines := bufio.NewScanner(strings.NewReader(block))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			}
		}
		if e.name != "" {
			events = append(events, e)
		}
	}
	return events
}
