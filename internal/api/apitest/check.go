package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// check returns an error when a response violates the contract.
func (w *worker) check(q *request, a *response) error {
	media, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil && a.Header.Get("Content-Type") != "" {
		return fmt.Errorf("Content-Type %q: %w", a.Header.Get("Content-Type"), err)
	}
	if a.Header.Get("X-Injected") != "" {
		return fmt.Errorf("a header was injected")
	}
	id := a.Header.Get("X-Request-Id")
	if id == "" || q.id != "" && q.id != id && !q.malformed {
		return fmt.Errorf("X-Request-Id is %q, want %q", id, q.id)
	}
	if err := w.checkAccess(q, a); err != nil {
		return err
	}
	if a.StatusCode >= 400 {
		if err := w.checkProblem(q, a, media); err != nil {
			return err
		}
	}
	if q.malformed && slices.Contains(serverStatuses, a.StatusCode) {
		if q.method == http.MethodHead {
			return nil
		}
		return validate(w.contract.problem, a.body)
	}
	if err := w.checkDocumented(q, a, media); err != nil {
		return err
	}
	if a.StatusCode < 300 && !q.loose && !q.malformed {
		return checkAccepted(q)
	}
	return nil
}

// anyOperation are the statuses that the contract documents for all operations: a forbidden origin or host, a body that
// does not arrive.
var anyOperation = []int{http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusRequestTimeout}

// serverStatuses are the statuses with which net/http rejects requests without calling the handler.
var serverStatuses = []int{
	http.StatusBadRequest, http.StatusExpectationFailed, http.StatusRequestHeaderFieldsTooLarge, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported,
}

// checkAccess checks that nothing is accessible without a key, read-only keys change nothing, and jobs of other tenants
// are not found.
func (w *worker) checkAccess(q *request, a *response) error {
	if len(w.config.Keys) == 0 || q.loose {
		return nil
	}
	switch {
	case q.op.open:
	case q.key == nil:
		if a.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("without a valid key: status %d, want 401", a.StatusCode)
		}
	case q.key.ReadOnly && q.op.method != "GET" && a.StatusCode < 400:
		return fmt.Errorf("with a read-only key: status %d, want 403", a.StatusCode)
	case q.job != nil && q.job.tenant != q.key.Tenant && !slices.Contains([]int{400, 403, 404, 406, 408}, a.StatusCode):
		return fmt.Errorf("job of another tenant: status %d, want 404", a.StatusCode)
	}
	return nil
}

