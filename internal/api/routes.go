package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"
)

// An operation answers one request. It returns an error instead of an answer; an error after the answer has begun cuts the
// connection.
type operation func(x *requestState) error

// operations has the operations of openapi.yaml. TestContract compares them.
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

// newRouter returns the router of all operations. The query of a request is checked before its operation runs.
func (s *server) newRouter() chi.Router {
	router := chi.NewRouter()
	checked := router.With(s.checkQuery)
	for key, run := range s.operations() {
		checked.MethodFunc(key.method, key.route, func(_ http.ResponseWriter, r *http.Request) {
			x := exchangeOf(r.Context())
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

// param returns a parameter of the path, decoded.
func (x *requestState) param(name string) string {
	text, err := url.PathUnescape(x.route.URLParam(name))
	if err != nil { // net/http has checked it
		return ""
	}
	return text
}

// query returns the parameters of the query, which checkQuery has found valid.
func (x *requestState) query() url.Values {
	if x.req.URL.RawQuery == "" {
		return nil
	}
	return x.req.URL.Query()
}

// integer returns an integer from the query that is not below least, and absent if it is not given. Its errors are 400s.
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

// writeJSON answers with a value of the contract.
func (x *requestState) writeJSON(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	x.Header()["Content-Type"] = typeJSON
	x.WriteHeader(status)
	return clientError(x.srv.push(x, append(body, '\n')))
}

// writeNothing answers with a status alone.
func (x *requestState) writeNothing(status int) error {
	x.WriteHeader(status)
	return nil
}
