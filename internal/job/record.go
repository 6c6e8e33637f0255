package job

import (
	"iter"
	"time"
)

// A Submission is a decoded request of a client, not yet validated by its kind.
type Submission struct {
	Tenant   string
	Kind     string
	Spec     []byte // the kind's own parameters: a JSON object
	Priority Priority
	Labels   map[string]string
	Group    string
	RetryOf  ID
	// After are the jobs that must succeed first, and AfterTimeout bounds the wait for them; 0 selects the longest.
	After        []Dependency
	AfterTimeout time.Duration
	Timeout      time.Duration
	Retention    time.Duration
	// FailedRetention is as in Job.
	FailedRetention time.Duration
	Webhooks        []Webhook
	// StartAfter is an instant, Delay a duration: one of them is zero.
	StartAfter  time.Time
	Delay       time.Duration
	RequestID   string
	TraceParent string
}

// A Dependency is a job that a submission waits for: one with an ID or, with the zero ID, the earlier job of the same batch with an
// index.
type Dependency struct {
	ID    ID
	Index int
}

// A Batch is appended to the journal atomically.
type Batch struct {
	Entries []Entry
	// Key makes the submission in this batch idempotent.
	Key *Key
	// Admission bounds the submissions in this batch if several nodes share the bounds; nil for none.
	Admission *Admission
	// Delay is how long the batch may wait for other batches before it is synced to disk.
	Delay time.Duration
	// Done is called once, with nil when the batch is durable, or with the error of a rejection. The journal's goroutine
	// calls it, so it must neither block nor call the journal. A journal of one node rejects valid batches only if they
	// have a Submitted event, with ErrStorage; others wait until the disk takes them.
	Done func(error)
	// Prompt makes Done report ErrStorage as soon as the disk fails, for a client that waits. The batch is kept
	// nevertheless.
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
	// Route distinguishes the keys of different operations.
	Route string
	// Value is the key of the client.
	Value string
	// Fingerprint is the SHA-256 of the request body.
	Fingerprint [32]byte
	// Expires is when the key expires; the zero time selects the journal's retention.
	Expires time.Time
}

// A LogRecord is one event of a log, with its sequence number.
type LogRecord struct {
	// Seq is the event's last sequence number: of its last item, or of the event.
	Seq   uint64
	Event Event
}

// LogSeq yields the records of a job's log, oldest first; it ends after an error.
type LogSeq = iter.Seq2[LogRecord, error]
