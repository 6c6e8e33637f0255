package api

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/job"
	"gather/internal/number"
)

// Responses are encoded without reflection: a million items at memory speed, a job without garbage. Tests compare the
// encoding with the generated models.

// buffers are reused for responses. Large ones are left to the garbage collector.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= 1<<20 {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// A jobView is a job and its fields that depend on the current time.
type jobView struct {
	*job.Job
	position   int           // 0 when it is not queued
	retryAfter time.Duration // 0 when it has ended
	now        time.Time
	durability string
	outcome    string // of an ended job
	ints       intEncoding
	values     []byte // the JSON of server.values; nil for null
	submission []byte // the JSON of server.shownSubmission; nil for null
}

// appendJob appends a job's JSON.
func appendJob(b []byte, v *jobView) []byte {
	var idText [36]byte
	appendID(idText[:0], v.ID)
	id := idText[:]

	b = append(b, `{"id":"`...)
	b = append(b, id...)
	b = append(b, `","kind":`...)
	b = appendString(b, v.Kind)
	b = append(b, `,"state":"`...)
	b = append(b, v.State.String()...)
	b = append(b, `","priority":"`...)
	b = append(b, v.Priority.String()...)
	b = append(b, `","labels":`...)
	b = appendLabels(b, v.Labels)
	b = append(b, `,"group":`...)
	if v.Group == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, v.Group)
	}
	b = append(b, `,"retry_of":`...)
	if v.RetryOf == (job.ID{}) {
		b = append(b, "null"...)
	} else {
		b = append(appendID(append(b, '"'), v.RetryOf), '"')
	}
	b = appendAfter(append(b, `,"after":`...), v.After)
	b = append(b, `,"after_timeout":`...)
	if len(v.After) > 0 {
		b = appendDuration(b, v.AfterTimeout)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"outcome":`...)
	if v.outcome == "" {
		b = append(b, "null"...)
	} else {
		b = append(append(append(b, '"'), v.outcome...), '"')
	}
	b = append(b, `,"progress":`...)
	b = appendProgress(b, v.Job, v.now)
	b = strconv.AppendInt(append(b, `,"retries":`...), v.Retries, 10)
	b = append(b, `,"retrying":`...)
	if v.Retry == nil {
		b = append(b, "null"...)
	} else {
		b = append(appendRetry(append(b, '{'), v.Job, v.Retry), '}')
	}
	b = append(b, `,"queue_position":`...)
	if v.position > 0 {
		b = strconv.AppendInt(b, int64(v.position), 10)
	} else {
		b = append(b, "null"...)
	}
	b = appendTime(append(b, `,"created_at":`...), v.CreatedAt)
	b = appendTime(append(b, `,"start_after":`...), v.StartAfter)
	b = appendTime(append(b, `,"started_at":`...), v.StartedAt)
	b = appendTime(append(b, `,"finished_at":`...), v.FinishedAt)
	b = appendTime(append(b, `,"expires_at":`...), v.ExpiresAt)
	b = append(b, `,"timeout":`...)
	if v.Timeout > 0 {
		b = appendDuration(b, v.Timeout)
	} else {
		b = append(b, "null"...)
	}
	b = appendDuration(append(b, `,"retention":`...), v.Retention)
	b = appendDuration(append(b, `,"failed_retention":`...), cmp.Or(v.FailedRetention, v.Retention))
	b = append(b, `,"durability":"`...)
	b = append(b, v.durability...)
	b = append(b, `","result":`...)
	b = appendValue(b, v.Result, v.ints)
	b = append(b, `,"details":`...)
	b = appendValue(b, v.Details, intsAsNumbers)
	b = append(b, `,"values":`...)
	b = appendValue(b, v.values, intsAsNumbers) // encoded already
	b = append(b, `,"submission":`...)
	b = appendValue(b, v.submission, intsAsNumbers)
	b = append(b, `,"error":`...)
	b = appendFailure(b, v.Job)
	for i, name := range linkNames {
		b = append(b, name...)
		b = append(append(b, `"/v1/jobs/`...), id...)
		b = append(append(b, linkTails[i]...), '"')
	}
	if len(v.Webhooks) > 0 {
		b = append(append(append(b, `,"deliveries":"/v1/jobs/`...), id...), `/deliveries"`...)
	}
	return append(b, "}}"...)
}

var (
	linkNames = [...]string{`,"links":{"self":`, `,"results":`, `,"events":`, `,"cancel":`, `,"submission":`}
	linkTails = [...]string{"", "/results", "/events", "/cancel", "/submission"}
)

func appendLabels(b []byte, labels map[string]string) []byte {
	if len(labels) == 0 {
		return append(b, "{}"...)
	}
	sep := byte('{')
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		b = append(appendString(append(b, sep), k), ':')
		b = appendString(b, labels[k])
		sep = ','
	}
	return append(b, '}')
}

