package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"gather"
	"gather/internal/fields"
)

// A queryParam is a query parameter of an operation in the contract.
type queryParam struct {
	name string
	// repeats is true if the parameter may be given several times.
	repeats bool
	// integer is true if values must be JSON integers, without plus sign and leading zeros.
	integer bool
	// enum has the values of an enumeration.
	enum []string
	// minimum bounds an integer.
	minimum int64
	// minLength and maxLength bound the characters of a value; maxLength 0 is no bound.
	minLength, maxLength int
}

// queryParams has the query parameters of the operations in the contract.
type queryParams map[routeKey][]queryParam

// newQueryParams parses the query parameters of the contract.
func newQueryParams() (queryParams, error) {
	type schema struct {
		Ref   string `yaml:"$ref"`
		Type  any    `yaml:"type"`
		Items struct {
			Ref       string `yaml:"$ref"`
			MinLength int    `yaml:"minLength"`
			MaxLength int    `yaml:"maxLength"`
		} `yaml:"items"`
		Enum      []string `yaml:"enum"`
		Minimum   int64    `yaml:"minimum"`
		MinLength int      `yaml:"minLength"`
		MaxLength int      `yaml:"maxLength"`
	}
	type parameter struct {
		Ref    string `yaml:"$ref"`
		Name   string `yaml:"name"`
		In     string `yaml:"in"`
		Schema schema `yaml:"schema"`
	}
	type operation struct {
		Parameters []parameter `yaml:"parameters"`
	}
	var doc struct {
		Paths map[string]struct {
			operation `yaml:",inline"` // the parameters of all operations of the path
			Get       *operation       `yaml:"get"`
			Put       *operation       `yaml:"put"`
			Post      *operation       `yaml:"post"`
			Delete    *operation       `yaml:"delete"`
		} `yaml:"paths"`
		Components struct {
			Parameters map[string]parameter `yaml:"parameters"`
			Schemas    map[string]schema    `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(gather.Spec, &doc); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: %w", err)
	}
	params := make(queryParams)
	for route, item := range doc.Paths {
		for method, op := range map[string]*operation{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "DELETE": item.Delete} {
			if op == nil {
				continue
			}
			key := routeKey{method, route}
			for _, p := range slices.Concat(op.Parameters, item.Parameters) {
				if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
					p = doc.Components.Parameters[name]
				}
				if p.In != "query" {
					continue
				}
				s := p.Schema
				if name, ok := strings.CutPrefix(s.Ref+s.Items.Ref, refPrefix); ok {
					s = doc.Components.Schemas[name]
				}
				s.MinLength, s.MaxLength = max(s.MinLength, s.Items.MinLength), max(s.MaxLength, s.Items.MaxLength)
				if s.Type == "boolean" {
					s.Enum = []string{"true", "false"}
				}
				params[key] = append(params[key], queryParam{
					p.Name, p.Schema.Type == "array", s.Type == "integer", s.Enum, s.Minimum, s.MinLength, s.MaxLength,
				})
			}
		}
	}
	return params, nil
}

// find returns the parameter with a name, or nil.
func find(params []queryParam, name string) *queryParam {
	for i := range params {
		if params[i].name == name {
			return &params[i]
		}
	}
	return nil
}

// checkQuery is a middleware that responds 400 to invalid queries and unknown parameters and lists every error, so that
// a mistyped filter or option is not ignored.
func (s *server) checkQuery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			if err := readQuery(r.URL.RawQuery, s.queryParams[routeKey{method, r.Pattern}]); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// readQuery checks a query against the parameters of an operation. It returns a *problem with at most fields.MaxListed
// errors.
func readQuery(raw string, params []queryParam) error {
	p := &problem{entry: malformedRequest, detail: "The query is not valid."}
	seen := make(map[string]bool, len(params))
	for len(p.errors) < fields.MaxListed && raw != "" {
		var pair string
		if pair, raw, _ = strings.Cut(raw, "&"); pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		addError := func(detail string) {
			p.errors = append(p.errors, fieldError{"parameter", fields.Clip(name), detail})
		}
		text, err := unescapeQuery(name)
		if err != nil {
			name = strings.ToValidUTF8(name, "\ufffd")
			addError("the name of the parameter " + err.Error())
			continue
		}
		name = text
		known := find(params, name)
		if known == nil {
			addError("unknown parameter; " + takes(params))
			continue
		}
		if seen[name] && !known.repeats {
			addError("must be given once")
			continue
		}
		seen[name] = true
		text, err = unescapeQuery(value)
		switch {
		case err != nil:
			addError("the value " + err.Error())
		case text == "" && known.minLength > 0:
			addError("must not be empty; leave the parameter out for no value")
		case known.integer:
			if err := known.checkInteger(text); err != nil {
				addError(err.Error())
			}
		case known.enum != nil && !slices.Contains(known.enum, text):
			addError("must be one of " + strings.Join(known.enum, ", "))
		case known.maxLength > 0 && utf8.RuneCountInString(text) > known.maxLength:
			addError("must have at most " + strconv.Itoa(known.maxLength) + " characters")
		}
	}
	if len(p.errors) == 0 {
		return nil
	}
	return p
}

var jsonInteger = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// checkInteger checks that a text is a JSON integer of at least the minimum.
func (p *queryParam) checkInteger(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case !jsonInteger.MatchString(text):
		return errors.New("must be an integer, in decimal without leading zeros")
	case err != nil:
		return errors.New("does not have the type of this parameter, an integer below 2^63")
	case n < p.minimum:
		return fmt.Errorf("must be at least %d", p.minimum)
	}
	return nil
}

// takes returns a sentence that lists the parameters of an operation.
func takes(params []queryParam) string {
	if len(params) == 0 {
		return "this operation has no query parameters"
	}
	names := make([]string, len(params))
	for i := range params {
		names[i] = params[i].name
	}
	return "this operation has " + strings.Join(names, ", ")
}

// unescapeQuery decodes a name or a value of a query. Its error texts continue "the value ...".
func unescapeQuery(s string) (string, error) {
	if strings.Contains(s, ";") {
		return "", errors.New("has a semicolon: separate parameters with &, and write a semicolon as %3B")
	}
	text, err := url.QueryUnescape(s)
	if err != nil {
		return "", errors.New("is not percent-encoded: write a percent sign as %25")
	}
	if !utf8.ValidString(text) {
		return "", errors.New("is not UTF-8")
	}
	return text, nil
}
