package job

import (
	"iter"
	"slices"
	"time"
)

// A Submission is the request of a client, after its envelope was decoded and before its kind has validated it.
type Submission struct {
	Tenant    string
	Kind      string
	Spec      []byte // the kind's own parameters: a JSON object
	Priority  Priority
	Labels    map[string]string
	Timeout   time.Duration
	Retention time.Duration
	// StartAfter is an instant, Delay a duration: one of them is zero.
	StartAfter  time.Time
	Delay       time.Duration
	RequestID   string
	TraceParent string
}

// A Batch is appended to the journal atomically.
type Batch struct {
	Entries []Entry
	// Key makes the submission in this batch idempotent.
	Key *Key
	// Admission bounds the submissions in this batch, where several nodes share the bounds; nil for none.
	Admission *Admission
	// Delay is how long the batch may wait for others before it is forced to disk; 0 is no wait.
	Delay time.Duration
	// Done is called once, when the batch is durable (nil) or refused. It is called from the journal's goroutine and
	// must not block, nor call the journal. Only a batch with a Submitted event is ever refused, with ErrStorage;
	// any other is kept until the disk takes it.
	Done func(error)
	// Prompt makes Done report ErrStorage as soon as the disk fails, for a client that waits: the batch is kept all the same.
	Prompt bool
}

// An Entry is a run of events of one job.
type Entry struct {
	ID     ID
	Events []Event
}

// A Key makes a submission idempotent.
type Key struct {
	Tenant string
	// Route keeps the keys of different operations apart.
	Route string
	// Value is the key as the client gave it.
	Value string
	// Fingerprint is the SHA-256 of the request body.
	Fingerprint [32]byte
	// Expires is when the key is forgotten; the zero time leaves that to the journal.
	Expires time.Time
}

// A LogRecord is one event as a reader of the log sees it.
type LogRecord struct {
	// Seq is the event's last sequence number: of its last item, or of the event.
	Seq   uint64
	Event Event
}

// LogSeq yields the records of a job's log, oldest first; it ends after an error.
type LogSeq = iter.Seq2[LogRecord, error]

// A Query selects jobs for a listing, newest first.
type Query struct {
	Tenant string
	// States, Kind and Labels restrict the listing where they are not empty.
	States []State
	Kind   string
	Labels map[string]string
	// Before is the last job of the page before; the zero ID for the first page.
	Before ID
	Limit  int
}

// Matches reports whether a job matches the query.
func (q *Query) Matches(j *Job) bool {
	if j.Tenant != q.Tenant || q.Kind != "" && j.Kind != q.Kind {
		return false
	}
	for k, v := range q.Labels {
		if got, ok := j.Labels[k]; !ok || got != v {
			return false
		}
	}
	return len(q.States) == 0 || slices.Contains(q.States, j.State)
}
