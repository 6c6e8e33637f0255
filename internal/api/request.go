package api

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/trace"

	"gather/internal/job"
	"gather/internal/tenant"
)

// A requestState is the state of one request, including its context and response writer, in one allocation. Only the
// goroutine of the request uses it.
type requestState struct {
	context.Context
	w   http.ResponseWriter
	srv *server
	// req is the request that the router received.
	req *http.Request
	// route is the router's pooled state.
	route *chi.Context

	// span is nil without tracing.
	span trace.Span

	started   time.Time
	requestID string
	principal tenant.Principal
	media     string // of the response, negotiated
	status    int
	mode      mode
	wrote     bool
	// coding is the content coding for the body if it is large; "" for none. held is the status of a header that waits for
	// the first write; 0 for none. encoder compresses the body; nil for none.
	coding  string
	held    int
	encoder io.WriteCloser
	// unread is true until the request's body has been read to the end.
	unread bool
	// submitted is the job that a POST /v1/jobs created; problem is the type of the error response.
	submitted job.ID
	problem   string
	// body is the request's share of the bodies' budget.
	body int64
	// read is the request's share of the readers' budget.
	read int64
	// page is the size of the page that the response holds.
	page int64
	// pace measures how fast the client reads the response.
	pace pace

	// values holds the header values of set.
	values [16]string
	used   int
}

type exchangeKey struct{}

// requestStateOf returns the state of a request from its context. Every context in this package has one.
func requestStateOf(ctx context.Context) *requestState {
	x, _ := ctx.Value(exchangeKey{}).(*requestState)
	return x
}

// Value implements context.Context. It returns the router's state without another context and request.
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

// WriteHeader implements http.ResponseWriter. It starts WriteTimeout for clients that do not read, unless the response
// sets a later deadline, because net/http writes the end of a response without a deadline.
func (x *requestState) WriteHeader(status int) {
	if !x.wrote {
		x.status, x.wrote = status, true
		x.setWriteDeadline()
		if x.unread {
			x.linger()
		}
		if x.coding != "" {
			x.held = status
			return
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
	if x.held != 0 {
		x.begin(len(b))
	}
	if x.encoder != nil {
		return x.encoder.Write(b)
	}
	return x.w.Write(b)
}

// Unwrap returns the underlying writer for http.ResponseController.
func (x *requestState) Unwrap() http.ResponseWriter { return x.w }

// set sets a response header without an allocation. The key must be in canonical form.
func (x *requestState) set(key, value string) {
	if x.used == len(x.values) {
		x.w.Header()[key] = []string{value}
		return
	}
	x.values[x.used] = value
	x.w.Header()[key] = x.values[x.used : x.used+1 : x.used+1]
	x.used++
}

// jobID returns the job of the request; the zero ID for none or several.
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

// acceptRequestID reports whether a client's request id is safe in headers and logs.
func acceptRequestID(id string) bool {
	return id != "" && len(id) <= 64 && onlyLetters(id, "._-")
}
