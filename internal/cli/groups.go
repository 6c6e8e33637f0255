package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gather/client"
)

type groupsCmd struct {
	List   groupsListCmd   `cmd:"" help:"List groups."`
	Get    groupsGetCmd    `cmd:"" help:"Show groups: their jobs by state, and their progress."`
	Cancel groupsCancelCmd `cmd:"" help:"Cancel all jobs of groups."`
	Delete groupsDeleteCmd `cmd:"" help:"Delete groups that have ended: all of their jobs, with the results."`
}

// groupIDs are the groups of a command.
type groupIDs struct {
	IDs []string `arg:"" name:"id" help:"IDs of groups."`
}

type groupsListCmd struct {
	remote `embed:""`
}

// Run lists the groups.
func (c *groupsListCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	t := s.table(column{"ID", 36}, column{"JOBS", 15}, column{"FAILED", 8}, column{"PROGRESS", 15}, column{"AGE", 0})
	for g, err := range s.client.Groups(ctx) {
		if err != nil {
			return err
		}
		if err := t.row(g.ID, g, g.ID, endedJobs(g), fmt.Sprint(g.Jobs.Failed), progress(&g.Progress), short(time.Since(g.CreatedAt))); err != nil {
			return err
		}
	}
	return nil
}

type groupsGetCmd struct {
	remote   `embed:""`
	groupIDs `embed:""`

	Wait bool `env:"-" help:"Wait until all of their jobs have ended."`
}

// Run shows the groups. With --wait a failed or cancelled job is an error.
func (c *groupsGetCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return each(c.IDs, func(id string) error {
		if !c.Wait {
			g, err := s.client.Group(ctx, id)
			if err != nil {
				return err
			}
			return s.group(g)
		}
		g, err := s.waitGroup(ctx, id)
		if err != nil {
			return err
		}
		err = s.group(g)
		if g.Jobs.Failed+g.Jobs.Cancelled > 0 {
			err = errors.Join(err, &groupError{g})
		}
		return err
	})
}

// waitGroup returns a group whose jobs have all ended. On a terminal it shows a progress bar.
func (s *session) waitGroup(ctx context.Context, id string) (*client.Group, error) {
	if !IsTerminal(s.Err) {
		return s.client.WaitGroup(ctx, id)
	}
	return poll(ctx, s.Err, func(wait time.Duration) (*client.Group, string, bool, error) {
		g, err := s.client.Group(ctx, id, client.WithWait(wait))
		if err != nil {
			return nil, "", false, err
		}
		return g, barLine(endedJobs(g)+" jobs", &g.Progress), g.FinishedAt != nil, nil
	})
}

// groupError is the outcome of a group of which a job failed or was cancelled.
type groupError struct{ group *client.Group }

func (e *groupError) Error() string {
	n := &e.group.Jobs
	return fmt.Sprintf("group %s: of %d jobs %d failed and %d were cancelled", e.group.ID, n.Total, n.Failed, n.Cancelled)
}

type groupsCancelCmd struct {
	remote   `embed:""`
	groupIDs `embed:""`

	CountOnly bool `env:"-" help:"Only count the jobs."`
}

// Run requests the cancellation of all jobs.
func (c *groupsCancelCmd) Run(ctx context.Context, stdio IO) error {
	return c.change(ctx, stdio, &c.groupIDs, func(ctx context.Context, s *session, id string) (client.BulkResult, error) {
		return s.client.CancelGroup(ctx, id, countOnly(c.CountOnly)...)
	})
}

type groupsDeleteCmd struct {
	remote   `embed:""`
	groupIDs `embed:""`

	CountOnly bool `env:"-" help:"Only count the jobs."`
}

// Run deletes all jobs.
func (c *groupsDeleteCmd) Run(ctx context.Context, stdio IO) error {
	return c.change(ctx, stdio, &c.groupIDs, func(ctx context.Context, s *session, id string) (client.BulkResult, error) {
		return s.client.DeleteGroup(ctx, id, countOnly(c.CountOnly)...)
	})
}

// change sends a bulk request for each group, and shows the numbers of jobs.
func (r *remote) change(ctx context.Context, stdio IO, groups *groupIDs,
	request func(context.Context, *session, string) (client.BulkResult, error),
) error {
	s, err := r.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return each(groups.IDs, func(id string) error {
		result, err := request(ctx, s, id)
		if err != nil {
			return err
		}
		return s.bulk(result)
	})
}

// endedJobs returns how many jobs of a group have ended.
func endedJobs(g *client.Group) string {
	return fmt.Sprintf("%d/%d", g.Jobs.Succeeded+g.Jobs.Failed+g.Jobs.Cancelled, g.Jobs.Total)
}

// group writes a group.
func (s *session) group(g *client.Group) error {
	rows := [][2]string{
		{"ID", g.ID},
		{"Jobs", counts(&g.Jobs)},
		{"Progress", progress(&g.Progress)},
		{"Created", g.CreatedAt.Local().Format(time.DateTime)},
	}
	if eta := g.Progress.EtaSeconds; eta != nil {
		rows = append(rows, [2]string{"Left", short(time.Duration(*eta * float64(time.Second)))})
	}
	if g.FinishedAt != nil {
		rows = append(rows, [2]string{"Finished", g.FinishedAt.Local().Format(time.DateTime)})
	}
	return s.object(g.ID, g, rows)
}

// counts returns the number of jobs in each state that has any.
func counts(n *client.JobCounts) string {
	var parts []string
	for _, state := range []struct {
		name client.State
		n    int64
	}{
		{client.StateQueued, n.Queued},
		{client.StateRunning, n.Running},
		{client.StateCancelling, n.Cancelling},
		{client.StateSucceeded, n.Succeeded},
		{client.StateFailed, n.Failed},
		{client.StateCancelled, n.Cancelled},
	} {
		if state.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", state.n, state.name))
		}
	}
	return strings.TrimSuffix(fmt.Sprintf("%d: %s", n.Total, strings.Join(parts, ", ")), ": ")
}
