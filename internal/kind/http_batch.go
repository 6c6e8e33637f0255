package kind

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/outbound"
)

func init() {
	register(definition{
		name: "http_batch",
		summary: "Many HTTP requests at once. An item's value is the response, with its status and body. A request in flight " +
			"holds no worker.",
		plan:  planHTTPBatch,
		items: selectRequests,
		limits: func(l Limits) map[string]int64 {
			return map[string]int64{
				"items": l.Items, "concurrency": maxHTTPConcurrency, "attempts": maxAttempts, "body_bytes": maxHTTPBody,
				"request_body_bytes": maxRequestBody,
			}
		},
		values: true,
	})
}

// Limits and defaults of a batch.
const (
	maxHTTPConcurrency = 10_000
	maxHTTPBody        = 16 << 20
	maxHTTPTimeout     = time.Hour
	maxResponseHeaders = 32

	defaultHTTPConcurrency = 100
	defaultHTTPBody        = 64 << 10
	defaultHTTPTimeout     = 30 * time.Second
	defaultHTTPBackoff     = 250 * time.Millisecond
	defaultHTTPMaxBackoff  = 30 * time.Second
)

// httpSlice is the number of requests for which a batch has one more task, up to maxHTTPTasks. Tasks share concurrency and
// rate in equal parts, so that both hold for the whole job on all nodes of a cluster.
const (
	httpSlice    = 128
	maxHTTPTasks = 16
)

// bodyForm is how a body of a response becomes JSON.
type bodyForm byte

const (
	bodyText bodyForm = iota
	bodyJSON
	bodyBase64
	bodyNone
)

var bodyForms = [...]string{bodyText: "text", bodyJSON: "json", bodyBase64: "base64", bodyNone: "none"}

// httpBatch is the plan of a batch of requests.
type httpBatch struct {
	sender   *outbound.Sender
	tenant   string
	requests requestList
	tasks    int64
	memory   int64

	concurrency, perHost int64
	interval             time.Duration // between requests; 0 without a rate
	timeout              time.Duration
	maxBody              int64
	body                 bodyForm
	headers              []string // of responses, in canonical form
	success              []statusRange
	retry                outbound.RetryPolicy
	failFast             bool
}

// A requestList is the requests of a batch.
type requestList interface {
	len() int64
	// request returns request i; it was validated.
	request(i int64) (*outbound.Request, error)
}

func planHTTPBatch(spec []byte, e env) (job.Plan, error) {
	if e.http == nil || e.http.Policy(e.tenant).Empty() && !e.again {
		return nil, fields.Invalidf("/kind", "http_batch is off: the operator of the server has to allow hosts with --http-allow")
	}
	var errs fields.Errors
	f := readObject(spec, &errs, "requests", "request", "for_each", "range", "concurrency", "per_host", "rate", "request_timeout",
		"max_body", "body", "response_headers", "success", "retry", "on_item_error", "fail_fast")
	f.NullIsAbsent("concurrency", "per_host", "rate", "request_timeout", "max_body", "body", "response_headers", "success", "retry",
		"on_item_error", "fail_fast")
	p := &httpBatch{sender: e.http, tenant: e.tenant, memory: int64(len(spec)) + 1024}
	switch {
	case !f.oneOf("requests", "request"):
		p.requests = noRequests{}
	case f.Has("requests"):
		for _, name := range []string{"for_each", "range"} {
			if f.Has(name) {
				f.Add("/"+name, "is for a request with a template; remove it, or requests")
			}
		}
		p.requests = f.requests(e)
	default:
		p.requests = f.template(e)
	}
	n := p.requests.len()
	p.memory += 32 * n / 8
	if l, ok := p.requests.(rawRequests); ok {
		p.memory += int64(24 * len(l.raw))
	}
	p.concurrency = f.integer("concurrency", 1, maxHTTPConcurrency, defaultHTTPConcurrency)
	p.perHost = f.integer("per_host", 1, maxHTTPConcurrency, 0)
	p.interval = f.rate("rate")
	p.timeout = f.durationOr("request_timeout", time.Millisecond, maxHTTPTimeout, defaultHTTPTimeout)
	p.maxBody = f.size("max_body", maxHTTPBody, defaultHTTPBody)
	p.body = f.bodyForm()
	p.headers = f.responseHeaders()
	p.success = f.statuses("success")
	p.retry = f.retry()
	p.failFast = f.onItemError()
	if err := errs.Err(); err != nil {
		return nil, err
	}
	p.concurrency = min(p.concurrency, max(1, n))
	p.tasks = min(maxHTTPTasks, p.concurrency, int64(sliceCount(n, httpSlice)))
	if p.perHost > 0 {
		p.tasks = min(p.tasks, p.perHost)
	}
	return p, nil
}

// Size implements job.Plan.
func (p *httpBatch) Size() job.Size {
	n := p.requests.len()
	return job.Size{Tasks: int(p.tasks), Units: n, Waiting: min(n, p.concurrency), Memory: p.memory, Effects: true}
}

// Reducer implements job.Plan.
func (p *httpBatch) Reducer() job.Reducer { return counter{p.requests.len()} }

// Task implements job.Plan. Task k has the items k, k+tasks, k+2*tasks and so on.
func (p *httpBatch) Task(i int, r job.Resume) job.Task {
	return &httpTask{plan: p, task: int64(i), resume: r}
}

// share returns the part of a bound that a task has; 0 for no bound.
func (p *httpBatch) share(bound, task int64) int64 {
	part := bound / p.tasks
	if task < bound%p.tasks {
		part++
	}
	return part
}

