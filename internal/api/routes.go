package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"
)

// An operation handles one request. If it returns an error after the response has begun, the connection is aborted.
type operation func(x *requestState) error

// operations returns the operations of openapi.yaml. TestContract compares them.
func (s *server) operations() map[routeKey]operation {
	return map[routeKey]operation{
		{"GET", "/"}:                          s.getIndex,
		{"GET", "/docs"}:                      s.getDocs,
		{"GET", "/docs/{asset}"}:              s.getDocsAsset,
		{"GET", "/openapi.yaml"}:              s.getSpec,
		{"GET", "/openapi.json"}:              s.getSpecJSON,
		{"GET", "/problems/{problem}"}:        s.getProblem,
		{"GET", "/livez"}:                     s.getLivez,
		{"GET", "/readyz"}:                    s.getReadyz,
		{"POST", "/v1/jobs"}:                  s.submitJob,
		{"GET", "/v1/jobs"}:                   s.listJobs,
		{"POST", "/v1/jobs:batch"}:            s.submitBatch,
		{"GET", "/v1/jobs/{job_id}"}:          s.getJob,
		{"DELETE", "/v1/jobs/{job_id}"}:       s.deleteJob,
		{"POST", "/v1/jobs/{job_id}/cancel"}:  s.cancelJob,
		{"GET", "/v1/jobs/{job_id}/results"}:  s.getJobResults,
		{"GET", "/v1/jobs/{job_id}/events"}:   s.getJobEvents,
		{"GET", "/v1/arrays"}:                 s.listArrays,
		{"PUT", "/v1/arrays/{array_name}"}:    s.putArray,
		{"GET", "/v1/arrays/{array_name}"}:    s.getArray,
		{"DELETE", "/v1/arrays/{array_name}"}: s.deleteArray,
		{"GET", "/v1/kinds"}:                  s.listKinds,
		{"GET", "/v1/nodes"}:                  s.listNodes,
	}
}

// newRouter returns the router of all operations. It checks the query before the operation runs.
func (s *server) newRouter() chi.Router {
	router := chi.NewRouter()
	checked := router.With(s.checkQuery)
	for key, run := range s.operations() {
		checked.MethodFunc(key.method, key.route, func(_ http.ResponseWriter, r *http.Request) {
			x := requestStateOf(r.Context())
			x.req = r
			if err := run(x); err != nil {
				s.fail(x, r, err)
			}
		})
	}
	router.NotFound(s.notFound)
	router.MethodNotAllowed(s.methodNotAllowed)
	return router
}

// param returns a decoded path parameter.
func (x *requestState) param(name string) string {
	text, err := url.PathUnescape(x.route.URLParam(name))
	if err != nil { // net/http has checked it
		return ""
	}
	return text
}

// query returns the query parameters, which checkQuery has validated.
func (x *requestState) query() url.Values {
	if x.req.URL.RawQuery == "" {
		return nil
	}
	return x.req.URL.Query()
}

// integer returns an integer parameter of at least least, or absent if it is missing. Its errors are 400s.
func integer(query url.Values, name string, least, absent int64) (int64, error) {
	if !query.Has(name) {
		return absent, nil
	}
	n, err := strconv.ParseInt(query.Get(name), 10, 64)
	switch {
	case err != nil:
		return 0, malformed("parameter", name, "does not have the type of this parameter, an integer below 2^63")
	case n < least:
		return 0, malformed("parameter", name, "must be at least "+strconv.FormatInt(least, 10))
	}
	return n, nil
}

// writeJSON responds with a value as JSON.
func (x *requestState) writeJSON(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	x.Header()["Content-Type"] = typeJSON
	x.WriteHeader(status)
	return clientError(x.srv.writeWithDeadline(x, append(body, '\n')))
}

// writeNothing responds without a body.
func (x *requestState) writeNothing(status int) error {
	x.WriteHeader(status)
	return nil
}
