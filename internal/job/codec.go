package job

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

// AppendBinary appends the encoded view.
func (j *Job) AppendBinary(dst []byte) []byte {
	e := encoder{b: dst}
	e.job(j)
	return e.b
}

func (e *encoder) job(j *Job) {
	format := j.format()
	dst := append(e.b, byte(format))
	switch format {
	case format2:
		dst = appendInt(dst, int64(j.Delay))
	case format4:
		dst = appendWebhooks(appendInt(dst, int64(j.Delay)), j.Webhooks)
	case format5:
		dst = appendString(appendWebhooks(appendInt(dst, int64(j.Delay)), j.Webhooks), j.Group)
	case format6:
		dst = appendString(appendWebhooks(appendInt(dst, int64(j.Delay)), j.Webhooks), j.Group)
		dst = append(dst, j.RetryOf[:]...)
	case format8, format9, format10:
		dst = appendString(appendWebhooks(appendInt(dst, int64(j.Delay)), j.Webhooks), j.Group)
		dst = appendIDs(append(dst, j.RetryOf[:]...), j.After)
		dst = appendTime(appendInt(appendUint(dst, j.Waits), int64(j.AfterTimeout)), j.ReleasedAt)
		if format >= format9 {
			dst = appendInt(dst, int64(j.FailedRetention))
		}
		if format >= format10 {
			dst = appendTaskRetry(appendInt(dst, j.Retries), j.Retry)
		}
	}
	e.needs(format)
	dst = append(dst, j.ID[:]...)
	dst = appendString(dst, j.Tenant)
	dst = appendString(dst, j.Kind)
	dst = append(dst, byte(j.Priority), byte(j.State))
	dst = appendUint(dst, uint64(len(j.Labels)))
	if len(j.Labels) > 0 {
		for _, k := range slices.Sorted(maps.Keys(j.Labels)) {
			dst = appendString(appendString(dst, k), j.Labels[k])
		}
	}
	dst = appendUint(dst, j.Seq)
	p := j.Progress
	for _, v := range [...]int64{p.Total, p.Completed, p.Failed, p.Bytes, p.BytesTotal, int64(j.Tasks), int64(j.TasksDone)} {
		dst = appendInt(dst, v)
	}
	for _, t := range [...]time.Time{j.CreatedAt, j.StartAfter, j.StartedAt, j.FinishedAt, j.ExpiresAt} {
		dst = appendTime(dst, t)
	}
	dst = appendInt(appendInt(dst, int64(j.Timeout)), int64(j.Retention))
	e.b = appendBytes(appendBytes(dst, j.Result), j.Details)
	e.failure(j.Failure)
	e.b = appendString(appendString(e.b, j.RequestID), j.TraceParent)
}

// Decode reads an encoded view, which must be all of data. The job holds no reference to data. The error is ErrVersion for
// unknown formats, which later versions may write, else ErrCorrupt.
func Decode(data []byte) (Job, error) {
	r := reader{b: data}
	j := r.job()
	err := r.end("job")
	j.Result, j.Details = slices.Clone(j.Result), slices.Clone(j.Details)
	return j, err
}