// required has the headers that responses of a status must have.
var required = map[int]string{401: "Www-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}

func (w *worker) checkProblem(q *request, a *response, media string) error {
	if media != "application/problem+json" {
		return fmt.Errorf("an error as %q, want application/problem+json", media)
	}
	if name := required[a.StatusCode]; name != "" && a.Header.Get(name) == "" {
		return fmt.Errorf("status %d without %s", a.StatusCode, name)
	}
	if a.StatusCode == http.StatusInternalServerError {
		return fmt.Errorf("an internal error")
	}
	if q.method == http.MethodHead {
		return nil
	}
	var p struct {
		Type      string
		Title     string
		Status    int
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		return fmt.Errorf("the problem is not JSON: %w", err)
	}
	switch {
	case p.Status != a.StatusCode:
		return fmt.Errorf("the problem's status is %d, want %d", p.Status, a.StatusCode)
	case p.RequestID != a.Header.Get("X-Request-Id"):
		return fmt.Errorf("the problem's request_id is %q, want %q", p.RequestID, a.Header.Get("X-Request-Id"))
	case p.Type == "/problems/storage-unavailable" || p.Type == "/problems/shutting-down":
		return fmt.Errorf("%s of a sound server", p.Type)
	case len(a.body) > maxProblem:
		return fmt.Errorf("the problem has %d bytes, want at most %d", len(a.body), maxProblem)
	}
	return w.checkType(p.Type)
}

// checkType checks that the type of a problem is about:blank or the path of a page on the server.
func (w *worker) checkType(name string) error {
	if name == "about:blank" {
		return nil
	}
	w.mu.Lock()
	known := w.problems[name]
	w.mu.Unlock()
	if known {
		return nil
	}
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.config.Address+name, http.NoBody)
	if err != nil {
		return fmt.Errorf("the problem's type %q: %w", name, err)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the page of the problem's type %q: status %d, want 200", name, resp.StatusCode)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems[name] = true
	return nil
}

// maxProblem bounds every error response: 100 errors of about 600 bytes.
const maxProblem = 100 << 10

// checkDocumented checks status, media type, headers and body against the contract.
func (w *worker) checkDocumented(q *request, a *response, media string) error {
	if !q.loose {
		return w.checkOperation(q.op, q.method, a, media)
	}
	switch a.StatusCode {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		if q.method == http.MethodHead {
			return nil
		}
		return validate(w.contract.problem, a.body)
	case http.StatusPermanentRedirect:
		if a.Header.Get("Location") == "" || len(a.body) > 0 {
			return fmt.Errorf("a redirect to %q with %d bytes", a.Header.Get("Location"), len(a.body))
		}
		return nil
	}
	err := fmt.Errorf("no operation has status %d as %q", a.StatusCode, media)
	for _, op := range w.contract.operations {
		if _, ok := op.documents(a.StatusCode, media); ok || slices.Contains(anyOperation, a.StatusCode) {
			if err = w.checkOperation(op, q.method, a, media); err == nil {
				return nil
			}
		}
	}
	return err
}

func (w *worker) checkOperation(op *operation, method string, a *response, media string) error {
	schema, ok := op.documents(a.StatusCode, media)
	if !ok && slices.Contains(anyOperation, a.StatusCode) && media == "application/problem+json" {
		schema, ok = w.contract.problem, true
	}
	if !ok {
		return fmt.Errorf("%s does not document status %d as %q", op.id, a.StatusCode, media)
	}
	for name, schema := range op.responses[a.StatusCode].headers {
		for _, text := range a.Header.Values(name) {
			if err := schema.Validate(parameterValue(text)); err != nil && schema.Validate(text) != nil {
				return fmt.Errorf("header %s %q: %w", name, text, err)
			}
		}
	}
	if method == http.MethodHead || schema == nil {
		if len(a.body) > 0 && (method == http.MethodHead || media == "") {
			return fmt.Errorf("a body of %d bytes, want none", len(a.body))
		}
		return nil
	}
	switch media {
	case "application/json", "application/problem+json":
		return validate(schema, a.body)
	case "application/x-ndjson":
		return checkLines(a, func(line []byte) error { return w.checkLine(op, schema, line) })
	case "text/event-stream":
		return w.checkEvents(a)
	}
	return nil
}

// checkLine checks a line of NDJSON; an event by the schema of its name, because the general schema allows the data of
// any event.
func (w *worker) checkLine(op *operation, schema *jsonschema.Schema, line []byte) error {
	if err := validate(schema, line); err != nil || op.id != "getJobEvents" {
		return err
	}
	var e struct {
		Event string
		Data  json.RawMessage
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	return validate(w.contract.events[e.Event], e.Data)
}

func checkLines(a *response, check func([]byte) error) error {
	for line := range bytes.Lines(a.body) {
		text, ended := bytes.CutSuffix(line, []byte{'\n'})
		if !ended {
			if a.partial {
				return nil
			}
			return fmt.Errorf("the last line does not end: %.200q", line)
		}
		if err := check(text); err != nil {
			return err
		}
	}
	return nil
}

var field = regexp.MustCompile(`^(id: [0-9]+|event: [a-z]+|data: .+|retry: [0-9]+|:.*|)$`)

func (w *worker) checkEvents(a *response) error {
	event := ""
	return checkLines(a, func(line []byte) error {
		name, data, _ := bytes.Cut(line, []byte(": "))
		switch {
		case !field.Match(line):
			return fmt.Errorf("not a line of an event: %.200q", line)
		case string(name) == "event":
			event = string(data)
		case string(name) == "data" && w.contract.events[event] == nil:
			return fmt.Errorf("unknown event %q", event)
		case string(name) == "data":
			return validate(w.contract.events[event], data)
		}
		return nil
	})
}

// validate checks that data is strict JSON and matches a schema.
func validate(schema *jsonschema.Schema, data []byte) (err error) {
	defer func() { // the validator panics on exponents beyond some thousands
		if cause := recover(); cause != nil && hugeExponent.Match(data) {
			err = nil
		} else if cause != nil {
			panic(cause)
		}
	}()
	if !jsontext.Value(data).IsValid() {
		return fmt.Errorf("not JSON: %.300q", data)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// checkAccepted checks an accepted request against the contract.
func checkAccepted(q *request) error {
	_, query, _ := strings.Cut(q.target, "?")
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		text, err := url.QueryUnescape(value)
		if err != nil {
			return fmt.Errorf("accepted the query %q", pair)
		}
		i := slices.IndexFunc(q.op.params, func(p param) bool { return p.in == "query" && p.name == name })
		if i < 0 {
			return fmt.Errorf("accepted the unknown parameter %q", pair)
		}
		v := parameterValue(text)
		switch q.op.params[i].schema["type"] {
		case "array":
			v = []any{text}
		case "integer":
		case "boolean":
			if v = text; text == "true" || text == "false" {
				v = text == "true"
			}
		default:
			v = text
		}
		if err := q.op.params[i].compiled.Validate(v); err != nil {
			return fmt.Errorf("accepted the parameter %q: %w", pair, err)
		}
	}
	if len(q.op.bodies) == 0 || q.op.bodies[0].schema["format"] == "binary" {
		return nil
	}
	if q.ending != complete && q.sent < len(q.body) {
		return fmt.Errorf("accepted a body of which %d of %d bytes were sent", q.sent, len(q.body))
	}
	if err := validate(q.op.bodies[0].compiled, q.body); err != nil {
		return fmt.Errorf("accepted a body that the contract does not allow: %w", err)
	}
	return nil
}

var hugeExponent = regexp.MustCompile(`[eE][+-]?[0-9]{4,}`)

var plainInteger = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// parameterValue returns a parameter or header as its schema expects it: an integer or a text.
func parameterValue(text string) any {
	if plainInteger.MatchString(text) {
		return json.Number(text)
	}
	return text
}
