package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Duration is a duration as the API has it: "1.5s", "250ms", "1h30m"; of a time.Duration d it is Duration(d.String()).
type Duration string

// Scalar is a number, a boolean, or the string "NaN", "Infinity" or "-Infinity".
type Scalar any

// Range is the numbers from Start up to Stop, without it, as Python's range. A Step of 0 is 1.
type Range struct {
	Start int64 `json:"start,omitempty"`
	Stop  int64 `json:"stop"`
	Step  int64 `json:"step,omitempty"`
}

// maxWait is the longest wait of one request that the server grants.
const maxWait = 30 * time.Second

// Option changes a request.
type Option func(*request)

// WithIdempotencyKey replaces the random key of a submission. Submitting again with the same key and the same job
// returns the job of the first submission, for as long as the server keeps keys (24 hours by default).
func WithIdempotencyKey(key string) Option {
	return func(r *request) { r.header.Set("Idempotency-Key", key) }
}

// WithWait lets the server answer as soon as the job has ended, at the latest after d and after 30 s; d is rounded up to
// seconds. It is for Submit, SubmitBatch and Get.
func WithWait(d time.Duration) Option {
	return func(r *request) { r.setWait(d) }
}

func (r *request) setWait(d time.Duration) {
	if d <= 0 {
		return
	}
	r.wait = min(d, maxWait)
	r.header.Set("Prefer", "wait="+strconv.FormatInt(int64((r.wait+time.Second-1)/time.Second), 10))
}

// Submit creates a job. The submission is a SquaresSubmission or a submission of another kind, or anything else whose
// JSON is one: a map, a json.RawMessage. The returned job is durable; it has ended only if WithWait was long enough.
func (c *Client) Submit(ctx context.Context, submission any, opts ...Option) (*Job, error) {
	var j Job
	err := c.submit(ctx, "jobs", submission, &j, opts)
	return &j, err
}

// SubmitBatch creates jobs, all or none, and returns them in the same order. At most 10 000. They have all ended only if
// WithWait was long enough.
func (c *Client) SubmitBatch(ctx context.Context, submissions []any, opts ...Option) ([]Job, error) {
	var batch Batch
	err := c.submit(ctx, "jobs:batch", map[string]any{"jobs": submissions}, &batch, opts)
	return batch.Jobs, err
}

// Preview validates a submission and returns what it would make. It makes nothing.
func (c *Client) Preview(ctx context.Context, submission any) (*SubmissionPreview, error) {
	var p SubmissionPreview
	err := c.submit(ctx, "jobs", submission, &p, []Option{func(r *request) { r.query = url.Values{"validate_only": {"true"}} }})
	return &p, err
}

func (c *Client) submit(ctx context.Context, path string, body, v any, opts []Option) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r := &request{method: http.MethodPost, path: []string{"v1", path}, header: make(http.Header)}
	r.setBody(data)
	r.header.Set("Idempotency-Key", rand.Text())
	for _, o := range opts {
		o(r)
	}
	_, err = c.call(ctx, r, v)
	return err
}

func jobRequest(method, id string, more ...string) *request {
	return &request{
		method: method, path: append([]string{"v1", "jobs", id}, more...), query: make(url.Values), header: make(http.Header),
	}
}

// Get returns a job. A failed job is no error; see Job.Err.
func (c *Client) Get(ctx context.Context, id string, opts ...Option) (*Job, error) {
	r := jobRequest(http.MethodGet, id)
	for _, o := range opts {
		o(r)
	}
	var j Job
	_, err := c.call(ctx, r, &j)
	return &j, err
}

// Submission returns what a job was submitted as. It can be submitted again.
func (c *Client) Submission(ctx context.Context, id string) (json.RawMessage, error) {
	var submission json.RawMessage
	_, err := c.call(ctx, jobRequest(http.MethodGet, id, "submission"), &submission)
	return submission, err
}

