package job

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrExists means that an imported record exists, or existed and was deleted. Nothing was changed.
var ErrExists = errors.New("it exists already")

// A KeyRecord is a used idempotency key in an export. It has no copy of the key itself.
type KeyRecord struct {
	// Hash identifies the key, with its tenant and route.
	Hash [32]byte
	// Fingerprint is the fingerprint of the key's request.
	Fingerprint [32]byte
	// Expires is when the key is forgotten, to the millisecond.
	Expires time.Time
	// IDs are the jobs that were submitted with the key.
	IDs []ID
}

// A Tombstone is the record of a deleted or expired job.
type Tombstone struct {
	Tenant string
	ID     ID
	// Expires is when the job is forgotten, to the millisecond.
	Expires time.Time
}

// Rebuild returns the events of a job for import into a journal: log is the whole log as a journal yields it, and view the
// job after it. The Submitted event gets the fields that are stored outside of the log. Rebuild returns ErrCorrupt if the
// log does not lead to the view.
func Rebuild(view Job, spec []byte, log []Event) ([]Event, error) {
	if len(log) == 0 {
		return nil, fmt.Errorf("%w: job %s has no log", ErrCorrupt, view.ID)
	}
	first := submitted(view)
	for _, e := range log {
		if e, ok := e.(DependencySucceeded); ok {
			first.Waits |= 1 << (e.Index % MaxAfter)
		}
	}
	events := append([]Event{Submitted{Job: first, Spec: spec}}, log[1:]...)
	if _, ok := log[0].(Submitted); !ok {
		return nil, fmt.Errorf("%w: the log of job %s begins with %T", ErrCorrupt, view.ID, log[0])
	}
	var j Job
	for _, e := range events {
		var err error
		if j, err = Apply(j, e); err != nil {
			return nil, fmt.Errorf("%w: job %s: %w", ErrCorrupt, view.ID, err)
		}
	}
	if !bytes.Equal(j.AppendBinary(nil), view.AppendBinary(nil)) {
		return nil, fmt.Errorf("%w: the log of job %s does not lead to its view", ErrCorrupt, view.ID)
	}
	return events, nil
}

// SettleImported adds what has become of the jobs that an unfinished, imported job waits for, if they have ended in the
// destination: get returns their views there. A job that waits for one that the destination does not have is cancelled.
func SettleImported(view Job, log []Event, at time.Time, get func(ID) (Job, error)) (Job, []Event, error) {
	if view.State.Terminal() {
		return view, log, nil
	}
	log = slices.Clip(log)
	for id := range view.Pending() {
		end, err := get(id)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrExpired):
			end = Job{ID: id, State: Cancelled}
		case err != nil:
			return view, nil, err
		case !end.State.Terminal():
			continue
		}
		end.FinishedAt = at
		ev := view.dependencyEnded(&end)
		if view, err = Apply(view, ev); err != nil {
			return view, nil, err
		}
		if log = append(log, ev); view.State.Terminal() {
			break
		}
	}
	return view, log, nil
}

// submitted returns a job as it was when it was submitted.
func submitted(j Job) Job {
	j.State, j.Seq, j.TasksDone = Queued, 0, 0
	j.Progress = Progress{Total: j.Progress.Total, BytesTotal: j.Progress.BytesTotal}
	j.ReleasedAt, j.StartedAt, j.FinishedAt, j.ExpiresAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	j.Result, j.Details, j.Failure = nil, nil, nil
	j.Retries, j.Retry = 0, nil
	return j
}
