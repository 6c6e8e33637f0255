// Package schedule submits jobs at recurring times.
//
// A schedule is a document: its definition, which clients write, and its state, which the Scheduler writes. Every time of a
// schedule is a tick, and has exactly one outcome: a job, or a reason for none. The job of a tick is submitted with an idempotency key made of
// the schedule, its generation and the tick, so that any node may submit it, also again after a crash, and it is one job. The state then
// records the tick; a tick at or before the cursor never gets a job, so a clock that is set back repeats none. A tick whose key may
// have expired is missed, not submitted again.
//
// A clock that is set forward, and an outage, pass ticks: of those the latest few are submitted, as the schedule's catch-up allows, and the
// others are missed. On a cluster the leader submits; two leaders at a time do no harm.
//
// One goroutine submits what is due, until Close, which waits for it. A submission that the executor cannot take now is tried again;
// one that is not valid is recorded as rejected, with the errors.
package schedule

import (
	"crypto/sha256"
	"maps"
	"time"

	"gather/internal/job"
)

// An Overlap selects what happens at a tick while the job of the last run has not ended.
type Overlap string

// The overlaps.
const (
	// Skip leaves the tick out.
	Skip Overlap = "skip"
	// Queue submits the job when the last one has ended.
	Queue Overlap = "queue"
	// Replace cancels the last job and submits the next.
	Replace Overlap = "replace"
)

// Overlaps lists all overlaps.
func Overlaps() []Overlap { return []Overlap{Skip, Queue, Replace} }

// CatchUp bounds the ticks that are submitted late, after an outage.
type CatchUp struct {
	// Runs is how many of the latest missed ticks are submitted.
	Runs int
	// Within is how old such a tick may be.
	Within time.Duration
}

// A Template is the submission of every run.
type Template struct {
	Kind               string
	Priority           job.Priority
	Labels             map[string]string
	Timeout, Retention time.Duration
	// FailedRetention is as in job.Job.
	FailedRetention time.Duration
	Delay           time.Duration
	Spec            []byte
}

// A Definition is what a client sets.
type Definition struct {
	Timing   Timing
	Template Template
	Overlap  Overlap
	CatchUp  CatchUp
	Paused   bool
}

// A Schedule is a definition and its state.
type Schedule struct {
	Tenant, Name string
	Definition

	// Generation identifies the definition, except Paused.
	Generation           job.ID
	CreatedAt, UpdatedAt time.Time
	// Cursor is the last tick with an outcome, or the time from which on there are ticks.
	Cursor time.Time
	// Waiting are ticks whose jobs are submitted when the last one has ended, oldest first.
	Waiting []time.Time
	// Current is the job of the last run; the zero ID before the first.
	Current job.ID
	// Runs are the last outcomes, newest first.
	Runs []Run
}

// An Outcome is what became of a tick.
type Outcome string

// The outcomes.
const (
	Submitted Outcome = "submitted"
	Skipped   Outcome = "skipped"
	Missed    Outcome = "missed"
	Rejected  Outcome = "rejected"
)

// Outcomes lists all outcomes.
func Outcomes() []Outcome { return []Outcome{Submitted, Skipped, Missed, Rejected} }

// A Run is the outcome of a tick, or of a run that a client requested.
type Run struct {
	Tick    time.Time
	Outcome Outcome
	// Job is the submitted job.
	Job job.ID
	// Manual is true for a run that a client requested.
	Manual bool
	// Detail is why there is no job.
	Detail string
	At     time.Time
}

const (
	// MaxRuns is how many outcomes a schedule keeps.
	MaxRuns = 100
	// maxWaiting bounds the ticks that wait for the last job to end.
	maxWaiting = 100
	// onTime is how late a tick may be without being a missed one: longer than a change of the leader takes.
	onTime = time.Minute
	// MaxLabels is how many labels a template may have.
	MaxLabels = 15
	// LabelKey is the key of the label with the schedule's name.
	LabelKey = "schedule"
)

// prefix is the prefix of the names of schedules' documents.
const prefix = "schedule/"

func tenantPrefix(tenant string) string       { return prefix + tenant + "/" }
func documentName(tenant, name string) string { return tenantPrefix(tenant) + name }
func (s *Schedule) documentName() string      { return documentName(s.Tenant, s.Name) }
func (s *Schedule) record(r Run, now time.Time) {
	r.At = now
	s.Runs = append([]Run{r}, s.Runs[:min(len(s.Runs), MaxRuns-1)]...)
}

// Next returns the first tick after a time; the zero time if there is none.
func (s *Schedule) Next(after time.Time) time.Time {
	return s.Timing.next(s.UpdatedAt, after)
}

// key returns the idempotency key of a run, with a name for it.
func (s *Schedule) key(run string) job.Key {
	return job.Key{
		Tenant: s.Tenant, Route: "schedules", Value: s.Name + "/" + s.Generation.String() + "/" + run, Fingerprint: sha256.Sum256(s.Template.Spec),
	}
}

// submission returns the submission of a run.
func (s *Schedule) submission() job.Submission {
	t := &s.Template
	labels := map[string]string{LabelKey: s.Name}
	maps.Copy(labels, t.Labels)
	return job.Submission{
		Tenant: s.Tenant, Kind: t.Kind, Priority: t.Priority, Labels: labels, Timeout: t.Timeout, Retention: t.Retention,
		FailedRetention: t.FailedRetention, Delay: t.Delay, Spec: append([]byte(nil), t.Spec...),
	}
}