// Wait returns a job once it has ended. A failed job is no error; see Job.Err.
func (c *Client) Wait(ctx context.Context, id string) (*Job, error) {
	r := jobRequest(http.MethodGet, id)
	r.setWait(maxWait)
	for {
		began := time.Now()
		var j Job
		after, err := c.call(ctx, r, &j)
		if err != nil || j.State.Terminal() {
			return &j, err
		}
		if time.Since(began) >= maxWait-time.Second {
			continue
		}
		// The server holds no more requests, or it is stopping.
		if err := sleep(ctx, max(time.Second, after)); err != nil {
			return nil, err
		}
	}
}

// Cancel requests the cancellation of a job, and returns it: cancelling until its work has stopped, or ended.
func (c *Client) Cancel(ctx context.Context, id string) (*Job, error) {
	var j Job
	_, err := c.call(ctx, jobRequest(http.MethodPost, id, "cancel"), &j)
	return &j, err
}

// Deliveries returns the deliveries of a job to its webhooks; none before its end.
func (c *Client) Deliveries(ctx context.Context, id string) ([]Delivery, error) {
	var list DeliveryList
	_, err := c.call(ctx, jobRequest(http.MethodGet, id, "deliveries"), &list)
	return list.Deliveries, err
}

// RetryDelivery attempts a delivery again.
func (c *Client) RetryDelivery(ctx context.Context, id, delivery string) (*Delivery, error) {
	var d Delivery
	_, err := c.call(ctx, jobRequest(http.MethodPost, id, "deliveries", delivery, "retry"), &d)
	return &d, err
}

// Retry creates a job of the items of an ended job that did not succeed, linked by RetryOf. It fails with 409 if all have succeeded.
func (c *Client) Retry(ctx context.Context, id string, opts ...Option) (*Job, error) {
	r := jobRequest(http.MethodPost, id, "retry")
	r.header.Set("Idempotency-Key", rand.Text())
	for _, o := range opts {
		o(r)
	}
	var j Job
	_, err := c.call(ctx, r, &j)
	return &j, err
}

// Delete deletes a job that has ended, with its results. It fails with 409 for another.
func (c *Client) Delete(ctx context.Context, id string) error {
	return c.remove(ctx, jobRequest(http.MethodDelete, id))
}

// remove sends a DELETE. A resource that is gone after an attempt without a response was deleted by that attempt.
func (c *Client) remove(ctx context.Context, r *request) error {
	return c.retry(ctx, func(ctx context.Context, a *attempts) error {
		err := c.do(ctx, r, func(*http.Response) error { return nil })
		e, ok := errors.AsType[*Error](err)
		if ok && a.disconnected && (e.Status == http.StatusNotFound || e.Status == http.StatusGone) {
			return nil
		}
		return err
	})
}

// ListOptions select jobs. The zero value selects all.
type ListOptions struct {
	// States are the states of which a job must have one; none is any.
	States []State
	// Kinds and Priorities are the kinds and priorities of which a job must have one; none is any.
	Kinds      []string
	Priorities []Priority
	// Labels are the labels that a job must have.
	Labels Labels
	// LabelPrefixes are labels that a job must have with a value that begins so.
	LabelPrefixes Labels
	// Group is the group of the jobs; "" is any.
	Group string
	// CreatedAfter, CreatedBefore and FinishedAfter bound the times of the jobs; the zero time does not.
	CreatedAfter, CreatedBefore, FinishedAfter time.Time
	// PageSize is the number of jobs that are requested at a time, at most 200; 0 is 50.
	PageSize int
}

// List returns the jobs, newest first. It requests them page by page, and ends with the first error.
func (c *Client) List(ctx context.Context, o ListOptions) iter.Seq2[*Job, error] {
	query := o.filters()
	if o.PageSize > 0 {
		query.Set("page_size", strconv.Itoa(o.PageSize))
	}
	return pages(ctx, c, "jobs", query, "page_token", func(l *JobList) ([]Job, *string) { return l.Jobs, l.NextPageToken })
}

