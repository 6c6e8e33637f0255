package kind

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/outbound"
)

// Bounds of one request.
const (
	maxRequestBody    = 1 << 20
	maxRequestHeaders = 64
	maxHeaderText     = 8 << 10
)

var httpMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// noRequests stands for requests with errors.
type noRequests struct{}

func (noRequests) len() int64                               { return 0 }
func (noRequests) request(int64) (*outbound.Request, error) { return nil, nil } //nolint:nilnil // never called

// rawRequests are the requests of a list, which are parts of the spec.
type rawRequests struct{ raw []jsontext.Value }

func (l rawRequests) len() int64 { return int64(len(l.raw)) }

func (l rawRequests) request(i int64) (*outbound.Request, error) {
	var errs fields.Errors
	r, text := readRequest(l.raw[i], &errs)
	if err := errs.Err(); err != nil {
		return nil, err
	}
	var err error
	r.URL, err = outbound.ParseURL(text)
	return r, err
}

// requests returns the field requests, and checks every request.
func (o object) requests(e env) requestList {
	var l rawRequests
	failed := 0
	o.elements("requests", func(i int64, v jsontext.Value) bool {
		if i >= e.Items {
			o.Add("/requests", "at most %d items in a job; split the list", e.Items)
			return false
		}
		var errs fields.Errors
		r, text := readRequest(v, &errs)
		checkURL(text, "/url", e, &errs)
		checkSecrets(r, e, &errs)
		if errs.Total() > 0 {
			o.Merge(fmt.Sprintf("/requests/%d", i), &errs)
			failed++
		}
		l.raw = append(l.raw, v)
		return failed < maxListErrors
	})
	return l
}

// readRequest reads a request without its URL, whose text it returns.
func readRequest(v jsontext.Value, errs *fields.Errors) (*outbound.Request, string) {
	o := readObject(v, errs, "method", "url", "headers", "body")
	o.NullIsAbsent("method", "headers", "body")
	r := &outbound.Request{Method: http.MethodGet}
	if v := o.Get("method"); v != nil {
		if r.Method = fields.Text(v); !slices.Contains(httpMethods, r.Method) {
			o.Add("/method", "must be one of %s", strings.Join(httpMethods, ", "))
		}
	}
	text := ""
	switch v := o.Get("url"); {
	case v.Kind() != '"':
		o.Add("/url", "must be a URL")
	case len(v) > outbound.MaxURL:
		o.Add("/url", "must have at most %d bytes", outbound.MaxURL)
	default:
		text = fields.Text(v)
	}
	if v := o.Get("headers"); v != nil {
		r.Header = readHeaders(v, errs)
	}
	if v := o.Get("body"); v != nil {
		switch {
		case v.Kind() != '"':
			o.Add("/body", "must be a string")
		case len(v) > maxRequestBody:
			o.Add("/body", "must have at most %d bytes as JSON", maxRequestBody)
		default:
			body, _ := jsontext.AppendUnquote(nil, v)
			r.Body = string(body)
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			o.Add("/body", "a %s request has no body", r.Method)
		}
	}
	return r, text
}

// readHeaders reads the headers of a request.
func readHeaders(v jsontext.Value, errs *fields.Errors) []outbound.Header {
	var inner fields.Errors
	defer func() { errs.Merge("/headers", &inner) }()
	o, ok := fields.Read(v, &inner)
	if !ok {
		inner.Add("", "must be an object of strings, and of {\"secret\": NAME}")
		return nil
	}
	if len(o.Names()) > maxRequestHeaders {
		inner.Add("", "at most %d headers", maxRequestHeaders)
		return nil
	}
	list := make([]outbound.Header, 0, len(o.Names()))
	total := 0
	for _, name := range o.Names() {
		pointer := "/" + fields.Token(name)
		if err := outbound.CheckHeaderName(name); err != nil {
			inner.Add(pointer, "%v", err)
			continue
		}
		h := outbound.Header{Name: http.CanonicalHeaderKey(name)}
		if slices.ContainsFunc(list, func(other outbound.Header) bool { return other.Name == h.Name }) {
			inner.Add(pointer, "appears twice, in another case: remove one")
			continue
		}
		value := o.Get(name)
		if value.Kind() == '{' {
			h.Secret = true
			s, _ := fields.Read(value, &inner)
			value = s.Get("secret")
			pointer += "/secret"
			s.Unused(nil, "unknown field; a secret is {\"secret\": NAME}")
		}
		if value.Kind() != '"' || len(value) > maxHeaderText {
			inner.Add(pointer, "must be a string of at most %d bytes, or {\"secret\": NAME}", maxHeaderText)
			continue
		}
		h.Value = fields.Text(value)
		if err := outbound.CheckHeaderValue(h.Value); err != nil {
			inner.Add(pointer, "%v", err)
		}
		total += len(h.Name) + len(h.Value)
		list = append(list, h)
	}
	if total > 2*maxHeaderText {
		inner.Add("", "all headers together must have at most %d bytes", 2*maxHeaderText)
	}
	return list
}

// checkSecrets adds an error for each secret that does not exist.
func checkSecrets(r *outbound.Request, e env, errs *fields.Errors) {
	if e.again {
		return // the request fails if it is gone
	}
	for _, h := range r.Header {
		if !h.Secret {
			continue
		}
		if _, err := e.http.Secret(e.tenant, h.Value); err != nil {
			errs.Add("/headers/"+fields.Token(h.Name)+"/secret", "%v", err)
		}
	}
}

// checkURL adds the error of a URL, or of a host that is not allowed. Texts with an error already are "".
func checkURL(text, pointer string, e env, errs *fields.Errors) {
	if text == "" {
		if errs.Total() == 0 {
			errs.Add(pointer, "must be a URL")
		}
		return
	}
	u, err := outbound.ParseURL(text)
	if err == nil && !e.again { // else the request fails if it is no longer allowed
		err = e.http.Policy(e.tenant).Allow(u)
	}
	if err != nil {
		errs.Add(pointer, "%v", err)
	}
}
