package api

import (
	"context"
	"io"
	"time"

	"gather/internal/job"
	"gather/internal/schedule"
	"gather/internal/tenant"
)

// An Executor admits and runs jobs.
type Executor interface {
	// Submit admits all jobs or none, and returns when they are durable. It takes over a reserved key. wait declares
	// that the caller will wait for the result. Errors: *fields.Errors, with pointers prefixed by "/jobs/<i>" for
	// several submissions; *job.Rejection. Where several nodes accept submissions also *job.DuplicateKeyError, when another
	// node has just accepted the same key and body, and job.ErrKeyReused, when it was a different body; neither uses up
	// the key or counts toward a bound.
	Submit(ctx context.Context, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error)
	// Preview validates submissions as Submit does and returns the jobs that Submit would make, without making them.
	// Errors: *fields.Errors, as of Submit.
	Preview(ctx context.Context, subs []job.Submission) ([]job.Preview, error)
	// Cancel requests that a job stop, and returns when the request is durable. It returns a terminal job unchanged.
	// Errors: job.ErrNotFound, job.ErrExpired, *job.Rejection.
	Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// Outlook returns the job's position in the queue of its priority, from 1, or 0 when it is not queued, and the
	// suggested time until the next request for an unfinished job.
	Outlook(j *job.Job) (position int, retryAfter time.Duration)
	// Bounds returns the bounds of admission, and how much of them is used; of the quota, by a tenant.
	Bounds(tenant string) job.Bounds
}

// Jobs reads, counts and deletes durable jobs.
type Jobs interface {
	Counter
	// Get returns a tenant's job. Errors: job.ErrNotFound, job.ErrExpired.
	Get(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// List returns a page of jobs, newest first, and the ID to continue before; the zero ID after the last page. A page
	// may be short although a next page exists.
	List(ctx context.Context, q job.Query) ([]job.Job, job.ID, error)
	// Spec returns the validated spec of a job, or nil if it is longer than limit bytes and limit is not 0. Errors:
	// job.ErrNotFound for a missing job, and for one whose spec was not kept.
	Spec(ctx context.Context, tenant string, id job.ID, limit int) ([]byte, error)
	// Delete removes a terminal job. Errors: job.ErrNotFound, job.ErrExpired, job.ErrNotFinished, job.ErrStorage.
	Delete(ctx context.Context, tenant string, id job.ID) error
}

// A Counter counts the durable jobs of a tenant.
type Counter interface {
	// Count returns the number of jobs in each state, of some kinds or, without kinds, of all.
	Count(ctx context.Context, tenant string, kinds []string) (job.Counts, error)
	// Stats returns the counts of an overview.
	Stats(ctx context.Context, tenant string) (job.Stats, error)
}

// Groups reads the groups of jobs. Log.Watch signals changes of a group under its job.GroupID.
type Groups interface {
	// Group returns a group of a tenant. Errors: job.ErrGroupNotFound.
	Group(ctx context.Context, tenant, name string) (job.Group, error)
	// Groups returns at most limit groups with names after a name, in order.
	Groups(ctx context.Context, tenant, after string, limit int) ([]job.Group, error)
	// GroupEnds returns at most limit ends of jobs of a group with a Seq above after, in order. A job may be listed shortly before
	// Jobs.Get returns its end; Ends of deleted jobs are missing.
	GroupEnds(ctx context.Context, tenant, name string, after uint64, limit int) ([]job.GroupEnd, error)
}

// A Log reads the durable events of jobs. It does not check tenants: read the job first.
type Log interface {
	// Log returns events with a Seq above after, oldest first: about limit events and items in all, and at least one
	// event if one exists. The seqs of an event's items end at its own seq (for job.Finished, just before it); the
	// first event may contain items up to after too. A missing job has no events.
	Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error)
	// ItemsByIndex returns at most limit items of a terminal job with an index above after, by index. A missing job has
	// no items.
	ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error)
	// Watch returns a channel that signals durable changes of the job. Signals that are not received are merged into
	// one, and the channel is never closed. The caller must call stop.
	Watch(id job.ID) (changed <-chan struct{}, stop func())
}

// Webhooks checks the webhooks of submissions.
type Webhooks interface {
	// CheckWebhook returns why a job of a tenant cannot have a webhook with a URL, or nil.
	CheckWebhook(tenant, url string) error
	// TenantWebhooks returns the webhooks that every job of a tenant has.
	TenantWebhooks(tenant string) []job.Webhook
}

// Deliveries has the deliveries to webhooks of finished jobs.
type Deliveries interface {
	// Deliveries returns the deliveries of a finished job. Errors: job.ErrNotFound if it has none.
	Deliveries(ctx context.Context, tenant string, id job.ID) (job.Deliveries, error)
	// ChangeDelivery durably changes a delivery, and returns the deliveries after the change. Errors: job.ErrNotFound,
	// job.ErrTransition, job.ErrStorage.
	ChangeDelivery(ctx context.Context, tenant string, id job.ID, c job.DeliveryChange) (job.Deliveries, error)
}