func (o *ListOptions) filters() url.Values {
	query := make(url.Values)
	for _, s := range o.States {
		query.Add("state", string(s))
	}
	for _, k := range o.Kinds {
		query.Add("kind", k)
	}
	for _, p := range o.Priorities {
		query.Add("priority", string(p))
	}
	for key, value := range o.Labels {
		query.Add("label", key+":"+value)
	}
	for key, value := range o.LabelPrefixes {
		query.Add("label_prefix", key+":"+value)
	}
	if o.Group != "" {
		query.Set("group", o.Group)
	}
	for name, at := range map[string]time.Time{
		"created_after": o.CreatedAfter, "created_before": o.CreatedBefore, "finished_after": o.FinishedAfter,
	} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return query
}

// Count returns the number of jobs in each state, of some kinds or, without any, of all.
func (c *Client) Count(ctx context.Context, kinds ...string) (JobCounts, error) {
	var counts JobCounts
	query := (&ListOptions{Kinds: kinds}).filters()
	_, err := c.call(ctx, &request{method: http.MethodGet, path: []string{"v1", "jobs:count"}, query: query}, &counts)
	return counts, err
}

// WithCountOnly makes CancelAll and DeleteAll count the jobs, and change none.
func WithCountOnly() Option {
	return func(r *request) {
		if r.query == nil {
			r.query = make(url.Values)
		}
		r.query.Set("validate_only", "true")
	}
}

// CancelAll requests the cancellation of the queued and running jobs that match, and returns their number; with the zero
// ListOptions, of all jobs. After an error the numbers are of the jobs until then, and the call can be repeated.
func (c *Client) CancelAll(ctx context.Context, o ListOptions, opts ...Option) (BulkResult, error) {
	return c.bulk(ctx, http.MethodPost, []string{"v1", "jobs:cancel"}, o, opts)
}

// DeleteAll deletes the jobs that match and have ended, as CancelAll cancels them.
func (c *Client) DeleteAll(ctx context.Context, o ListOptions, opts ...Option) (BulkResult, error) {
	return c.bulk(ctx, http.MethodPost, []string{"v1", "jobs:delete"}, o, opts)
}

// bulk repeats a bulk request until no jobs are left.
func (c *Client) bulk(ctx context.Context, method string, path []string, o ListOptions, opts []Option) (sum BulkResult, err error) {
	r := &request{method: method, path: path, query: o.filters(), header: make(http.Header)}
	for _, o := range opts {
		o(r)
	}
	for {
		var result BulkResult
		if _, err := c.call(ctx, r, &result); err != nil {
			return sum, err
		}
		sum.Matched, sum.Changed = sum.Matched+result.Matched, sum.Changed+result.Changed
		if result.NextPageToken == nil {
			return sum, nil
		}
		r.query.Set("page_token", *result.NextPageToken)
	}
}

// Nodes returns the servers that share the work, oldest first.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var list NodeList
	_, err := c.call(ctx, &request{method: http.MethodGet, path: []string{"v1", "nodes"}}, &list)
	return list.Nodes, err
}

// Stats returns the counts of the caller's jobs, their latencies, the load and the bounds of the service.
func (c *Client) Stats(ctx context.Context) (*Stats, error) {
	var stats Stats
	_, err := c.call(ctx, &request{method: http.MethodGet, path: []string{"v1", "stats"}}, &stats)
	return &stats, err
}

// Kinds returns the kinds of jobs, with their limits and JSON Schemas.
func (c *Client) Kinds(ctx context.Context) ([]Kind, error) {
	var list KindList
	_, err := c.call(ctx, &request{method: http.MethodGet, path: []string{"v1", "kinds"}}, &list)
	return list.Kinds, err
}

// pages returns the elements of a collection that is requested page by page, with the cursor of the next page as a
// parameter.
func pages[L, T any](ctx context.Context, c *Client, path string, query url.Values, cursor string,
	split func(*L) (elements []T, next *string),
) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		query := maps.Clone(query)
		for {
			var page L
			if _, err := c.call(ctx, &request{method: http.MethodGet, path: []string{"v1", path}, query: query}, &page); err != nil {
				yield(nil, err)
				return
			}
			elements, next := split(&page)
			for i := range elements {
				if !yield(&elements[i], nil) {
					return
				}
			}
			if next == nil {
				return
			}
			query.Set(cursor, *next)
		}
	}
}
