package job

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// ErrExists is the error of an import whose record exists, or existed and was deleted. Nothing was changed.
var ErrExists = errors.New("it exists already")

// A KeyRecord is a used idempotency key, as one journal hands it to another. The key itself is not kept.
type KeyRecord struct {
	// Hash identifies the key, with its tenant and route.
	Hash [32]byte
	// Fingerprint is the fingerprint of the key.
	Fingerprint [32]byte
	// Expires is when the key is forgotten, to the millisecond.
	Expires time.Time
	// IDs are the jobs that the key stands for.
	IDs []ID
}

// A Tombstone is the rest of a deleted or expired job.
type Tombstone struct {
	Tenant string
	ID     ID
	// Expires is when the job is forgotten, to the millisecond.
	Expires time.Time
}

// Rebuild returns the events of a job, for a journal without it: log is the whole log as a journal yields it, view the
// job after it. The Submitted event gets back the fields that are stored beside the log. The error is ErrCorrupt when
// the log does not lead to the view.
func Rebuild(view Job, spec []byte, log []Event) ([]Event, error) {
	if len(log) == 0 {
		return nil, fmt.Errorf("%w: job %s has no log", ErrCorrupt, view.ID)
	}
	events := append([]Event{Submitted{Job: submitted(view), Spec: spec}}, log[1:]...)
	if _, ok := log[0].(Submitted); !ok {
		return nil, fmt.Errorf("%w: the log of job %s begins with %T", ErrCorrupt, view.ID, log[0])
	}
	var fold Job
	for _, e := range events {
		var err error
		if fold, err = Apply(fold, e); err != nil {
			return nil, fmt.Errorf("%w: job %s: %w", ErrCorrupt, view.ID, err)
		}
	}
	if !bytes.Equal(fold.AppendBinary(nil), view.AppendBinary(nil)) {
		return nil, fmt.Errorf("%w: the log of job %s does not lead to its view", ErrCorrupt, view.ID)
	}
	return events, nil
}

// submitted returns a job as it was before its first event.
func submitted(j Job) Job {
	j.State, j.Seq, j.TasksDone = Queued, 0, 0
	j.Progress = Progress{Total: j.Progress.Total, BytesTotal: j.Progress.BytesTotal}
	j.StartedAt, j.FinishedAt, j.ExpiresAt = time.Time{}, time.Time{}, time.Time{}
	j.Result, j.Details, j.Failure = nil, nil, nil
	return j
}
