package api

import (
	"net/http"
	"strconv"
	"time"

	"gather/internal/job"
)

// Header values shared by all responses.
var (
	typeJSON       = []string{mediaJSON}
	privateNoCache = []string{"private, no-cache"}
	varyAccept     = []string{"Accept"}
	varyEncoding   = []string{"Accept-Encoding"}
	varyPrefer     = []string{"Prefer, Accept-Encoding"}
	varyResults    = []string{"Accept, Accept-Encoding"}
)

// jobResponse writes a job as the response of an operation.
type jobResponse struct {
	x      *requestState
	job    *job.Job
	values []byte // the items' values, encoded
	// submission is the job's submission, encoded.
	submission []byte
	ints       intEncoding
	status     int
	// location, applied and replayed select optional headers.
	location bool
	applied  time.Duration
	replayed bool
}

func (a *jobResponse) write() error {
	x, h := a.x, a.x.Header()
	view := x.srv.view(a.job, a.ints)
	view.values, view.submission = a.values, a.submission
	h["Cache-Control"] = privateNoCache
	x.vary(varyPrefer)
	x.set("Etag", etag(a.job, a.ints))
	if a.location {
		var text [len("/v1/jobs/") + 36]byte
		x.set("Location", string(appendID(append(text[:0], "/v1/jobs/"...), a.job.ID)))
	}
	if a.applied > 0 {
		x.set("Preference-Applied", "wait="+strconv.Itoa(int(a.applied/time.Second)))
	}
	if a.replayed {
		x.set("Idempotency-Replayed", "true")
	}
	if !a.job.State.Terminal() {
		x.set("Retry-After", strconv.FormatInt(ceilSeconds(view.retryAfter), 10))
	}
	if a.status == http.StatusNotModified {
		x.WriteHeader(a.status)
		return nil
	}
	h["Content-Type"] = typeJSON
	x.WriteHeader(a.status)
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = append(appendJob(*buf, &view), '\n')
	_, err := x.Write(*buf)
	return clientError(err)
}

// clientError discards an error of writing the response, because the client has disconnected.
func clientError(error) error { return nil }

// view returns a job with the fields that depend on the current time.
func (s *server) view(j *job.Job, ints intEncoding) jobView {
	v := jobView{Job: j, now: s.Wall(), durability: s.Durability, ints: ints, outcome: s.outcomeOf(j)}
	if !j.State.Terminal() {
		v.position, v.retryAfter = s.Executor.Outlook(j)
	}
	return v
}

// etag returns a job's entity tag. It is weak, because queue_position and eta_seconds change without an event.
func etag(j *job.Job, ints intEncoding) string {
	var text [32]byte
	b := strconv.AppendUint(append(text[:0], `W/"`...), j.Seq, 10)
	if ints == intsAsStrings {
		b = append(b, 's')
	}
	return string(append(b, '"'))
}

// ints returns the int_encoding parameter, which checkQuery has validated.
func (x *requestState) ints() intEncoding { return x.query().Get("int_encoding") == "string" }
