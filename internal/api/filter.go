package api

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"gather/internal/job"
)

// listQuery parses the parameters of a listing. possible is false when no job can match all filters.
func listQuery(x *requestState) (q job.Query, possible bool, err error) {
	params := x.query()
	q = job.Query{Tenant: x.principal.Tenant}
	if possible, err = readFilter(&q, params); err != nil {
		return q, false, err
	}
	if group := x.param("group_id"); group != "" {
		q.Group = group
	}
	q.Limit = int(min(integer(params, "page_size", defaultPage), maxPage))
	if params.Has("page_token") {
		before, ok := readPageToken(&q, params.Get("page_token"))
		if !ok {
			return q, false, malformed("parameter", "page_token", "does not belong to this listing; use next_page_token with the same filters")
		}
		q.Before = before
	}
	return q, possible, nil
}

// readFilter parses the filters of a query. possible is false when no job can match all filters, because they have two values
// for one label.
func readFilter(q *job.Query, params url.Values) (possible bool, err error) {
	q.Kinds, q.Group = params["kind"], params.Get("group")
	for _, name := range params["state"] {
		state, err := job.ParseState(name)
		if err != nil {
			return false, err
		}
		q.States = append(q.States, state)
	}
	for _, name := range params["priority"] {
		priority, err := job.ParsePriority(name)
		if err != nil {
			return false, err
		}
		q.Priorities = append(q.Priorities, priority)
	}
	for name, t := range map[string]*time.Time{
		"created_after": &q.CreatedAfter, "created_before": &q.CreatedBefore, "finished_after": &q.FinishedAfter,
	} {
		if !params.Has(name) {
			continue
		}
		at, ok := parseTime(params.Get(name))
		if !ok {
			return false, malformed("parameter", name, "must be a timestamp such as 2030-01-31T08:00:00Z")
		}
		if *t = at.UTC(); t.IsZero() { // which is no bound
			*t = t.Add(1)
		}
	}
	if q.Labels, possible, err = readLabelFilter(params, "label", "must be key:value"); err != nil || !possible {
		return false, err
	}
	prefixes, possible, err := readLabelFilter(params, "label_prefix", "must be key:prefix")
	q.Prefixes = prefixes
	return possible, err
}

// readLabelFilter parses the labels of a parameter. possible is false if a label has two values; of two prefixes one may
// be longer.
func readLabelFilter(params url.Values, name, want string) (labels map[string]string, possible bool, err error) {
	possible = true
	for _, l := range params[name] {
		key, value, ok := strings.Cut(l, ":")
		if !ok || !validLabelKey(key) {
			return nil, false, malformed("parameter", name, want)
		}
		other, twice := labels[key]
		switch {
		case !twice || name == "label_prefix" && strings.HasPrefix(value, other):
		case name == "label_prefix" && strings.HasPrefix(other, value):
			value = other
		case other != value:
			possible = false
		}
		if labels == nil {
			labels = make(map[string]string)
		}
		labels[key] = value
	}
	if len(labels) > maxLabels {
		return nil, false, malformed("parameter", name, "at most 16 different keys")
	}
	return labels, possible, nil
}

// countJobs implements GET /v1/jobs:count.
func (s *server) countJobs(x *requestState) error {
	if err := s.refresh(x); err != nil {
		return err
	}
	n, err := s.Jobs.Count(x, x.principal.Tenant, x.query()["kind"])
	if err != nil {
		return err
	}
	x.Header()["Cache-Control"] = privateNoCache
	s.setAge(x)
	return x.writeJSON(http.StatusOK, countsModel(&n))
}

func countsModel(n *job.Counts) JobCounts {
	return JobCounts{
		Total: n.Total(), Queued: n[job.Queued], Running: n[job.Running], Cancelling: n[job.Cancelling],
		Succeeded: n[job.Succeeded], Failed: n[job.Failed], Cancelled: n[job.Cancelled],
	}
}