// header reads the format of a record and what only later formats have.
func (r *reader) header(j *Job) {
	switch format := Format(r.uint()); format {
	case format1:
	case format2:
		if j.Delay = time.Duration(r.int()); j.Delay == 0 {
			r.fail("delay")
		}
	case format4:
		j.Delay = time.Duration(r.int())
		if j.Webhooks = r.webhooks(); len(j.Webhooks) == 0 {
			r.fail("webhooks")
		}
	case format5:
		j.Delay, j.Webhooks = time.Duration(r.int()), r.webhooks()
		if j.Group = r.string(); j.Group == "" {
			r.fail("group")
		}
	case format6:
		j.Delay, j.Webhooks, j.Group = time.Duration(r.int()), r.webhooks(), r.string()
		if j.RetryOf = r.id(); j.RetryOf == (ID{}) {
			r.fail("retried job")
		}
	case format8, format9, format10:
		j.Delay, j.Webhooks, j.Group, j.RetryOf = time.Duration(r.int()), r.webhooks(), r.string(), r.id()
		j.After, j.Waits = r.ids(), r.uint()
		j.AfterTimeout, j.ReleasedAt = time.Duration(r.int()), r.time()
		if !j.validWaits() || format == format8 && len(j.After) == 0 {
			r.fail("jobs to wait for")
		}
		if format >= format9 {
			if j.FailedRetention = time.Duration(r.int()); j.FailedRetention < 0 || j.FailedRetention == 0 && format == format9 {
				r.fail("retention")
			}
		}
		if format >= format10 {
			if j.Retries, j.Retry = r.int(), r.taskRetry(); j.Retries <= 0 {
				r.fail("retries")
			}
		}
	default:
		r.unknown("version of a job")
	}
}

func (r *reader) job() (j Job) {
	r.header(&j)
	j.ID = r.id()
	if r.err != nil {
		return j
	}
	j.Tenant, j.Kind = r.string(), r.string()
	j.Priority, j.State = Priority(r.uint()), State(r.uint())
	if j.Priority < Low || j.Priority > High || j.State < Queued || j.State > Cancelled {
		r.fail("state")
		return j
	}
	if n := r.count(); n > 0 && r.enough(2*n) {
		j.Labels = make(map[string]string, n)
		for range n {
			k := r.string()
			j.Labels[k] = r.string()
		}
	}
	j.Seq = r.uint()
	p := &j.Progress
	p.Total, p.Completed, p.Failed, p.Bytes, p.BytesTotal = r.int(), r.int(), r.int(), r.int(), r.int()
	j.Tasks, j.TasksDone = int(r.int()), int(r.int())
	j.CreatedAt, j.StartAfter, j.StartedAt = r.time(), r.time(), r.time()
	j.FinishedAt, j.ExpiresAt = r.time(), r.time()
	j.Timeout, j.Retention = time.Duration(r.int()), time.Duration(r.int())
	j.Result, j.Details = r.bytes(), r.details()
	j.Failure = r.failure()
	j.RequestID, j.TraceParent = r.string(), r.string()
	return j
}

// details reads the details of a result. Earlier versions stored those of a float sum that is NaN or infinite as
// {...,"hex":""NaN""}, which is not JSON. They are repaired here, where every stored job and every log is decoded,
// because journals and backups keep their records unchanged.
func (r *reader) details() []byte {
	v := r.bytes()
	if bytes.Contains(v, []byte(`"hex":""`)) {
		return bytes.ReplaceAll(v, []byte(`""`), []byte(`"`))
	}
	return v
}

func (e *encoder) failure(f *Failure) {
	if f == nil {
		e.b = append(e.b, 0)
		return
	}
	e.needs(f.Reason.format())
	e.b = appendString(append(e.b, byte(f.Reason)), f.Detail)
}

func (r *reader) failure() *Failure {
	reason := r.uint()
	if reason == 0 {
		return nil
	}
	if reason >= uint64(len(failureReasons)) {
		r.unknown("reason of a failure")
		return nil
	}
	return &Failure{Reason: FailureReason(reason), Detail: r.string()}
}

// appendTaskRetry appends the number of attempts, and the rest unless that is 0, for none.
func appendTaskRetry(dst []byte, t *TaskRetry) []byte {
	if t == nil {
		return append(dst, 0)
	}
	dst = appendUint(appendUint(dst, uint64(t.Attempts)), uint64(t.Task))
	return appendString(appendInt(dst, int64(t.After)), t.Error)
}

func (r *reader) taskRetry() *TaskRetry {
	attempts := r.count()
	if attempts == 0 {
		return nil
	}
	return &TaskRetry{Task: r.count(), Retry: Retry{Attempts: attempts, After: time.Duration(r.int()), Error: r.string()}}
}