// A statusRange is a range of status codes, both included.
type statusRange struct{ from, to int }

func (p *httpBatch) isSuccess(status int) bool {
	return slices.ContainsFunc(p.success, func(r statusRange) bool { return r.from <= status && status <= r.to })
}

// idempotencyKey returns the Idempotency-Key of an item.
func idempotencyKey(id job.ID, index int64) string { return fmt.Sprintf("%s-%d", id, index) }

// durationOr returns a duration in [least, most], or absent for a missing field.
func (o object) durationOr(name string, least, most, absent time.Duration) time.Duration {
	if !o.Has(name) {
		return absent
	}
	d, err := fields.ParseDuration(o.Get(name), most)
	switch {
	case err != nil:
		o.Add("/"+name, "%v", err)
	case d < least:
		o.Add("/"+name, "must be at least %s", least)
	}
	return d
}

// onItemError reports whether the first item that fails ends the job, by the field on_item_error or its older form fail_fast.
func (o object) onItemError() (fail bool) {
	v := o.Get("on_item_error")
	if v == nil {
		return o.boolean("fail_fast")
	}
	text := fields.Text(v)
	switch {
	case text != "fail" && text != "continue":
		o.Add("/on_item_error", `must be "continue" or "fail"`)
	case o.Has("fail_fast"):
		o.Add("/fail_fast", "is the older form of on_item_error; remove it")
	}
	return text == "fail"
}

// boolean returns a boolean; false for a missing field.
func (o object) boolean(name string) bool {
	v := o.Get(name)
	if v != nil && v.Kind() != 't' && v.Kind() != 'f' {
		o.Add("/"+name, "must be true or false")
	}
	return v.Kind() == 't'
}

// rate returns the time between two events of a rate such as "50/s"; 0 for a missing field.
func (o object) rate(name string) time.Duration {
	v := o.Get(name)
	if v == nil {
		return 0
	}
	interval, err := outbound.ParseRate(fields.Text(v))
	if err != nil {
		o.Add("/"+name, "%v", err)
	}
	return interval
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,9}) ?(B|kB|KiB|MB|MiB)$`)

// size returns a size in bytes, from a number or a text such as "64KiB", of 1 to most; absent for a missing field.
func (o object) size(name string, most, absent int64) int64 {
	v := o.Get(name)
	if v == nil {
		return absent
	}
	n, err := int64(0), error(nil)
	if m := sizePattern.FindStringSubmatch(fields.Text(v)); m != nil {
		n, err = strconv.ParseInt(m[1], 10, 64)
		n *= map[string]int64{"B": 1, "kB": 1000, "KiB": 1 << 10, "MB": 1_000_000, "MiB": 1 << 20}[m[2]]
	} else if text, whole := wholeNumber(v); whole {
		n, err = strconv.ParseInt(string(text), 10, 64)
	}
	if err != nil || n < 1 || n > most {
		o.Add("/"+name, `must be a size such as "64KiB", or a number of bytes, of 1 to %d bytes`, most)
		return absent
	}
	return n
}

func (o object) bodyForm() bodyForm {
	v := o.Get("body")
	if v == nil {
		return bodyText
	}
	i := slices.Index(bodyForms[:], fields.Text(v))
	if i < 0 {
		o.Add("/body", `must be "text", "json", "base64" or "none"`)
		return bodyText
	}
	return bodyForm(i)
}

func (o object) responseHeaders() []string {
	if !o.Has("response_headers") {
		return []string{"Content-Type"}
	}
	names := []string{}
	o.elements("response_headers", func(i int64, v jsontext.Value) bool {
		name := http.CanonicalHeaderKey(fields.Text(v))
		switch {
		case i == maxResponseHeaders:
			o.Add("/response_headers", "at most %d names", maxResponseHeaders)
			return false
		case outbound.CheckResponseHeader(name) != nil:
			o.Add(fmt.Sprintf("/response_headers/%d", i), "must be the name of a header")
		case !slices.Contains(names, name):
			names = append(names, name)
		}
		return true
	})
	return names
}

var statusPattern = regexp.MustCompile(`^[1-5][0-9][0-9](-[1-5][0-9][0-9])?(, ?[1-5][0-9][0-9](-[1-5][0-9][0-9])?){0,31}$`)

// statuses returns ranges of status codes from a text such as "200-299,404".
func (o object) statuses(name string) []statusRange {
	v := o.Get(name)
	if v == nil {
		return []statusRange{{200, 399}}
	}
	text := fields.Text(v)
	if !statusPattern.MatchString(text) {
		o.Add("/"+name, `must be ranges of status codes such as "200-299,404"`)
		return nil
	}
	var list []statusRange
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			to = from
		}
		var r statusRange
		r.from, _ = strconv.Atoi(from) // matched
		r.to, _ = strconv.Atoi(to)
		list = append(list, r)
	}
	return list
}

// retry returns the field retry.
func (o object) retry() outbound.RetryPolicy {
	p := outbound.RetryPolicy{Attempts: defaultAttempts, Backoff: defaultHTTPBackoff, Max: defaultHTTPMaxBackoff}
	if !o.Has("retry") {
		return p
	}
	var errs fields.Errors
	r := readObject(o.Get("retry"), &errs, append(retryMembers[:], "unsafe")...)
	r.NullIsAbsent("unsafe")
	r.readRetry(&p)
	p.Unsafe = r.boolean("unsafe")
	o.Merge("/retry", &errs)
	return p
}
