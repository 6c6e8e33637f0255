package kind

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/job"
	"gather/internal/outbound"
)

// httpTask sends the requests of one task, and records their outcomes as they arrive.
type httpTask struct {
	plan   *httpBatch
	task   int64
	resume job.Resume
	batch  *outbound.Batch
	// failure is the first failure, with fail_fast.
	failure error
	over    bool // takes no more steps
}

// item returns the index of an item of the task in the job.
func (t *httpTask) item(k int64) int64 { return t.task + k*t.plan.tasks }

// Step implements job.Task.
func (t *httpTask) Step(ctx context.Context, now time.Time, _ *job.Scratch) (job.Step, error) {
	var step job.Step
	if t.over || t.batch == nil && ctx.Err() != nil {
		return step, t.cause(ctx)
	}
	if t.batch == nil {
		if err := t.start(ctx, now); err != nil {
			return step, err
		}
	}
	results, retries, ended := t.batch.Collect()
	for _, r := range results {
		index := t.item(r.Item)
		if r.Failure == "" {
			step.Items.Add(index, r.Value, r.Duration)
			step.Completed++
			continue
		}
		step.Items.AddFailure(index, r.Value, r.Failure, r.Duration)
		step.Failed++
		if t.plan.failFast && t.failure == nil {
			t.failure = &job.Failure{Reason: job.FailedTask, Detail: fmt.Sprintf("request %d failed: %s", index, r.Failure)}
		}
	}
	step.Partial = t.checkpoint(retries)
	switch {
	case !ended:
		step.Await = t.batch.Await
	case t.failure != nil || ctx.Err() != nil:
		t.over = true
		if step.Items.Len() == 0 {
			return step, t.cause(ctx)
		}
		step.ResumeAt = now // to record the items before the error
	default:
		step.Partial = nil
	}
	return step, nil
}

// cause returns why the task ends without all outcomes.
func (t *httpTask) cause(ctx context.Context) error {
	if t.failure != nil {
		return t.failure
	}
	return context.Cause(ctx)
}

// start sends the requests without a recorded outcome.
func (t *httpTask) start(ctx context.Context, now time.Time) error {
	p := t.plan
	n := (p.requests.len() - t.task + p.tasks - 1) / p.tasks
	done, retries, err := t.restore(n)
	if err != nil {
		return err
	}
	t.resume.Steps = nil
	id := t.resume.Job.ID
	t.batch = p.sender.Start(ctx, outbound.Options{
		Job: id, Priority: int(t.resume.Job.Priority - job.Low), Tenant: p.tenant, Source: t, Items: n, Done: done, Retries: retries,
		Concurrency: int(p.share(p.concurrency, t.task)), PerHost: int(p.share(p.perHost, t.task)),
		Interval: p.interval * time.Duration(p.tasks), Start: now.Add(p.interval * time.Duration(t.task)),
		Timeout: p.timeout, MaxBody: p.maxBody, Discard: p.body == bodyNone, Retry: p.retry, Success: p.isSuccess,
		FailFast: p.failFast, TraceParent: t.resume.TraceParent,
	})
	return nil
}

// Request implements outbound.Source.
func (t *httpTask) Request(k int64) (*outbound.Request, error) {
	index := t.item(k)
	r, err := t.plan.requests.request(index)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(r.Header, func(h outbound.Header) bool { return h.Name == "Idempotency-Key" }) {
		key := outbound.Header{Name: "Idempotency-Key", Value: idempotencyKey(t.resume.Job.ID, index)}
		r.Header = append(slices.Clip(r.Header), key)
	}
	return r, nil
}

// Host implements outbound.Source.
func (t *httpTask) Host(k int64) string {
	r, err := t.plan.requests.request(t.item(k))
	if err != nil {
		return ""
	}
	return r.URL.Host
}