// The tags of stored events. They are never reused.
const (
	tagSubmitted = iota + 1
	tagStarted
	tagTaskProgress
	tagCancelRequested
	tagFinished
	tagDependencySucceeded
	tagTaskRetry // a TaskProgress with a Retry
	tags         // the first unknown one
)

// AppendEvent appends an encoded event. A Submitted is encoded without its view and spec, which are stored beside the log.
func AppendEvent(dst []byte, ev Event) []byte {
	e := encoder{b: dst}
	e.event(ev)
	return e.b
}

func (e *encoder) event(ev Event) {
	e.needs(format1)
	switch ev := ev.(type) {
	case Submitted:
		e.b = appendTime(append(e.b, tagSubmitted), ev.Job.CreatedAt)
	case Started:
		e.b = appendTime(append(e.b, tagStarted), ev.At)
	case TaskProgress:
		if ev.Retry != nil {
			e.needs(format10)
			e.b = appendTaskRetry(append(e.b, tagTaskRetry), &TaskRetry{ev.Task, *ev.Retry})
			return
		}
		e.needs(ev.Items.format())
		dst := appendUint(append(e.b, tagTaskProgress), uint64(ev.Task))
		dst = appendBool(dst, ev.Done)
		dst = appendInt(appendInt(appendInt(dst, ev.Completed), ev.Failed), ev.Bytes)
		e.b = appendBytes(ev.Items.AppendBinary(dst), ev.Partial)
	case CancelRequested:
		e.b = appendTime(append(e.b, tagCancelRequested), ev.At)
	case Finished:
		e.needs(ev.Items.format())
		dst := appendTime(append(e.b, tagFinished, byte(ev.State)), ev.At)
		e.b = appendBytes(appendBytes(dst, ev.Result), ev.Details)
		e.failure(ev.Failure)
		e.b = appendInt(ev.Items.AppendBinary(e.b), ev.Completed)
	case DependencySucceeded:
		e.needs(format8)
		e.b = appendTime(appendUint(append(e.b, tagDependencySucceeded), uint64(ev.Index)), ev.At)
	default:
		panic("job: event of an unknown type")
	}
}

// DecodeEvents reads a run of encoded events, which must be all of data. Events refer to data. A Submitted has
// only Job.CreatedAt. Errors: as in Decode.
func DecodeEvents(data []byte) ([]Event, error) {
	r := reader{b: data}
	var events []Event
	for len(r.b) > 0 {
		var e Event
		switch tag := r.uint(); tag {
		case tagSubmitted:
			e = Submitted{Job: Job{CreatedAt: r.time(), State: Queued}}
		case tagStarted:
			e = Started{At: r.time()}
		case tagTaskProgress:
			a := TaskProgress{Task: r.count(), Done: r.bool(), Completed: r.int(), Failed: r.int(), Bytes: r.int()}
			a.Items, a.Partial = r.items(), r.bytes()
			e = a
		case tagCancelRequested:
			e = CancelRequested{At: r.time()}
		case tagFinished:
			f := Finished{State: State(r.uint()), At: r.time(), Result: r.bytes(), Details: r.details(), Failure: r.failure()}
			f.Items, f.Completed = r.items(), r.int()
			if !f.State.Terminal() || f.State > Cancelled {
				r.fail("state")
			}
			e = f
		case tagDependencySucceeded:
			e = DependencySucceeded{Index: r.count(), At: r.time()}
		case tagTaskRetry:
			if again := r.taskRetry(); again != nil {
				e = TaskProgress{Task: again.Task, Retry: &again.Retry}
			} else {
				r.fail("retry")
			}
		case 0:
			r.fail("event tag")
		default:
			r.unknown("kind of an event")
		}
		if r.err != nil {
			break
		}
		events = append(events, e)
	}
	return events, r.end("events")
}
