package api

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
)

// maxBatch bounds the jobs of one batch.
const maxBatch = 10_000

// A jobsBody is the decoded body of a submission: one job or a batch.
type jobsBody struct {
	jobs []envelope
	one  [1]envelope
	// data is the whole body.
	data []byte
	// group is the group of a batch.
	group jsontext.Value
	// batch is true for a batch, whose pointers begin with "/jobs/<i>".
	batch bool
	// errs are the errors of a batch's outer object.
	errs fields.Errors
}

// The bodies, by their names in the generated code.
type (
	submission      struct{ jobsBody }
	batchSubmission struct{ jobsBody }
)

// An envelope is one submitted job. Its values refer to the body.
type envelope struct {
	kind, priority, timeout, startAfter, labels, retention, failedRetention, webhooks, group, after, afterTimeout jsontext.Value
	// start is the offset of the object in the body; members are the offsets of the kind's own members.
	start   int
	members []byteRange
	// notObject is true if the value is not an object.
	notObject bool
}

// A byteRange is a range of offsets in the body.
type byteRange struct{ from, to int }

// decode implements requestBody.
func (s *submission) decode(data []byte) error {
	d := newDecoder(data)
	defer d.free()
	s.data, s.jobs = data, s.one[:]
	if err := s.one[0].read(d, data); err != nil {
		return err
	}
	return d.end()
}

// decode implements requestBody.
func (b *batchSubmission) decode(data []byte) error {
	d := newDecoder(data)
	defer d.free()
	b.data, b.batch = data, true
	if d.PeekKind() != '{' {
		if err := d.SkipValue(); err != nil {
			return d.syntaxError(err)
		}
		b.errs.Add("", `must be an object such as {"jobs": [...]}`)
		return d.end()
	}
	_, _ = d.ReadToken()
	seen := false
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return d.syntaxError(err)
		}
		switch key := name.String(); key {
		case "jobs":
		case "group":
			v, err := d.ReadValue()
			if err != nil {
				return d.syntaxError(err)
			}
			to := int(d.InputOffset())
			b.group = data[to-len(v) : to : to]
			continue
		default:
			b.errs.Add("/"+fields.Token(key), "unknown field; a batch has jobs and group")
			if err := d.SkipValue(); err != nil {
				return d.syntaxError(err)
			}
			continue
		}
		seen = true
		if d.PeekKind() != '[' {
			b.errs.Add("/jobs", "must be an array")
			if err := d.SkipValue(); err != nil {
				return d.syntaxError(err)
			}
			continue
		}
		_, _ = d.ReadToken()
		for d.PeekKind() != ']' {
			var e envelope
			if err := e.read(d, data); err != nil {
				return err
			}
			if len(b.jobs) <= maxBatch {
				if len(b.jobs) == cap(b.jobs) { // envelopes are large: append would copy them more often
					b.jobs = slices.Grow(b.jobs, max(4, len(b.jobs)))
				}
				b.jobs = append(b.jobs, e)
			}
		}
		if _, err := d.ReadToken(); err != nil {
			return d.syntaxError(err)
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return d.syntaxError(err)
	}
	switch {
	case !seen:
		b.errs.Add("/jobs", "is missing: an array of jobs")
	case len(b.jobs) > maxBatch:
		b.errs.Add("/jobs", "at most %d jobs in a batch; split it", maxBatch)
	case len(b.jobs) == 0 && len(b.errs.List) == 0:
		b.errs.Add("/jobs", "at least one job")
	}
	return d.end()
}

// read decodes one object. It returns an error only for invalid JSON.
func (e *envelope) read(d *decoder, data []byte) error {
	if d.PeekKind() != '{' {
		e.notObject = true
		return d.syntaxError(d.SkipValue())
	}
	_, _ = d.ReadToken()
	e.start = int(d.InputOffset()) - 1
	for d.PeekKind() != '}' {
		before := int(d.InputOffset())
		name, err := d.ReadValue()
		if err != nil {
			return d.syntaxError(err)
		}
		known := e.member(name)
		v, err := d.ReadValue()
		if err != nil {
			return d.syntaxError(err)
		}
		to := int(d.InputOffset())
		if known != nil {
			*known = data[to-len(v) : to : to]
			continue
		}
		// Only a comma and white space separate two members.
		from := before + bytes.IndexByte(data[before:], '"')
		if e.members == nil {
			e.members = make([]byteRange, 0, 4)
		}
		e.members = append(e.members, byteRange{from, to})
	}
	_, err := d.ReadToken()
	return d.syntaxError(err)
}

// member returns the destination of a member's value; nil for a member of the kind.
func (e *envelope) member(name jsontext.Value) *jsontext.Value {
	if bytes.IndexByte(name, '\\') >= 0 {
		plain, _ := jsontext.AppendUnquote(nil, name)
		name, _ = jsontext.AppendQuote(nil, plain)
	}
	switch string(name) {
	case `"kind"`:
		return &e.kind
	case `"priority"`:
		return &e.priority
	case `"timeout"`:
		return &e.timeout
	case `"start_after"`:
		return &e.startAfter
	case `"labels"`:
		return &e.labels
	case `"retention"`:
		return &e.retention
	case `"failed_retention"`:
		return &e.failedRetention
	case `"webhooks"`:
		return &e.webhooks
	case `"group"`:
		return &e.group
	case `"after"`:
		return &e.after
	case `"after_timeout"`:
		return &e.afterTimeout
	}
	return nil
}

// spec moves the kind's members together, over the members of the envelope, and returns them as an object. It works in
// place, so that a large body is not copied. It invalidates the envelope's values.
func (e *envelope) spec(data []byte) []byte {
	dst := append(data[e.start:e.start:len(data)], '{')
	for i, m := range e.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, data[m.from:m.to]...)
	}
	return slices.Clip(append(dst, '}'))
}
