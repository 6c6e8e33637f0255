package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/schedule"
)

const (
	// maxScheduled bounds the submission of a schedule, which every node of a cluster keeps in memory.
	maxScheduled = 256 << 10
	// maxCatchUp bounds the runs after an outage.
	maxCatchUp = 100
)

// scheduleBody is the body of PUT /v1/schedules/{schedule_name}.
type scheduleBody struct {
	errs   fields.Errors
	object *fields.Object
	// job is the submission, or nil.
	job *jobsBody
}

// decode implements requestBody.
func (b *scheduleBody) decode(data []byte) error {
	var err error
	if b.object, err = readObject(data, &b.errs); err != nil {
		return err
	}
	raw := b.object.Get("submission")
	switch {
	case raw == nil:
		b.errs.Add("/submission", "is missing: a job, as in POST /v1/jobs")
	case len(raw) > maxScheduled:
		b.errs.Add("/submission", "has %d bytes; at most %d", len(raw), maxScheduled)
	default:
		var one submission
		if err := one.decode(append([]byte(nil), raw...)); err != nil {
			return err
		}
		b.job = &one.jobsBody
	}
	return nil
}

// definition returns the definition of a schedule, with all errors together.
func (s *server) definition(x *requestState, b *scheduleBody) (d schedule.Definition, err error) {
	o, errs := b.object, &b.errs
	o.NullIsAbsent("cron", "every", "time_zone", "overlap", "catch_up", "paused")
	d.Timing = readTiming(o, errs)
	d.Overlap = schedule.Skip
	if raw := o.Get("overlap"); raw != nil {
		d.Overlap = schedule.Overlap(fields.Text(raw))
		if raw.Kind() != '"' || d.Overlap != schedule.Skip && d.Overlap != schedule.Queue && d.Overlap != schedule.Replace {
			errs.Add("/overlap", `must be "skip", "queue" or "replace"`)
		}
	}
	d.CatchUp = s.readCatchUp(o, errs)
	if raw := o.Get("paused"); raw != nil {
		if json.Unmarshal(raw, &d.Paused) != nil {
			errs.Add("/paused", "must be true or false")
		}
	}
	o.Unused(nil, "unknown field; a schedule has cron and time_zone, or every; and submission, overlap, catch_up, paused")
	if b.job != nil {
		var own fields.Errors
		d.Template = s.template(x, b.job, &own)
		if own.Total() == 0 {
			err = s.Kinds.Validate(x, x.principal.Tenant, d.Template.Kind, append([]byte(nil), d.Template.Spec...))
			if invalid, ok := errors.AsType[*fields.Errors](err); ok {
				own.Merge("", invalid)
			} else if err != nil {
				return d, err
			}
		}
		errs.Merge("/submission", &own)
	}
	return d, errs.Err()
}

// template returns the submission of every run.
func (s *server) template(x *requestState, body *jobsBody, errs *fields.Errors) schedule.Template {
	sub := s.submission(x, &body.jobs[0], 0, body.data, s.Wall(), errs)
	switch {
	case !sub.StartAfter.IsZero():
		errs.Add("/start_after", "must be a duration in a schedule")
	case len(sub.After) > 0:
		errs.Add("/after", "a schedule's submission does not wait for jobs: leave it out")
	case sub.Group != "" || slices.ContainsFunc(sub.Webhooks, func(w job.Webhook) bool { return !w.Standing }):
		errs.Add("", "a schedule's submission has no group and no webhooks; its jobs have the label schedule")
	}
	if _, reserved := sub.Labels[schedule.LabelKey]; reserved {
		errs.Add("/labels/"+schedule.LabelKey, "is set to the name of the schedule: leave it out")
	}
	if len(sub.Labels) > schedule.MaxLabels {
		errs.Add("/labels", "at most %d labels beside the one of the schedule", schedule.MaxLabels)
	}
	return schedule.Template{
		Kind: sub.Kind, Priority: sub.Priority, Labels: sub.Labels, Timeout: sub.Timeout, Retention: sub.Retention,
		FailedRetention: sub.FailedRetention, Delay: sub.Delay, Spec: sub.Spec,
	}
}

