package schedule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gather/internal/job"
)

// The versions of the encoding of schedules: 2 for those with a FailedRetention. A later one has another number; what a decoder accepts
// under a number never changes, and testdata/v1 has what the first version of each wrote.
const (
	format1 = iota + 1
	format2
)

type encoded struct {
	Format     int               `json:"format"`
	Tenant     string            `json:"tenant"`
	Name       string            `json:"name"`
	Cron       string            `json:"cron,omitempty"`
	Zone       string            `json:"zone,omitempty"`
	Every      time.Duration     `json:"every,omitempty"`
	Kind       string            `json:"kind"`
	Priority   string            `json:"priority"`
	Labels     map[string]string `json:"labels,omitempty"`
	Timeout    time.Duration     `json:"timeout,omitempty"`
	Retention  time.Duration     `json:"retention"`
	Failed     time.Duration     `json:"failed_retention,omitempty"`
	Delay      time.Duration     `json:"delay,omitempty"`
	Spec       []byte            `json:"spec"`
	Overlap    Overlap           `json:"overlap"`
	CatchUp    int               `json:"catch_up"`
	Within     time.Duration     `json:"within"`
	Paused     bool              `json:"paused,omitempty"`
	Generation job.ID            `json:"generation"`
	CreatedAt  time.Time         `json:"created_at"`
	UpdatedAt  time.Time         `json:"updated_at"`
	Cursor     time.Time         `json:"cursor"`
	Waiting    []time.Time       `json:"waiting,omitempty"`
	Current    *job.ID           `json:"current,omitempty"`
	Runs       []encodedRun      `json:"runs,omitempty"`
}

type encodedRun struct {
	Tick    time.Time `json:"tick"`
	Outcome Outcome   `json:"outcome"`
	Job     *job.ID   `json:"job,omitempty"`
	Manual  bool      `json:"manual,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	At      time.Time `json:"at"`
}

func optional(id job.ID) *job.ID {
	if id == (job.ID{}) {
		return nil
	}
	return &id
}

// Encode returns the value of the schedule's document.
func (s *Schedule) Encode() []byte {
	t := &s.Template
	e := encoded{
		Format: format1, Tenant: s.Tenant, Name: s.Name, Cron: s.Timing.Cron, Zone: s.Timing.Zone, Every: s.Timing.Every,
		Kind: t.Kind, Priority: t.Priority.String(), Labels: t.Labels, Timeout: t.Timeout, Retention: t.Retention, Failed: t.FailedRetention,
		Delay: t.Delay, Spec: t.Spec,
		Overlap: s.Overlap, CatchUp: s.CatchUp.Runs, Within: s.CatchUp.Within, Paused: s.Paused, Generation: s.Generation,
		CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(), Cursor: s.Cursor.UTC(), Waiting: s.Waiting, Current: optional(s.Current),
	}
	if e.Failed != 0 {
		e.Format = format2
	}
	for _, r := range s.Runs {
		e.Runs = append(e.Runs, encodedRun{r.Tick, r.Outcome, optional(r.Job), r.Manual, r.Detail, r.At})
	}
	b, err := json.Marshal(&e)
	if err != nil {
		panic(err) // not possible for these types
	}
	return b
}

// Decode decodes the value of a document. It returns job.ErrVersion for a later format, and job.ErrCorrupt for any other value that Encode
// cannot have returned.
func Decode(data []byte) (*Schedule, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil || head.Format < 1 {
		return nil, fmt.Errorf("schedule: %w: %w", job.ErrCorrupt, err)
	}
	if head.Format > format2 {
		return nil, fmt.Errorf("schedule: %w: format %d", job.ErrVersion, head.Format)
	}
	var e encoded
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&e)
	if err == nil {
		err = e.check()
	}
	var timing Timing
	if err == nil && e.Every > 0 && e.Cron == "" {
		timing, err = NewInterval(e.Every)
	} else if err == nil {
		timing, err = NewCron(e.Cron, e.Zone)
	}
	priority, badPriority := job.ParsePriority(e.Priority)
	if err == nil {
		err = badPriority
	}
	if err != nil {
		return nil, fmt.Errorf("schedule: %w: %w", job.ErrCorrupt, err)
	}
	s := &Schedule{
		Tenant: e.Tenant, Name: e.Name, Definition: Definition{
			Timing: timing, Overlap: e.Overlap, CatchUp: CatchUp{e.CatchUp, e.Within}, Paused: e.Paused, Template: Template{
				Kind: e.Kind, Priority: priority, Labels: e.Labels, Timeout: e.Timeout, Retention: e.Retention, FailedRetention: e.Failed,
				Delay: e.Delay, Spec: e.Spec,
			},
		},
		Generation: e.Generation, CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(), Cursor: e.Cursor.UTC(), Waiting: e.Waiting,
	}
	if e.Current != nil {
		s.Current = *e.Current
	}
	for _, r := range e.Runs {
		run := Run{Tick: r.Tick.UTC(), Outcome: r.Outcome, Manual: r.Manual, Detail: r.Detail, At: r.At.UTC()}
		if r.Job != nil {
			run.Job = *r.Job
		}
		s.Runs = append(s.Runs, run)
	}
	return s, nil
}

// check returns an error for a value that Encode cannot have written.
func (e *encoded) check() error {
	switch {
	case e.Tenant == "" || e.Name == "" || e.Kind == "":
		return fmt.Errorf("tenant %q, name %q, kind %q", e.Tenant, e.Name, e.Kind)
	case !slices.Contains(Overlaps(), e.Overlap):
		return fmt.Errorf("overlap %q", e.Overlap)
	case (e.Failed > 0) != (e.Format == format2):
		return fmt.Errorf("a retention of failed jobs of %s in format %d", e.Failed, e.Format)
	case e.Every < 0 || e.Timeout < 0 || e.Retention < 0 || e.Delay < 0 || e.Within < 0 || e.CatchUp < 0:
		return fmt.Errorf("a negative number")
	case len(e.Runs) > MaxRuns || len(e.Waiting) > maxWaiting:
		return fmt.Errorf("%d runs, %d waiting", len(e.Runs), len(e.Waiting))
	}
	for _, r := range e.Runs {
		if !slices.Contains(Outcomes(), r.Outcome) {
			return fmt.Errorf("outcome %q", r.Outcome)
		}
	}
	return nil
}
