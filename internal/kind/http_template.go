package kind

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/outbound"
)

// A uriTemplate is a URI template of level 1 (RFC 6570): literals with variables between them, such as {id}.
type uriTemplate struct {
	literals []string // one more than names
	names    []string
}

// parseTemplate parses a template. Its error is for clients.
func parseTemplate(text string) (uriTemplate, error) {
	var t uriTemplate
	for {
		literal, rest, found := strings.Cut(text, "{")
		if strings.Contains(literal, "}") {
			return t, fmt.Errorf("has a } without a {")
		}
		t.literals = append(t.literals, literal)
		if !found {
			return t, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !variableName(name) {
			return t, fmt.Errorf("has an expression that is not the name of a variable, such as {id}: letters, digits and _")
		}
		t.names = append(t.names, name)
		text = after
	}
}

func variableName(name string) bool {
	return name != "" && len(name) <= 100 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	})
}

// expand returns the text with the values of the variables, percent-encoded except for unreserved characters.
func (t *uriTemplate) expand(value func(name string) string) string {
	var b []byte
	for i, literal := range t.literals {
		b = append(b, literal...)
		if i < len(t.names) {
			b = appendPercent(b, value(t.names[i]))
		}
	}
	return string(b)
}

func appendPercent(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// inHost reports whether a variable is before the path.
func (t *uriTemplate) inHost() bool {
	if len(t.names) == 0 {
		return false
	}
	_, rest, found := strings.Cut(t.literals[0], "://")
	return !found || !strings.ContainsAny(rest, "/?#")
}

// templateRequests are the requests of a template.
type templateRequests struct {
	common outbound.Request // without its URL
	url    uriTemplate
	values valueList
}

// A valueList is the values of the variables of a template.
type valueList interface {
	len() int64
	// of returns the value of a variable in request i.
	of(i int64) func(name string) string
}

func (l *templateRequests) len() int64 { return l.values.len() }

func (l *templateRequests) request(i int64) (*outbound.Request, error) {
	r := l.common
	u, err := l.parse(i)
	r.URL = u
	return &r, err
}

func (l *templateRequests) parse(i int64) (*url.URL, error) {
	return outbound.ParseURL(l.url.expand(l.values.of(i)))
}

// template returns the requests of the fields request, and for_each or range.
func (o object) template(e env) requestList {
	var errs fields.Errors
	r, text := readRequest(o.Get("request"), &errs)
	checkSecrets(r, e, &errs)
	l := &templateRequests{common: *r, values: objectValues{}}
	var err error
	if l.url, err = parseTemplate(text); err != nil {
		errs.Add("/url", "%v", err)
	} else if !l.url.inHost() && text != "" {
		checkURL(l.url.expand(func(string) string { return "x" }), "/url", e, &errs)
	}
	valid := errs.Total() == 0
	o.Merge("/request", &errs)
	if !o.oneOf("for_each", "range") {
		return l
	}
	if o.Has("range") {
		start, stop, step, n := o.integerRange(e.Limits)
		switch {
		case !start.IsInt64() || !stop.IsInt64() || !step.IsInt64():
			o.Add("/range", "must be within 64 bits")
		case valid && !l.url.one():
			o.Add("/request/url", "must have one variable, such as {i}, for the numbers of range")
		case valid && l.url.inHost():
			o.Add("/request/url", "has a variable in the host: use for_each instead of range")
		}
		l.values = rangeValues{start.Int64(), step.Int64(), n}
		return l
	}
	l.values = o.forEach(e, &l.url)
	if !valid || !l.url.inHost() {
		return l
	}
	failed := 0
	for i := range l.values.len() {
		var one fields.Errors
		checkURL(l.url.expand(l.values.of(i)), "", e, &one)
		if one.Total() > 0 {
			o.Merge(fmt.Sprintf("/for_each/%d", i), &one)
			if failed++; failed == maxListErrors {
				break
			}
		}
	}
	return l
}

// one reports whether all variables have the same name.
func (t *uriTemplate) one() bool {
	for _, name := range t.names {
		if name != t.names[0] {
			return false
		}
	}
	return len(t.names) > 0
}

// rangeValues are the numbers of a range, for every variable.
type rangeValues struct{ start, step, n int64 }

func (r rangeValues) len() int64 { return r.n }

func (r rangeValues) of(i int64) func(string) string {
	return func(string) string { return strconv.FormatInt(r.start+i*r.step, 10) }
}

// objectValues are the objects of for_each, which are parts of the spec.
type objectValues struct{ raw []jsontext.Value }

func (l objectValues) len() int64 { return int64(len(l.raw)) }

func (l objectValues) of(i int64) func(string) string {
	var errs fields.Errors
	o, _ := fields.Read(l.raw[i], &errs)
	return func(name string) string {
		text, _ := variableText(o.Get(name))
		return text
	}
}

// forEach returns the field for_each, and checks that every object has the variables.
func (o object) forEach(e env, t *uriTemplate) objectValues {
	var l objectValues
	failed := 0
	o.elements("for_each", func(i int64, v jsontext.Value) bool {
		if i >= e.Items {
			o.Add("/for_each", "at most %d items in a job; split the list", e.Items)
			return false
		}
		var errs fields.Errors
		values, ok := fields.Read(v, &errs)
		if !ok {
			errs.Add("", "must be an object with the values of the variables")
		}
		for _, name := range t.names {
			if _, ok := variableText(values.Get(name)); !ok {
				errs.Add("/"+name, "must be a string, a number or a boolean: the template has it")
			}
		}
		if errs.Total() > 0 {
			o.Merge(fmt.Sprintf("/for_each/%d", i), &errs)
			failed++
		}
		l.raw = append(l.raw, v)
		return failed < maxListErrors
	})
	return l
}

// variableText returns the text of a value: of a string, a number or a boolean.
func variableText(v jsontext.Value) (string, bool) {
	switch v.Kind() {
	case '"':
		return fields.Text(v), len(v) <= outbound.MaxURL
	case '0', 't', 'f':
		return string(v), len(v) <= outbound.MaxURL
	}
	return "", false
}