func appendProgress(b []byte, j *job.Job, now time.Time) []byte {
	p := &j.Progress
	b = strconv.AppendInt(append(b, `{"total":`...), p.Total, 10)
	b = strconv.AppendInt(append(b, `,"completed":`...), p.Completed, 10)
	b = strconv.AppendInt(append(b, `,"failed":`...), p.Failed, 10)
	fraction := p.Fraction()
	if j.State == job.Succeeded { // even for a job without items
		fraction = 1
	}
	b = append(b, `,"fraction":`...)
	b = strconv.AppendFloat(b, fraction, 'f', -1, 64)
	b = append(b, `,"eta_seconds":`...)
	if j.State == job.Running && fraction > 0 && now.After(j.StartedAt) {
		eta := now.Sub(j.StartedAt).Seconds() * (1 - fraction) / fraction
		b = strconv.AppendFloat(b, eta, 'f', 3, 64)
	} else {
		b = append(b, "null"...)
	}
	b = strconv.AppendInt(append(b, `,"bytes":`...), p.Bytes, 10)
	b = strconv.AppendInt(append(b, `,"bytes_total":`...), p.BytesTotal, 10)
	return append(b, '}')
}

// appendRetry appends the members of a failed attempt that is followed by another one.
func appendRetry(b []byte, j *job.Job, r *job.TaskRetry) []byte {
	b = strconv.AppendInt(append(b, `"task":`...), int64(r.Task), 10)
	b = strconv.AppendInt(append(b, `,"attempts":`...), int64(r.Attempts), 10)
	b = appendString(append(b, `,"error":`...), r.Error)
	return appendTime(append(b, `,"next_attempt_at":`...), r.At(j))
}

func appendFailure(b []byte, j *job.Job) []byte {
	if j.Failure == nil {
		return append(b, "null"...)
	}
	reason := j.Failure.Reason
	b = append(append(b, `{"type":"/problems/`...), reason.String()...)
	b = append(append(b, `","title":"`...), failureTitles[reason]...)
	b = appendString(append(b, `","detail":`...), j.Failure.Detail)
	if j.RequestID != "" {
		b = appendString(append(b, `,"request_id":`...), j.RequestID)
	}
	return append(b, '}')
}

var failureTitles = map[job.FailureReason]string{
	job.FailedTask:    "The job failed",
	job.FailedPanic:   "The job failed because of an internal error",
	job.FailedTimeout: "The job ran longer than its timeout",

	job.FailedSourceChanged: "The data was changed after the submission",
	job.FailedSourceCorrupt: "The stored data is corrupt",

	job.FailedResultTooLarge: "The results are too large",
	job.FailedDependency:     "A job that this one waited for did not succeed",
}

// appendItem appends an item's JSON.
func appendItem(b []byte, it *job.Item, ints intEncoding) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), it.Seq, 10)
	b = strconv.AppendInt(append(b, `,"index":`...), it.Index, 10)
	b = append(b, `,"value":`...)
	b = append(appendValue(b, it.Value, ints), `,"error":`...)
	if it.Err != "" {
		b = appendString(b, it.Err)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"duration_ms":`...)
	return append(appendMillis(b, it.Duration), '}')
}

// appendMillis appends a duration in milliseconds, exactly.
func appendMillis(b []byte, d time.Duration) []byte {
	if d < 0 {
		d = 0
	}
	b = strconv.AppendInt(b, int64(d/time.Millisecond), 10)
	frac := int64(d % time.Millisecond)
	if frac == 0 {
		return b
	}
	digits := [7]byte{'.'}
	for i := 6; i > 0; i-- {
		digits[i] = byte('0' + frac%10)
		frac /= 10
	}
	n := 7
	for digits[n-1] == '0' {
		n--
	}
	return append(b, digits[:n]...)
}

// An intEncoding selects how integers in values are encoded.
type intEncoding bool

const (
	intsAsNumbers intEncoding = false
	intsAsStrings intEncoding = true
)

// appendValue appends a JSON value that a kind wrote, or null.
func appendValue(b, v []byte, ints intEncoding) []byte {
	switch {
	case len(v) == 0:
		return append(b, "null"...)
	case ints == intsAsStrings:
		return number.AppendQuoted(b, v)
	}
	return append(b, v...)
}

// appendTime appends an RFC 3339 timestamp in UTC; null for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = t.UTC().AppendFormat(append(b, '"'), time.RFC3339Nano)
	return append(b, '"')
}

// appendString appends a JSON string, replacing invalid UTF-8.
func appendString(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// appendID appends the canonical form of an id.
func appendID(b []byte, id job.ID) []byte {
	const hex = "0123456789abcdef"
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hex[c>>4], hex[c&15])
	}
	return b
}
