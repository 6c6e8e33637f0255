package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gather/client"
)

type schedulesCmd struct {
	List    schedulesListCmd    `cmd:"" help:"List the schedules."`
	Get     schedulesGetCmd     `cmd:"" help:"Show schedules."`
	Put     schedulesPutCmd     `cmd:"" help:"Create or replace a schedule."`
	Pause   schedulesPauseCmd   `cmd:"" help:"Pause schedules: their ticks have no runs."`
	Resume  schedulesResumeCmd  `cmd:"" help:"Resume paused schedules."`
	Run     schedulesRunCmd     `cmd:"" help:"Submit the job of a schedule now."`
	History schedulesHistoryCmd `cmd:"" help:"Show the last runs of a schedule, newest first."`
	Delete  schedulesDeleteCmd  `cmd:"" help:"Delete schedules; their jobs stay."`
}

// scheduleNames are the schedules of a command.
type scheduleNames struct {
	Names []string `arg:"" name:"name" help:"Names of schedules."`
}

type schedulesListCmd struct {
	remote `embed:""`
}

// Run lists the schedules.
func (c *schedulesListCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	list, err := s.client.Schedules(ctx)
	if err != nil {
		return err
	}
	t := s.table(column{"NAME", 24}, column{"KIND", 12}, column{"WHEN", 28}, column{"NEXT", 19}, column{"LAST", 0})
	for i := range list {
		one := &list[i]
		if err := t.row(one.Name, one, one.Name, one.Kind, when(one), next(one), last(one)); err != nil {
			return err
		}
	}
	return nil
}

type schedulesGetCmd struct {
	remote        `embed:""`
	scheduleNames `embed:""`
}

// Run shows the schedules.
func (c *schedulesGetCmd) Run(ctx context.Context, stdio IO) error {
	return c.schedules(ctx, stdio, &c.scheduleNames, (*client.Client).GetSchedule)
}

type schedulesPauseCmd struct {
	remote        `embed:""`
	scheduleNames `embed:""`
}

// Run pauses the schedules and shows them.
func (c *schedulesPauseCmd) Run(ctx context.Context, stdio IO) error {
	return c.schedules(ctx, stdio, &c.scheduleNames, (*client.Client).PauseSchedule)
}

type schedulesResumeCmd struct {
	remote        `embed:""`
	scheduleNames `embed:""`
}

// Run resumes the schedules and shows them.
func (c *schedulesResumeCmd) Run(ctx context.Context, stdio IO) error {
	return c.schedules(ctx, stdio, &c.scheduleNames, (*client.Client).ResumeSchedule)
}

// schedules sends a request for each schedule, and shows it.
func (r *remote) schedules(ctx context.Context, stdio IO, names *scheduleNames,
	request func(*client.Client, context.Context, string) (*client.Schedule, error),
) error {
	s, err := r.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return each(names.Names, func(name string) error {
		one, err := request(s.client, ctx, name)
		if err != nil {
			return err
		}
		return s.schedule(one)
	})
}

type schedulesPutCmd struct {
	remote     `embed:""`
	Name       string `arg:"" help:"Name of the schedule."`
	Submission string `arg:"" optional:"" help:"The job, as JSON in which quotes may be left out: '{kind: squares, range: {stop: 5}}'."`

	File          string          `short:"f" env:"-" placeholder:"FILE" help:"A file with the JSON of the job instead, - for standard input."`
	Cron          string          `env:"-" xor:"when" required:"" placeholder:"EXPRESSION" help:"Minute, hour, day of the month, month and day of the week, such as '30 4 * * 1-5'; or @hourly, @daily, @weekly, @monthly, @yearly."`
	TimeZone      string          `env:"-" placeholder:"ZONE" help:"Time zone of --cron, such as Europe/Berlin; UTC by default."`
	Every         client.Duration `env:"-" xor:"when" required:"" placeholder:"DURATION" help:"An interval instead of --cron, such as 15m."`
	Overlap       string          `env:"-" enum:"skip,queue,replace" default:"skip" help:"What happens while the last job has not ended: skip, queue or replace."`
	CatchUpRuns   int             `env:"-" default:"1" placeholder:"N" help:"How many missed runs are submitted after an outage."`
	CatchUpWithin client.Duration `env:"-" default:"1h" placeholder:"DURATION" help:"How old a missed run may be."`
	Paused        bool            `env:"-" help:"Create it paused."`
}

