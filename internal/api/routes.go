package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"
)

// An operation handles the requests of one route and method.
type operation struct {
	// run handles one request. If it returns an error after the response has begun, the connection is aborted.
	run func(x *requestState) error
	// offers are the media types of the response, the preferred first; nil if Accept does not matter.
	offers []string
	// writes is true for an operation that read-only keys must not use.
	writes bool
	// large is true for an operation whose responses may be compressed.
	large bool
}

var offersJSON = []string{mediaJSON}

// operations returns the operations of openapi.yaml. TestContract compares them.
func (s *server) operations() map[routeKey]operation {
	return map[routeKey]operation{
		{"GET", "/"}:                                     {run: s.getIndex, offers: []string{mediaJSON, mediaHTML}},
		{"GET", "/docs"}:                                 {run: s.getDocs},
		{"GET", "/docs/{asset}"}:                         {run: s.getDocsAsset},
		{"GET", "/ui/"}:                                  {run: s.getConsole},
		{"GET", "/ui/{asset}"}:                           {run: s.getConsoleAsset},
		{"GET", "/openapi.yaml"}:                         {run: s.getSpec, large: true},
		{"GET", "/openapi.json"}:                         {run: s.getSpecJSON, large: true},
		{"GET", "/problems/{problem}"}:                   {run: s.getProblem, large: true},
		{"GET", "/livez"}:                                {run: s.getLivez},
		{"GET", "/readyz"}:                               {run: s.getReadyz},
		{"POST", "/v1/jobs"}:                             {run: s.submitJob, offers: offersJSON, writes: true, large: true},
		{"GET", "/v1/jobs"}:                              {run: s.listJobs, offers: offersJSON, large: true},
		{"POST", "/v1/jobs:batch"}:                       {run: s.submitBatch, offers: offersJSON, writes: true, large: true},
		{"GET", "/v1/jobs/{job_id}"}:                     {run: s.getJob, offers: offersJSON, large: true},
		{"DELETE", "/v1/jobs/{job_id}"}:                  {run: s.deleteJob, writes: true},
		{"POST", "/v1/jobs/{job_id}/cancel"}:             {run: s.cancelJob, offers: offersJSON, writes: true},
		{"GET", "/v1/jobs/{job_id}/results"}:             {run: s.getJobResults, offers: []string{mediaJSON, mediaNDJSON, mediaNPY}, large: true},
		{"GET", "/v1/jobs/{job_id}/events"}:              {run: s.getJobEvents, offers: []string{mediaSSE, mediaNDJSON}},
		{"GET", "/v1/arrays"}:                            {run: s.listArrays, offers: offersJSON, large: true},
		{"PUT", "/v1/arrays/{array_name}"}:               {run: s.putArray, offers: offersJSON, writes: true},
		{"GET", "/v1/arrays/{array_name}"}:               {run: s.getArray, offers: []string{mediaJSON, mediaNPY}},
		{"DELETE", "/v1/arrays/{array_name}"}:            {run: s.deleteArray, writes: true},
		{"GET", "/v1/kinds"}:                             {run: s.listKinds, offers: offersJSON, large: true},
		{"GET", "/v1/nodes"}:                             {run: s.listNodes, offers: offersJSON, large: true},
		{"GET", "/v1/schedules"}:                         {run: s.listSchedules, offers: offersJSON, large: true},
		{"PUT", "/v1/schedules/{schedule_name}"}:         {run: s.putSchedule, offers: offersJSON, writes: true},
		{"GET", "/v1/schedules/{schedule_name}"}:         {run: s.getSchedule, offers: offersJSON, large: true},
		{"DELETE", "/v1/schedules/{schedule_name}"}:      {run: s.deleteSchedule, writes: true},
		{"POST", "/v1/schedules/{schedule_name}/pause"}:  {run: s.pauseSchedule, offers: offersJSON, writes: true},
		{"POST", "/v1/schedules/{schedule_name}/resume"}: {run: s.resumeSchedule, offers: offersJSON, writes: true},
		{"POST", "/v1/schedules/{schedule_name}/run"}:    {run: s.runSchedule, offers: offersJSON, writes: true},
		{"GET", "/v1/schedules/{schedule_name}/runs"}:    {run: s.listRuns, offers: offersJSON, large: true},
		{"GET", "/v1/pauses"}:                            {run: s.listPauses, offers: offersJSON},
		{"PUT", "/v1/pauses/{scope}/{name}"}:             {run: s.putPause, offers: offersJSON, writes: true},
		{"DELETE", "/v1/pauses/{scope}/{name}"}:          {run: s.deletePause, writes: true},
		{"GET", "/v1/stats"}:                             {run: s.getStats, offers: offersJSON},

		{"GET", "/v1/jobs:count"}:                                    {run: s.countJobs, offers: offersJSON},
		{"GET", "/v1/jobs/{job_id}/submission"}:                      {run: s.getJobSubmission, offers: offersJSON, large: true},
		{"POST", "/v1/jobs:cancel"}:                                  {run: s.cancelJobs, offers: offersJSON, writes: true},
		{"POST", "/v1/jobs:delete"}:                                  {run: s.deleteJobs, offers: offersJSON, writes: true},
		{"GET", "/v1/jobs/{job_id}/deliveries"}:                      {run: s.listDeliveries, offers: offersJSON},
		{"POST", "/v1/jobs/{job_id}/deliveries/{delivery_id}/retry"}: {run: s.retryDelivery, offers: offersJSON, writes: true},
		{"POST", "/v1/jobs/{job_id}/retry"}:                          {run: s.retryJob, offers: offersJSON, writes: true},
		{"GET", "/v1/groups"}:                                        {run: s.listGroups, offers: offersJSON, large: true},
		{"GET", "/v1/groups/{group_id}"}:                             {run: s.getGroup, offers: offersJSON},
		{"DELETE", "/v1/groups/{group_id}"}:                          {run: s.deleteGroup, offers: offersJSON, writes: true},
		{"POST", "/v1/groups/{group_id}/cancel"}:                     {run: s.cancelGroup, offers: offersJSON, writes: true},
		{"GET", "/v1/groups/{group_id}/events"}:                      {run: s.getGroupEvents, offers: []string{mediaSSE, mediaNDJSON}},
	}
}

// newRouter returns the router of all operations. It checks the query before the operation runs.
func (s *server) newRouter() chi.Router {
	router := chi.NewRouter()
	checked := router.With(s.checkQuery)
	for key, op := range s.operations() {
		checked.MethodFunc(key.method, key.route, func(_ http.ResponseWriter, r *http.Request) {
			x := requestStateOf(r.Context())
			x.req = r
			if err := op.serve(x); err != nil {
				s.fail(x, r, err)
			}
		})
	}
	router.NotFound(s.notFound)
	router.MethodNotAllowed(s.methodNotAllowed)
	return router
}

// serve checks the key's access and negotiates the media type before it runs the operation.
func (op *operation) serve(x *requestState) (err error) {
	if op.writes && x.principal.ReadOnly {
		return &problem{entry: forbidden, detail: "This API key is read-only. Use another key to submit, cancel or delete."}
	}
	if op.offers != nil {
		if x.media, err = negotiate(x.req.Header, op.offers...); err != nil {
			return err
		}
	}
	if op.large {
		x.vary(varyEncoding)
		x.coding = coding(x.req.Header)
	}
	return op.run(x)
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

// integer returns an integer parameter, which checkQuery has validated, or absent if it is missing.
func integer(query url.Values, name string, absent int64) int64 {
	if n, err := strconv.ParseInt(query.Get(name), 10, 64); err == nil {
		return n
	}
	return absent
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
