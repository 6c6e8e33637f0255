package main

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// A view is a job as a client reads it.
type view struct {
	ID       string         `json:"id"`
	State    string         `json:"state"`
	Result   jsontext.Value `json:"result"`
	Error    jsontext.Value `json:"error"`
	Progress struct {
		Total     int64 `json:"total"`
		Completed int64 `json:"completed"`
		Failed    int64 `json:"failed"`
	} `json:"progress"`
	Retries    int               `json:"retries"`
	Retention  string            `json:"retention"`
	Failed     string            `json:"failed_retention"`
	Group      string            `json:"group"`
	RetryOf    string            `json:"retry_of"`
	Labels     map[string]string `json:"labels"`
	After      []string          `json:"after"`
	CreatedAt  time.Time         `json:"created_at"`
	StartedAt  *time.Time        `json:"started_at"`
	FinishedAt *time.Time        `json:"finished_at"`
}

func (v *view) terminal() bool {
	return v.State == "succeeded" || v.State == "failed" || v.State == "cancelled"
}

// outcome returns what must not change once a client saw it.
func (v *view) outcome() string {
	finished := ""
	if v.FinishedAt != nil {
		finished = v.FinishedAt.Format(time.RFC3339Nano)
	}
	return fmt.Sprintf("%s %s %s %s %+v", v.State, v.Result, v.Error, finished, v.Progress)
}

// An item is the result of one item as a client reads it.
type item struct {
	Seq      int64          `json:"seq"`
	Index    int            `json:"index"`
	Value    jsontext.Value `json:"value"`
	Error    *string        `json:"error"`
	Duration float64        `json:"duration_ms"`
}

func (it *item) String() string {
	return fmt.Sprintf("%d: index %d, %s, %v, %v ms", it.Seq, it.Index, it.Value, it.Error, it.Duration)
}

// The actions of clients that a history records.
type action string

const (
	submit  action = "submit"  // jobs, alone or as a batch
	get     action = "get"     // a job
	cancel  action = "cancel"  // a job
	remove  action = "delete"  // a job
	read    action = "read"    // a stream of events or the pages of results of a job
	put     action = "put"     // an array
	fetch   action = "fetch"   // an array
	discard action = "discard" // an array

	cancelAll   action = "cancel all"   // the jobs of a label or a group
	removeAll   action = "delete all"   // the jobs of a label
	followGroup action = "follow group" // the stream of a group
	pauses      action = "pause"        // a priority, or its end
	schedules   action = "schedule"     // a change of a schedule
)

// never is the end of an operation whose effect may still come.
const never = math.MaxInt64

// An operation is one attempt of a client, with its response; a read joins the attempts of one stream.
type operation struct {
	action       action
	client, node int
	// call and ret are the times of the request and the response, in ns of the run. ret is never if the client has no response, or
	// one that does not exclude an effect.
	call, ret int64
	// status is the HTTP status; 0 without a response.
	status int

	sub      *submission // submit
	ids      []string    // submit: the jobs of the response
	replayed bool        // submit

	job  string // get, cancel, delete, read
	view *view  // get, cancel, submit of one job
	read *reading

	group string        // submit, follow group
	ends  *groupReading // follow group
	bulk  *bulkResult   // cancel all, delete all, whose jobs are ids
	// ofMany is true if the cancel or the delete is one of a bulk request, which does not return the job.
	ofMany bool
	// attempt is the number of attempts before.
	attempt int

	array   string // put, fetch, discard
	version int    // put, fetch; 0 is absent
}

// unknown reports whether the operation may have an effect that its client does not know.
func (o *operation) unknown() bool { return o.ret == never }

// A submission is one or more jobs, which a client may submit more than once.
type submission struct {
	// label is a label of all its jobs, and of no others.
	label  string
	key    string // "" without an idempotency key
	orders []order
	// group is the name of the group of the jobs, and priority theirs; "" for none.
	group, priority string
	// webhook is called when the jobs have ended; "" for none.
	webhook string
	// after has for each job the jobs that it waits for: ids in quotes, or positions in the batch; nil for none. afterTimeout bounds the
	// wait unless it is 0.
	after        [][]string
	afterTimeout time.Duration
	// retryOf is the job that the only job retries; "" for none. Such a submission has no body.
	retryOf string
	// array is the name of the stored array that the job sums; "" for none.
	array string
	// cancelled is true if a client may cancel the jobs.
	cancelled bool
}

// A reading is what a client read of a job's events or results.
type reading struct {
	items []item
	// seqs are the seqs of all events in the order of arrival; nil for pages of results, which have only seqs of items.
	seqs []int64
	// attempts are the events of failed attempts.
	attempts []failedAttempt
	// last is the job in the last event of a stream; nil without one.
	last *view
	// whole is true if the client read to the end of a finished job.
	whole bool
}

// A listing is what a node lists at the end: all jobs, and all groups.
type listing struct {
	jobs   []view
	groups []groupView
}

// A history holds all operations of a run.
type history struct {
	began time.Time

	mu         sync.Mutex
	operations []operation
	// reported are violations that clients detect themselves.
	reported []error
	// listed are the ids of the jobs with each label at the end; nil if the run was not completed.
	listed map[string][]string
	// listings are what each node listed at the end.
	listings []listing
	// deliveries are the requests to the webhook.
	deliveries []delivery
	// holds are the pauses.
	holds []hold
	// schedules are the readings of each schedule.
	schedules []scheduleReading
	// clockSteps is true if the wall clocks of the servers were set.
	clockSteps bool
	// starts are the times when a single server was started after its process had ended.
	starts []int64
}

func newHistory() *history { return &history{began: time.Now()} }

func (h *history) now() int64 { return int64(time.Since(h.began)) }

func (h *history) add(o *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, *o)
}

func (h *history) report(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reported = append(h.reported, err)
}

func (h *history) hold(p hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds = append(h.holds, p)
}

func (h *history) readingOf(r scheduleReading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.schedules = append(h.schedules, r)
}

// restarted records that no process of earlier requests exists, so that their effects have happened or never will.
func (h *history) restarted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starts = append(h.starts, h.now())
}