// Run creates or replaces the schedule and shows it.
func (c *schedulesPutCmd) Run(ctx context.Context, stdio IO) error {
	submission, err := c.submission(stdio)
	if err != nil {
		return err
	}
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	request := client.ScheduleRequest{
		Cron: c.Cron, TimeZone: c.TimeZone, Every: c.Every, Submission: submission, Overlap: client.ScheduleOverlap(c.Overlap), Paused: c.Paused,
	}
	if c.CatchUpRuns != 1 || c.CatchUpWithin != "1h" { // otherwise the default of the server, within its bound
		request.CatchUp = &client.ScheduleCatchUp{Runs: c.CatchUpRuns, Within: string(c.CatchUpWithin)}
	}
	one, err := s.client.PutSchedule(ctx, c.Name, request)
	if err != nil {
		return err
	}
	return s.schedule(one)
}

func (c *schedulesPutCmd) submission(stdio IO) (json.RawMessage, error) {
	switch {
	case (c.Submission == "") == (c.File == ""):
		return nil, fmt.Errorf("%w: expected either a submission or --file", errUsage)
	case c.File != "":
		return readSubmission(c.File, stdio.In)
	}
	submission, err := relaxed(c.Submission)
	if err != nil {
		return nil, fmt.Errorf("%w: the submission: %w", errUsage, err)
	}
	return submission, nil
}

type schedulesRunCmd struct {
	remote `embed:""`
	Name   string `arg:"" help:"Name of the schedule."`

	Wait bool `env:"-" help:"Wait for the end of the job. Ctrl-C asks whether to cancel it."`
}

// Run submits the job and shows it.
func (c *schedulesRunCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	request, stop := interruptible(ctx)
	defer stop()
	j, err := s.client.RunSchedule(request, c.Name)
	if err != nil {
		return err
	}
	if !c.Wait {
		return s.job(j)
	}
	stop()
	if j, err = s.wait(ctx, j.ID); err != nil {
		return err
	}
	return errors.Join(s.job(j), j.Err())
}

type schedulesHistoryCmd struct {
	remote `embed:""`
	Name   string `arg:"" help:"Name of the schedule."`
}

// Run lists the runs. The name of one is its job.
func (c *schedulesHistoryCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	runs, err := s.client.ScheduleRuns(ctx, c.Name)
	if err != nil {
		return err
	}
	t := s.table(column{"TICK", 19}, column{"OUTCOME", 9}, column{"JOB", 36}, column{"DETAIL", 0})
	for i := range runs {
		r := &runs[i]
		id, detail := optional(r.JobID), optional(r.Detail)
		if r.Manual {
			detail = "by request"
		}
		if s.output == "id" && id == "" {
			continue
		}
		if err := t.row(id, r, r.Tick.Local().Format(time.DateTime), string(r.Outcome), id, detail); err != nil {
			return err
		}
	}
	return nil
}

func optional(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

type schedulesDeleteCmd struct {
	remote        `embed:""`
	scheduleNames `embed:""`
}

// Run deletes the schedules.
func (c *schedulesDeleteCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return each(c.Names, func(name string) error { return s.client.DeleteSchedule(ctx, name) })
}

// schedule writes a schedule.
func (s *session) schedule(one *client.Schedule) error {
	rows := [][2]string{
		{"Name", one.Name},
		{"When", when(one)},
		{"Next", next(one)},
		{"Last", last(one)},
		{"Overlap", string(one.Overlap)},
		{"Catch up", fmt.Sprintf("%d within %s", one.CatchUp.Runs, one.CatchUp.Within)},
		{"Changed", one.UpdatedAt.Local().Format(time.DateTime)},
		{"Submission", string(one.Submission)},
	}
	if one.Waiting > 0 {
		rows = append(rows, [2]string{"Waiting", fmt.Sprintf("%d ticks, for the last job", one.Waiting)})
	}
	return s.object(one.Name, one, rows)
}

func when(one *client.Schedule) string {
	if one.Every != "" {
		return "every " + one.Every
	}
	return one.Cron + " " + one.TimeZone
}

func next(one *client.Schedule) string {
	switch {
	case one.Paused:
		return "paused"
	case one.NextRunAt == nil:
		return "never"
	}
	return one.NextRunAt.Local().Format(time.DateTime)
}

func last(one *client.Schedule) string {
	if one.LastRun == nil {
		return "none"
	}
	return one.LastRun.Tick.Local().Format(time.DateTime) + " " + string(one.LastRun.Outcome)
}