func readTiming(o *fields.Object, errs *fields.Errors) (t schedule.Timing) {
	cron, every, zone := o.Get("cron"), o.Get("every"), o.Get("time_zone")
	switch {
	case (cron == nil) == (every == nil):
		errs.Add("", "a schedule has either cron or every")
	case every != nil:
		if zone != nil {
			errs.Add("/time_zone", "is for cron only: leave it out")
		}
		d, err := fields.ParseDuration(every, schedule.MaxEvery)
		if err == nil {
			t, err = schedule.NewInterval(d)
		}
		if err != nil {
			errs.Add("/every", "%v", err)
		}
	case cron.Kind() != '"':
		errs.Add("/cron", "must be a string")
	default:
		name := "UTC"
		if zone != nil {
			name = fields.Text(zone)
		}
		var err error
		if t, err = schedule.NewCron(fields.Text(cron), name); errors.Is(err, schedule.ErrZone) {
			errs.Add("/time_zone", "%v", err)
		} else if err != nil {
			errs.Add("/cron", "%v", err)
		}
	}
	return t
}

// readCatchUp reads catch_up; one run of the last hour by default.
func (s *server) readCatchUp(o *fields.Object, errs *fields.Errors) schedule.CatchUp {
	c := schedule.CatchUp{Runs: 1, Within: min(time.Hour, s.KeyRetention)}
	raw := o.Get("catch_up")
	if raw == nil {
		return c
	}
	var own fields.Errors
	in, ok := fields.Read(raw, &own)
	if !ok {
		errs.Add("/catch_up", `must be an object such as {"runs": 1, "within": "1h"}`)
		return c
	}
	if v := in.Get("runs"); v != nil {
		if json.Unmarshal(v, &c.Runs) != nil || c.Runs < 0 || c.Runs > maxCatchUp {
			own.Add("/runs", "must be a number from 0 to %d", maxCatchUp)
		}
	}
	if v := in.Get("within"); v != nil {
		within, err := fields.ParseDuration(v, s.KeyRetention)
		if err != nil {
			own.Add("/within", "%v", err)
		}
		c.Within = within
	}
	in.Unused(nil, "unknown field; catch_up has runs and within")
	errs.Merge("/catch_up", &own)
	return c
}

// scheduleName returns the name in the path; "" for one that no schedule can have.
func (x *requestState) scheduleName() string {
	if name := x.param("schedule_name"); tenantName(name) {
		return name
	}
	return ""
}

// putSchedule implements PUT /v1/schedules/{schedule_name}.
func (s *server) putSchedule(x *requestState) error {
	name := x.scheduleName()
	if name == "" {
		return &problem{entry: noSuchResource, detail: "The name of a schedule has 1 to 64 letters, digits, '.', '_' or '-'."}
	}
	var body scheduleBody
	if err := decodeBody(x, &body); err != nil {
		return err
	}
	d, err := s.definition(x, &body)
	if err != nil {
		return err
	}
	one, created, err := s.Schedules.Put(x, x.principal.Tenant, name, d)
	if err != nil {
		return scheduleError(err)
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		x.set("Location", "/v1/schedules/"+name)
	}
	return x.writeJSON(status, s.whole(one))
}

// scheduleError returns the error of a client for an error of the schedules.
func scheduleError(err error) error {
	switch {
	case errors.Is(err, schedule.ErrNotFound):
		return &problem{entry: noSuchResource, detail: "No schedule has this name. GET /v1/schedules lists yours."}
	case errors.Is(err, schedule.ErrTooMany):
		return &job.Rejection{Err: job.ErrQuota, Detail: err.Error() + ": delete some"}
	}
	return err
}

// listSchedules implements GET /v1/schedules.
func (s *server) listSchedules(x *requestState) error {
	list := ScheduleList{Schedules: []Schedule{}}
	for _, one := range s.Schedules.List(x.principal.Tenant) {
		list.Schedules = append(list.Schedules, scheduleModel(one))
	}
	return x.writeJSON(http.StatusOK, list)
}

// getSchedule implements GET /v1/schedules/{schedule_name}.
func (s *server) getSchedule(x *requestState) error {
	one, err := s.Schedules.Get(x, x.principal.Tenant, x.scheduleName())
	if err != nil {
		return scheduleError(err)
	}
	return x.writeJSON(http.StatusOK, s.whole(one))
}

