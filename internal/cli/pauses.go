package cli

import (
	"context"
	"fmt"

	"gather/client"
)

// pauseTarget is what a command pauses or resumes.
type pauseTarget struct {
	Scope string `arg:"" enum:"kind,priority,tenant" help:"kind, priority or tenant."`
	Name  string `arg:"" help:"The kind, the priority or the tenant."`
}

type pauseCmd struct {
	remote      `embed:""`
	pauseTarget `embed:""`
	Reason      string `placeholder:"TEXT" env:"-" help:"Note for other operators."`
}

// Run pauses jobs, and shows the pause.
func (c *pauseCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	p, err := s.client.Pause(ctx, client.PauseScope(c.Scope), c.Name, c.Reason)
	if err != nil {
		return err
	}
	return s.pauses([]client.Pause{*p})
}

type resumeCmd struct {
	remote      `embed:""`
	pauseTarget `embed:""`
}

// Run ends a pause.
func (c *resumeCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	if err := s.client.Resume(ctx, client.PauseScope(c.Scope), c.Name); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdio.Err, "Jobs of %s %s start again.\n", c.Scope, c.Name)
	return err
}

type pausesCmd struct {
	remote `embed:""`
}

// Run lists the pauses.
func (c *pausesCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	list, err := s.client.Pauses(ctx)
	if err != nil {
		return err
	}
	return s.pauses(list)
}

func (s *session) pauses(list []client.Pause) error {
	t := s.table(column{"SCOPE", 9}, column{"NAME", 24}, column{"SINCE", 20}, column{"REASON", 0})
	for i := range list {
		p := &list[i]
		if err := t.row(string(p.Scope)+"/"+p.Name, p, string(p.Scope), p.Name, p.PausedAt.Local().Format("2006-01-02 15:04:05"), p.Reason); err != nil {
			return err
		}
	}
	return nil
}