// Result implements outbound.Source.
func (t *httpTask) Result(_ int64, o *outbound.Outcome) (value []byte, failure string) {
	switch {
	case o.Class != "":
		failure = o.Error
		if o.Attempts > 1 {
			failure += fmt.Sprintf(" (%d attempts)", o.Attempts)
		}
	case !t.plan.isSuccess(o.Status):
		failure = "HTTP " + strconv.Itoa(o.Status)
	}
	b := []byte(`{"status":null`)
	if o.Status > 0 {
		b = strconv.AppendInt([]byte(`{"status":`), int64(o.Status), 10)
	}
	b = append(b, `,"headers":{`...)
	first := true
	for _, name := range t.plan.headers {
		values := o.Header.Values(name)
		if len(values) == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendText(b, strings.ToLower(name))
		b = appendText(append(b, ':'), strings.Join(values, ", "))
	}
	b = append(b, `},"body":`...)
	b, valid := t.plan.body.append(b, o)
	if !valid && failure == "" {
		failure = "the response body is not valid JSON"
	}
	b = strconv.AppendInt(append(b, `,"bytes":`...), o.Bytes, 10)
	b = strconv.AppendBool(append(b, `,"truncated":`...), o.Truncated)
	b = strconv.AppendInt(append(b, `,"attempts":`...), int64(o.Attempts), 10)
	b = strconv.AppendFloat(append(b, `,"duration_ms":`...), float64(o.Duration.Microseconds())/1000, 'f', 3, 64)
	return append(b, '}'), failure
}

// append appends a body as JSON; false for a body that should be JSON and is not: then it is text.
func (f bodyForm) append(b []byte, o *outbound.Outcome) ([]byte, bool) {
	switch {
	case f == bodyNone, o.Class != "", f == bodyJSON && len(o.Body) == 0:
		return append(b, "null"...), true
	case f == bodyBase64:
		b = base64.StdEncoding.AppendEncode(append(b, '"'), o.Body)
		return append(b, '"'), true
	case f == bodyJSON:
		v := jsontext.Value(o.Body)
		if !o.Truncated && v.Compact() == nil {
			return append(b, v...), true
		}
		return appendText(b, string(o.Body)), false
	}
	return appendText(b, string(o.Body)), true
}

// appendText appends a JSON string, with U+FFFD in the place of invalid UTF-8.
func appendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // the error is of the invalid UTF-8
	return b
}

// httpCheckpoint is the version of checkpoints.
const httpCheckpoint = 1

// checkpoint encodes retries: of each the item, the attempts so far, and the time of the next one since the job's start.
func (t *httpTask) checkpoint(retries []outbound.Retry) []byte {
	if len(retries) == 0 {
		return nil
	}
	b := []byte{httpCheckpoint}
	for _, r := range retries {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.Item)), uint64(r.Attempts))
		b = binary.AppendVarint(b, int64(r.At.Sub(t.resume.Started)))
	}
	return b
}

// restore returns the items that are not new, and the retries among them, from the recorded steps.
func (t *httpTask) restore(n int64) (done []bool, retries []outbound.Retry, err error) {
	if len(t.resume.Steps) == 0 {
		return nil, nil, nil
	}
	done = make([]bool, n)
	waiting := make(map[int64]outbound.Retry)
	for _, s := range t.resume.Steps {
		list, err := decodeCheckpoint(s.Partial, n, t.resume.Started)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range list {
			waiting[r.Item] = r
		}
		for _, it := range s.Items.All() {
			k := (it.Index - t.task) / t.plan.tasks
			if it.Index < t.task || k >= n || t.item(k) != it.Index {
				return nil, nil, fmt.Errorf("%w: item %d of task %d", job.ErrCorrupt, it.Index, t.task)
			}
			done[k] = true
		}
	}
	for k, r := range waiting {
		if !done[k] {
			done[k] = true
			retries = append(retries, r)
		}
	}
	return done, retries, nil
}

func decodeCheckpoint(b []byte, n int64, started time.Time) (list []outbound.Retry, err error) {
	corrupt := fmt.Errorf("%w: checkpoint of a request", job.ErrCorrupt)
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != httpCheckpoint {
		return nil, fmt.Errorf("%w: checkpoint of a request", job.ErrVersion)
	}
	for b = b[1:]; len(b) > 0; {
		item, i := binary.Uvarint(b)
		attempts, j := binary.Uvarint(b[max(0, i):])
		if i <= 0 || j <= 0 || item >= uint64(n) || attempts < 1 || attempts > maxAttempts {
			return nil, corrupt
		}
		at, k := binary.Varint(b[i+j:])
		if k <= 0 {
			return nil, corrupt
		}
		list = append(list, outbound.Retry{Item: int64(item), Attempts: int(attempts), At: started.Add(time.Duration(at))})
		b = b[i+j+k:]
	}
	return list, nil
}