// deleteSchedule implements DELETE /v1/schedules/{schedule_name}.
func (s *server) deleteSchedule(x *requestState) error {
	if err := s.Schedules.Delete(x, x.principal.Tenant, x.scheduleName()); err != nil {
		return scheduleError(err)
	}
	return x.writeNothing(http.StatusNoContent)
}

// pauseSchedule and resumeSchedule implement POST /v1/schedules/{schedule_name}/pause and /resume.
func (s *server) pauseSchedule(x *requestState) error  { return s.setPaused(x, true) }
func (s *server) resumeSchedule(x *requestState) error { return s.setPaused(x, false) }

func (s *server) setPaused(x *requestState, paused bool) error {
	one, err := s.Schedules.SetPaused(x, x.principal.Tenant, x.scheduleName(), paused)
	if err != nil {
		return scheduleError(err)
	}
	return x.writeJSON(http.StatusOK, s.whole(one))
}

// runSchedule implements POST /v1/schedules/{schedule_name}/run.
func (s *server) runSchedule(x *requestState) error {
	key, err := idempotencyKey(x.req.Header)
	if err != nil {
		return err
	}
	id, err := s.Schedules.Run(x, x.principal.Tenant, x.scheduleName(), key)
	if err != nil {
		return scheduleError(err)
	}
	jobs, err := s.replay(x, []job.ID{id}) // the key may be of an earlier request
	if err != nil {
		return err
	}
	x.submitted = id
	return (&jobResponse{x: x, job: &jobs[0], status: http.StatusAccepted, location: true}).write()
}

// listRuns implements GET /v1/schedules/{schedule_name}/runs.
func (s *server) listRuns(x *requestState) error {
	one, err := s.Schedules.Get(x, x.principal.Tenant, x.scheduleName())
	if err != nil {
		return scheduleError(err)
	}
	list := ScheduleRunList{Runs: []ScheduleRun{}}
	for i := range one.Runs {
		list.Runs = append(list.Runs, runModel(&one.Runs[i]))
	}
	return x.writeJSON(http.StatusOK, list)
}

func runModel(r *schedule.Run) ScheduleRun {
	m := ScheduleRun{Tick: r.Tick, Outcome: ScheduleRunOutcome(r.Outcome), Manual: r.Manual, DecidedAt: r.At}
	if r.Job != (job.ID{}) {
		id := r.Job.String()
		m.JobId = &id
	}
	if r.Detail != "" {
		m.Detail = &r.Detail
	}
	return m
}

// wholeSchedule is a schedule with its submission as it was sent, whose integers may have any size.
type wholeSchedule struct {
	Schedule

	Submission json.RawMessage `json:"submission"`
}

// whole returns a schedule with its submission.
func (s *server) whole(one *schedule.Schedule) wholeSchedule {
	t := &one.Template
	j := job.Job{
		Kind: t.Kind, Priority: t.Priority, Labels: t.Labels, Timeout: t.Timeout, Retention: t.Retention, FailedRetention: t.FailedRetention,
		Delay: t.Delay,
	}
	return wholeSchedule{scheduleModel(one), s.appendSubmission(nil, &j, t.Spec)}
}

// scheduleModel returns a schedule without its submission.
func scheduleModel(one *schedule.Schedule) Schedule {
	t := &one.Template
	m := Schedule{
		Name: one.Name, Overlap: ScheduleOverlap(one.Overlap), CatchUp: ScheduleCatchUp{Runs: one.CatchUp.Runs, Within: one.CatchUp.Within.String()},
		Paused: one.Paused, CreatedAt: one.CreatedAt, UpdatedAt: one.UpdatedAt, Waiting: len(one.Waiting), Kind: t.Kind,
	}
	if one.Timing.Every > 0 {
		every := one.Timing.Every.String()
		m.Every = &every
	} else {
		m.Cron, m.TimeZone = &one.Timing.Cron, &one.Timing.Zone
	}
	if !one.Paused {
		if next := one.Next(one.Cursor); !next.IsZero() {
			m.NextRunAt = &next
		}
	}
	if len(one.Runs) > 0 {
		last := runModel(&one.Runs[0])
		m.LastRun = &last
	}
	return m
}
