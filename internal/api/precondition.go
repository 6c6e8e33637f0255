package api

import (
	"net/http"
	"strings"

	"gather/internal/job"
)

// precondition parses If-Match and If-None-Match (RFC 9110, section 13). A header that cannot be parsed is an error,
// because ignoring it could allow the change it should prevent. Conditions by date are ignored, because no resource has
// a modification date.
func precondition(h http.Header) (p job.Precondition, err error) {
	const want = `must be "*", or entity tags in double quotes, separated by commas`
	var ok bool
	if lines := h["If-Match"]; len(lines) > 0 {
		if p.Match, ok = entityTags(lines, false); !ok {
			return p, malformed("header", "If-Match", want)
		}
	}
	if lines := h["If-None-Match"]; len(lines) > 0 {
		if p.NoneMatch, ok = entityTags(lines, true); !ok {
			return p, malformed("header", "If-None-Match", want)
		}
	}
	return p, nil
}

// entityTags parses a list of entity tags and returns them without their quotes; weak ones only for a weak comparison.
// The list is not nil if it can be parsed.
func entityTags(lines []string, weak bool) (tags []string, ok bool) {
	rest := strings.TrimSpace(strings.Join(lines, ","))
	if rest == "*" {
		return []string{"*"}, true
	}
	tags = []string{}
	for some := false; ; some = true {
		rest = strings.TrimLeft(rest, " \t,") // RFC 9110, section 5.6.1.2: elements may be empty
		if rest == "" {
			return tags, some
		}
		opaque, isWeak := strings.CutPrefix(rest, "W/")
		if opaque == "" || opaque[0] != '"' {
			return nil, false
		}
		tag, after, closed := strings.Cut(opaque[1:], `"`)
		rest = strings.TrimLeft(after, " \t")
		if !closed || rest != "" && rest[0] != ',' || strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return nil, false
		}
		if weak || !isWeak {
			tags = append(tags, tag)
		}
	}
}

// conditional reports whether a request has a precondition that this server evaluates.
func conditional(h http.Header) bool { return len(h["If-Match"])+len(h["If-None-Match"]) > 0 }

// checkJob evaluates the preconditions of a request that changes a job.
func (s *server) checkJob(x *requestState, ints intEncoding) error {
	if !conditional(x.req.Header) {
		return nil
	}
	p, err := precondition(x.req.Header)
	if err != nil {
		return err
	}
	j, err := s.find(x)
	if err != nil {
		return err
	}
	return weakly(p).Check(opaque(etag(&j, ints)))
}

// weakly returns the precondition for a resource whose entity tag is weak, which If-Match never matches.
func weakly(p job.Precondition) job.Precondition {
	if p.Match != nil && (len(p.Match) == 0 || p.Match[0] != "*") {
		p.Match = []string{}
	}
	return p
}

// opaque returns an entity tag without prefix and quotes.
func opaque(tag string) string { return strings.Trim(strings.TrimPrefix(tag, "W/"), `"`) }