// Keys stores used idempotency keys.
type Keys interface {
	// Reserve returns the jobs that were submitted earlier with the key. Without any it reserves the key for a
	// submission, until Executor.Submit takes it over or Release is called. Errors: job.ErrKeyReused,
	// job.ErrKeyInProgress.
	Reserve(ctx context.Context, key job.Key) (prior []job.ID, err error)
	// Release cancels a reservation.
	Release(key job.Key)
}

// A Replica is the node's copy of the cluster's state, from which jobs and logs are read.
type Replica interface {
	// Age returns for how long the replica may have missed changes of other nodes.
	Age() time.Duration
	// ReadBarrier waits until the replica has applied every change acknowledged before the call. Errors: job.ErrStorage
	// when the node cannot reach the log.
	ReadBarrier(ctx context.Context) error
}

// Kinds validates submissions.
type Kinds interface {
	// Describe returns the kinds.
	Describe() []job.KindInfo
	// Validate validates a tenant's spec of a kind. Errors: *fields.Errors with every error, also for an unknown kind.
	Validate(ctx context.Context, tenant, kind string, spec []byte) error
	// SelectItems returns the spec of a job with only some of the items of a spec; false for a kind without items.
	SelectItems(kind string, spec []byte, keep func(i int64) bool) (selected []byte, ok bool)
	// AppendMembers appends the members of a spec as they were submitted, each after a comma.
	AppendMembers(dst, spec []byte) []byte
}

// Arrays stores and reads arrays.
type Arrays interface {
	// Put stores an .npy file under a name and reports whether the name is new. Errors: *fields.Errors,
	// job.ErrTooLarge, *job.Rejection of job.ErrQuota, job.ErrArrayInUse, job.ErrPrecondition, job.ErrStorage, and
	// errors of r.
	Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error)
	// Get returns the description of an array. Errors: job.ErrArrayNotFound, job.ErrArrayDamaged, job.ErrStorage.
	Get(ctx context.Context, tenant, name string) (job.Array, error)
	// List returns at most limit arrays with names after a name, in order.
	List(ctx context.Context, tenant, after string, limit int) ([]job.Array, error)
	// Delete removes an array if the precondition holds. Errors: job.ErrArrayNotFound, job.ErrArrayInUse,
	// job.ErrPrecondition, job.ErrStorage.
	Delete(ctx context.Context, tenant, name string, p job.Precondition) error
	// Open returns an array and opens its file, which may be replaced or deleted meanwhile. Errors: the errors of Get,
	// and job.ErrCorrupt for a file that differs from the uploaded one.
	Open(ctx context.Context, tenant, name string) (job.Array, job.ArrayFile, error)
}

// Pauses keeps the pauses of jobs.
type Pauses interface {
	// List returns the pauses, by scope and name.
	List() []job.Pause
	// Pause adds a pause, and returns it and whether it is new. An existing one gets the reason, and keeps its time. Errors:
	// job.ErrStorage.
	Pause(ctx context.Context, p job.Pause) (job.Pause, bool, error)
	// Resume removes a pause, and reports whether there was one. Errors: job.ErrStorage.
	Resume(ctx context.Context, p job.Pause) (bool, error)
}

// Schedules keeps the schedules of tenants.
//
//nolint:interfacebloat // one for each operation
type Schedules interface {
	// Put creates or replaces a schedule, and reports whether it is new. Errors: schedule.ErrTooMany, job.ErrStorage.
	Put(ctx context.Context, tenant, name string, d schedule.Definition) (*schedule.Schedule, bool, error)
	// Get returns a schedule. Errors: schedule.ErrNotFound, job.ErrStorage.
	Get(ctx context.Context, tenant, name string) (*schedule.Schedule, error)
	// List returns a tenant's schedules by name.
	List(tenant string) []*schedule.Schedule
	// Delete removes a schedule. Errors: schedule.ErrNotFound, job.ErrStorage.
	Delete(ctx context.Context, tenant, name string) error
	// SetPaused pauses or resumes a schedule. Errors: schedule.ErrNotFound, job.ErrStorage.
	SetPaused(ctx context.Context, tenant, name string, paused bool) (*schedule.Schedule, error)
	// Run submits a run now, once for each key that is not empty. Errors: schedule.ErrNotFound, errors of Executor.Submit.
	Run(ctx context.Context, tenant, name, key string) (job.ID, error)
}

// Nodes lists the running servers that share the work.
type Nodes interface {
	// Nodes returns all live nodes including this one, in any order, with their start times and last heartbeats.
	// Errors: job.ErrStorage.
	Nodes(ctx context.Context) ([]job.Node, error)
}

// Tenants authenticates requests and limits their rates. With nil Tenants in Config every request belongs to
// tenant.Default.
type Tenants interface {
	// Authenticate returns the owner of an API key; false for an invalid key.
	Authenticate(key string) (tenant.Principal, bool)
	// Take deducts n jobs from a tenant's rate. It deducts none and returns false when fewer are left.
	Take(name string, n int, now time.Time) (tenant.Allowance, bool)
	// Return adds jobs of a Take that were not accepted back to the rate.
	Return(name string, n int, now time.Time)
}
