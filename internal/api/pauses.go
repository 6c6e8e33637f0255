package api

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"gather/internal/fields"
	"gather/internal/job"
)

// maxReason bounds the reason of a pause, in characters.
const maxReason = 200

// pauseBody is the body of PUT /v1/pauses/{scope}/{name}.
type pauseBody struct{ reason string }

// decode implements requestBody.
func (b *pauseBody) decode(data []byte) error {
	var errs fields.Errors
	o, err := readObject(data, &errs)
	if err != nil {
		return err
	}
	if raw := o.Get("reason"); raw != nil {
		if json.Unmarshal(raw, &b.reason) != nil || raw.Kind() != '"' || utf8.RuneCountInString(b.reason) > maxReason ||
			strings.ContainsFunc(b.reason, func(r rune) bool { return r < ' ' }) {
			errs.Add("/reason", "must be a string of at most %d characters, without control characters", maxReason)
		}
	}
	o.Unused(nil, "unknown field; a pause has only reason")
	return errs.Err()
}

// readObject reads a body that is one JSON object. It returns an error for a body that is not.
func readObject(data []byte, errs *fields.Errors) (*fields.Object, error) {
	d := newDecoder(data)
	defer d.free()
	if _, err := d.ReadValue(); err != nil {
		return nil, d.syntaxError(err)
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	o, ok := fields.Read(data, errs)
	if !ok {
		return nil, fields.Invalidf("", "must be an object")
	}
	return o, nil
}

// listPauses implements GET /v1/pauses. Only operators see the pauses of other tenants, and the reasons.
func (s *server) listPauses(x *requestState) error {
	list := PauseList{Pauses: []Pause{}}
	for _, p := range s.Pauses.List() {
		if !x.principal.Operator {
			if p.Scope == job.PauseTenant && p.Name != x.principal.Tenant {
				continue
			}
			p.Reason = ""
		}
		list.Pauses = append(list.Pauses, pauseModel(&p))
	}
	return x.writeJSON(http.StatusOK, list)
}

func pauseModel(p *job.Pause) Pause {
	m := Pause{Scope: PauseScope(p.Scope), Name: p.Name, PausedAt: p.At}
	if p.Reason != "" {
		m.Reason = &p.Reason
	}
	return m
}

// putPause implements PUT /v1/pauses/{scope}/{name}.
func (s *server) putPause(x *requestState) error {
	p, err := s.pauseOf(x)
	if err != nil {
		return err
	}
	var body pauseBody
	if err := decodeBody(x, &body); err != nil {
		return err
	}
	p.Reason = body.reason
	p, created, err := s.Pauses.Pause(x, p)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return x.writeJSON(status, pauseModel(&p))
}

// deletePause implements DELETE /v1/pauses/{scope}/{name}.
func (s *server) deletePause(x *requestState) error {
	p, err := s.pauseOf(x)
	if err != nil {
		return err
	}
	existed, err := s.Pauses.Resume(x, p)
	if err != nil {
		return err
	}
	if !existed {
		return &problem{entry: noSuchResource, detail: "These jobs are not paused. GET /v1/pauses lists the pauses."}
	}
	return x.writeNothing(http.StatusNoContent)
}

// pauseOf returns the pause that a path names. Only operators may change pauses.
func (s *server) pauseOf(x *requestState) (job.Pause, error) {
	p := job.Pause{Scope: job.PauseScope(x.param("scope")), Name: x.param("name")}
	if !x.principal.Operator {
		return p, &problem{entry: forbidden, detail: "Only a key that was created with --operator may pause and resume jobs."}
	}
	unknown := func(detail string) (job.Pause, error) { return p, &problem{entry: noSuchResource, detail: detail} }
	switch p.Scope {
	case job.PauseKind:
		if _, ok := s.valueKinds[p.Name]; !ok {
			return unknown("No kind has this name. GET /v1/kinds lists the kinds.")
		}
	case job.PausePriority:
		if !slices.ContainsFunc(job.Priorities(), func(o job.Priority) bool { return o.String() == p.Name }) {
			return unknown("No priority has this name: use low, normal or high.")
		}
	case job.PauseTenant:
		if !tenantName(p.Name) {
			return unknown("No tenant can have this name: 1 to 64 letters, digits, '.', '_' or '-'.")
		}
	default:
		return unknown("Jobs are paused by kind, priority or tenant: /v1/pauses/kind/NAME.")
	}
	return p, nil
}

// tenantName reports whether a tenant can have a name.
func tenantName(name string) bool { return name != "" && len(name) <= 64 && onlyLetters(name, "._-") }
