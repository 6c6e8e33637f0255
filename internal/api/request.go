package api

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/trace"

	"gather/internal/job"
	"gather/internal/tenant"
)

// A requestState is the state of one request, its context and its response writer, in one allocation. It is used by the
// goroutine of its request.
type requestState struct {
	context.Context
	w   http.ResponseWriter
	srv *server
	// req is the request as the router sees it.
	req *http.Request
	// route is the router's state, pooled.
	route *chi.Context

	// span is nil unless requests are traced.
	span trace.Span

	started   time.Time
	requestID string
	principal tenant.Principal
	mode      mode
	status    int
	wrote     bool
	// submitted is the job that the request submitted, if it is one; problem is the type of the error it was answered with.
	submitted job.ID
	problem   string
	// body is how many bytes of the bodies' budget this request holds.
	body int64
	// read is how many bytes of the readers' budget this request holds.
	read int64
	// pace is how fast the client reads the answer.
	pace pace
	// unread is true until the request's body has been read to its end.
	unread bool

	// values backs the header values that set writes.
	values [16]string
	used   int
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request's context. Every context in this package has one.
func exchangeOf(ctx context.Context) *requestState {
	x, _ := ctx.Value(exchangeKey{}).(*requestState)
	return x
}

// Value implements context.Context: for the router its own state, which saves it a context and a request.
func (x *requestState) Value(key any) any {
	switch key {
	case exchangeKey{}:
		return x
	case chi.RouteCtxKey:
		return x.route
	}
	return x.Context.Value(key)
}

// Header implements http.ResponseWriter.
func (x *requestState) Header() http.Header { return x.w.Header() }

// WriteHeader implements http.ResponseWriter. From then on a client that does not read has WriteTimeout, unless the answer
// sets a later deadline: net/http writes the end of an answer without a deadline of its own.
func (x *requestState) WriteHeader(status int) {
	if !x.wrote {
		x.status, x.wrote = status, true
		x.setWriteDeadline()
		if x.unread {
			x.linger()
		}
	}
	x.w.WriteHeader(status)
}

func (x *requestState) setWriteDeadline() {
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(x.srv.WriteTimeout))
}

// Write implements http.ResponseWriter.
func (x *requestState) Write(b []byte) (int, error) {
	if !x.wrote {
		x.WriteHeader(http.StatusOK)
	}
	return x.w.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (x *requestState) Unwrap() http.ResponseWriter { return x.w }

// set sets a response header without an allocation of its own. The key is in canonical form.
func (x *requestState) set(key, value string) {
	if x.used == len(x.values) {
		x.w.Header()[key] = []string{value}
		return
	}
	x.values[x.used] = value
	x.w.Header()[key] = x.values[x.used : x.used+1 : x.used+1]
	x.used++
}

// jobID returns the job that the request is about: the zero ID for none or several.
func (x *requestState) jobID() job.ID {
	if x.submitted != (job.ID{}) {
		return x.submitted
	}
	id, err := job.ParseID(x.route.URLParam("job_id"))
	if err != nil {
		return job.ID{}
	}
	return id
}

// newRequestID returns 16 random hexadecimal digits.
func newRequestID() string {
	var raw [8]byte
	var text [16]byte
	binary.BigEndian.PutUint64(raw[:], rand.Uint64())
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// acceptRequestID reports whether a client's request id may stand in headers and logs.
func acceptRequestID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
