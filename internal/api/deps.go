package api

import (
	"context"
	"io"
	"time"

	"gather/internal/job"
	"gather/internal/tenant"
)

// An Executor admits and runs jobs.
type Executor interface {
	// Submit admits jobs, all or none, and returns when they are durable. A reserved key is its own from then on. With wait the caller is going to wait for the
	// result. Errors: *fields.Errors, its pointers led by "/jobs/<i>" when there are several submissions;
	// *job.Rejection. Where several nodes accept submissions, also *job.PriorError, when another node has just accepted the
	// same key and body, and job.ErrKeyReused, when it was with another body; both use up neither the key nor a bound.
	Submit(ctx context.Context, subs []job.Submission, key *job.Key, wait bool) ([]job.Job, error)
	// Cancel requests that a job stops, and returns when the request is durable; a terminal job is returned unchanged.
	// Errors: job.ErrNotFound, job.ErrExpired, *job.Rejection.
	Cancel(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// Outlook returns the job's position in the queue of its priority, from 1, or 0 when it is not queued, and a hint when to
	// request an unfinished job again.
	Outlook(j *job.Job) (position int, retryAfter time.Duration)
}

// Jobs are the durable views of the jobs.
type Jobs interface {
	// Get returns a tenant's job. Errors: job.ErrNotFound, job.ErrExpired.
	Get(ctx context.Context, tenant string, id job.ID) (job.Job, error)
	// List returns a page of jobs, newest first, and the ID to go on before; the zero ID after the last page. A page may
	// be short and have a next one all the same.
	List(ctx context.Context, q job.Query) ([]job.Job, job.ID, error)
	// Delete removes a terminal job. Errors: job.ErrNotFound, job.ErrExpired, job.ErrNotFinished, job.ErrStorage.
	Delete(ctx context.Context, tenant string, id job.ID) error
}

// A Log has the durable events of jobs. It has no tenants: read the job first.
type Log interface {
	// Log returns events with a Seq above after, oldest first: about limit events and items in all, and one event at least
	// if there is one. An event's items have the seqs that end at its own (for job.Finished, just before its own); the
	// first event may have items up to after too. A job that is not there has no events.
	Log(ctx context.Context, id job.ID, after uint64, limit int) ([]job.LogRecord, error)
	// ItemsByIndex returns the items of a terminal job with an index above after, by index, at most limit of them. A job
	// that is not there has no items.
	ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error)
	// Watch signals on changed after the job has durably changed; signals that are not received are merged into one, and
	// changed is never closed. Stop must be called.
	Watch(id job.ID) (changed <-chan struct{}, stop func())
}

// Keys remember the idempotency keys that were used.
type Keys interface {
	// Reserve returns the jobs that were submitted with the key before or, when there are none, reserves it for a
	// submission: for Executor.Submit, which takes it over, or for Release. Errors: job.ErrKeyReused, job.ErrKeyInProgress.
	Reserve(ctx context.Context, key job.Key) (prior []job.ID, err error)
	// Release gives up a reservation that no submission is made for.
	Release(key job.Key)
}

// A Replica is the copy of the cluster's state that a node reads jobs and their logs from.
type Replica interface {
	// Age returns for how long the replica may have missed changes that other nodes made.
	Age() time.Duration
	// ReadBarrier waits until the replica has every change that was acknowledged before the call. Errors: job.ErrStorage when the
	// node cannot reach the log.
	ReadBarrier(ctx context.Context) error
}

// Kinds validates submissions.
type Kinds interface {
	// Describe lists the kinds.
	Describe() []job.KindInfo
	// Validate checks a tenant's parameters of a kind. Errors: *fields.Errors with every error, also for an unknown
	// kind.
	Validate(ctx context.Context, tenant, kind string, spec []byte) error
}

// Arrays are the stored arrays.
type Arrays interface {
	// Put stores an .npy file under a name and reports whether the name is new. Errors: *fields.Errors, job.ErrTooLarge,
	// *job.Rejection of job.ErrQuota, job.ErrArrayInUse, job.ErrPrecondition, job.ErrStorage, the errors of r.
	Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error)
	// Get describes an array. Errors: job.ErrArrayNotFound, job.ErrArrayDamaged, job.ErrStorage.
	Get(ctx context.Context, tenant, name string) (job.Array, error)
	// List describes at most limit arrays by name, those behind after.
	List(ctx context.Context, tenant, after string, limit int) ([]job.Array, error)
	// Delete removes an array for which a precondition holds. Errors: job.ErrArrayNotFound, job.ErrArrayInUse,
	// job.ErrPrecondition, job.ErrStorage.
	Delete(ctx context.Context, tenant, name string, p job.Precondition) error
	// Open returns an array and opens its file, which may be replaced and deleted meanwhile. Errors: those of Get, and
	// job.ErrCorrupt for a file that differs from the uploaded one.
	Open(ctx context.Context, tenant, name string) (job.Array, job.ArrayFile, error)
}

// Nodes are the running servers that share the work.
type Nodes interface {
	// Nodes returns all live nodes, this one included, in any order, each with the times of its start and of its last
	// heartbeat. Errors: job.ErrStorage.
	Nodes(ctx context.Context) ([]job.Node, error)
}

// Tenants authenticates requests. With a nil Tenants in Config every request is of tenant.Default.
type Tenants interface {
	// Authenticate returns the owner of an API key; false for an invalid key.
	Authenticate(key string) (tenant.Principal, bool)
	// Take uses n jobs of a tenant's rate up; false when that is more than is left, and then none is used.
	Take(name string, n int, now time.Time) (tenant.Allowance, bool)
	// Return returns the part of a Take whose jobs were not accepted.
	Return(name string, n int, now time.Time)
}
