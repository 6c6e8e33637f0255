package api

import (
	"bytes"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/job"
)

// Bounds of labels, as the contract documents them.
const (
	maxLabels     = 16
	maxLabelKey   = 63
	maxLabelValue = 255
)

// submission decodes an envelope and adds its errors to errs; the kind decodes its own part. In a batch, earlier is the number of the
// jobs before it. The envelope's values are invalid afterwards.
func (s *server) submission(
	x *requestState, e *envelope, earlier int, data []byte, now time.Time, errs *fields.Errors,
) job.Submission {
	sub := job.Submission{
		Tenant: x.principal.Tenant, Priority: job.Normal, Retention: s.Retention, FailedRetention: s.FailedRetention,
		RequestID: x.requestID, TraceParent: x.traceParent(),
	}
	if e.notObject {
		errs.Add("", `must be an object such as {"kind": "squares", "numbers": [1, 2]}`)
		return sub
	}
	switch {
	case e.kind == nil:
		errs.Add("/kind", "is missing; GET /v1/kinds lists the kinds")
	case e.kind.Kind() != '"':
		errs.Add("/kind", "must be a string; GET /v1/kinds lists the kinds")
	default:
		sub.Kind = s.kindName(e.kind)
	}
	if given(e.priority) {
		p, err := job.ParsePriority(fields.Text(e.priority))
		if err != nil {
			errs.Add("/priority", `must be "low", "normal" or "high"`)
		}
		sub.Priority = p
	}
	if given(e.timeout) {
		sub.Timeout = readDuration(e.timeout, "/timeout", s.MaxTimeout, errs)
		if sub.Timeout == 0 {
			errs.Add("/timeout", "must be more than 0; leave it out for no timeout")
		}
	}
	if given(e.retention) {
		sub.Retention, sub.FailedRetention = readDuration(e.retention, "/retention", s.MaxRetention, errs), 0
	}
	if given(e.failedRetention) {
		sub.FailedRetention = readDuration(e.failedRetention, "/failed_retention", s.MaxRetention, errs)
		if sub.FailedRetention == 0 {
			errs.Add("/failed_retention", "must be more than 0; leave it out to keep the job for its retention")
		}
	}
	if given(e.startAfter) {
		sub.StartAfter, sub.Delay = readStart(e.startAfter, now, errs)
	}
	if given(e.labels) {
		sub.Labels = readLabels(e.labels, errs)
	}
	sub.Webhooks = s.readWebhooks(sub.Tenant, e.webhooks, errs)
	if given(e.group) {
		sub.Group = fields.Text(e.group)
		checkGroupName(sub.Group, "/group", errs)
	}
	sub.After, sub.AfterTimeout = readAfter(e, earlier, errs)
	sub.Spec = e.spec(data)
	return sub
}

// given reports whether an optional member is present and not null (null selects the default).
func given(v jsontext.Value) bool { return v != nil && v.Kind() != 'n' }

// kindName returns the name of a kind, without an allocation for existing kinds.
func (s *server) kindName(v jsontext.Value) string {
	if name, ok := s.kindNames[string(v)]; ok {
		return name
	}
	return fields.Text(v)
}

// readDuration parses a duration; -1 if it is invalid.
func readDuration(v jsontext.Value, pointer string, most time.Duration, errs *fields.Errors) time.Duration {
	d, err := fields.ParseDuration(v, most)
	if err != nil {
		errs.Add(pointer, "%v", err)
		return -1
	}
	return d
}

// maxDelay bounds start_after before the executor checks its own, lower bound.
const maxDelay = 100 * 366 * 24 * time.Hour

// timestamp is the grammar of RFC 3339. time.Parse also accepts a decimal comma, hours of one digit and offsets of 24
// hours.
var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseTime parses an RFC 3339 timestamp: T and Z in either case, and second 60 where a leap second may be.
func parseTime(text string) (time.Time, bool) {
	text = strings.ToUpper(text)
	if !timestamp.MatchString(text) {
		return time.Time{}, false
	}
	const second = len("2006-01-02T15:04:")
	leap := text[second:second+2] == "60"
	if leap {
		text = text[:second] + "59" + text[second+2:]
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, false
	}
	if leap {
		if h, m, _ := at.UTC().Clock(); h != 23 || m != 59 {
			return at, false
		}
		at = at.Truncate(time.Second).Add(time.Second)
	}
	return at, true
}

// readStart parses a timestamp or a duration.
func readStart(v jsontext.Value, now time.Time, errs *fields.Errors) (at time.Time, delay time.Duration) {
	at, ok := parseTime(fields.Text(v))
	if !ok {
		delay, err := fields.ParseDuration(v, maxDelay)
		if err != nil {
			errs.Add("/start_after", `must be a duration such as "30s", or a timestamp such as "2030-01-31T08:00:00Z"`)
			return time.Time{}, 0
		}
		return time.Time{}, delay
	}
	if at.Sub(now) > maxDelay {
		errs.Add("/start_after", "is too far in the future")
		return time.Time{}, 0
	}
	return at.UTC(), 0
}

func readLabels(v jsontext.Value, errs *fields.Errors) map[string]string {
	const want = "must be an object of strings"
	if v.Kind() != '{' {
		errs.Add("/labels", want)
		return nil
	}
	labels := make(map[string]string)
	d := jsontext.NewDecoder(bytes.NewBuffer(v)) // v is already validated
	_, _ = d.ReadToken()
	for d.PeekKind() == '"' {
		name, _ := d.ReadValue()
		key := fields.Text(name)
		value, _ := d.ReadValue()
		pointer := "/labels/" + fields.Token(key)
		if !validLabelKey(key) {
			errs.Add(pointer, "the key must be 1 to %d letters, digits, '.', '_', '/' or '-'", maxLabelKey)
		}
		val := fields.Text(value)
		if value.Kind() != '"' || !validLabelValue(val) {
			errs.Add(pointer, "the value must be a string of at most %d characters and no control characters", maxLabelValue)
		}
		if labels[key] = val; len(labels) > maxLabels {
			errs.Add("/labels", "at most %d labels", maxLabels)
			break
		}
	}
	return labels
}

func validLabelKey(key string) bool {
	return key != "" && len(key) <= maxLabelKey && onlyLetters(key, "._/-")
}

func validLabelValue(value string) bool {
	if len(value) > 4*maxLabelValue || utf8.RuneCountInString(value) > maxLabelValue {
		return false
	}
	for _, r := range value {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
