//go:build ignore

package main

import (
	"context"
	"fmt"
)

// schedules creates a schedule, runs it now, pauses and resumes it, and reads its history.
func schedules(ctx context.Context, client *ClientWithResponses) error {
	const name = "clients-go"
	request := ScheduleRequest{Cron: new("30 4 * * 1-5"), TimeZone: new("Europe/Berlin"), Overlap: new(Queue)}
	if err := squares(&request.Submission); err != nil {
		return err
	}
	put, err := created(client.PutScheduleWithResponse(ctx, name, request))
	if err != nil {
		return err
	}
	if s := put.JSON201; s.Kind != "squares" || s.Overlap != Queue || s.NextRunAt == nil || s.LastRun != nil {
		return fmt.Errorf("schedule %s; want one of squares with a next run, and no last one", put.Body)
	}
	run, err := accepted(client.RunScheduleWithResponse(ctx, name, nil))
	if err != nil {
		return err
	}
	id := run.JSON202.Id.String()
	if ended, err := ok(client.GetJobWithResponse(ctx, id, &GetJobParams{Prefer: new("wait=20")})); err != nil {
		return err
	} else if j := ended.JSON200; j.State != StateSucceeded || j.Labels["schedule"] != name {
		return fmt.Errorf("job %s; want succeeded, and the label of the schedule", ended.Body)
	}
	runs, err := ok(client.ListScheduleRunsWithResponse(ctx, name))
	if err != nil {
		return err
	}
	if r := runs.JSON200.Runs; len(r) != 1 || r[0].Outcome != Submitted || !r[0].Manual || r[0].JobId == nil || *r[0].JobId != id {
		return fmt.Errorf("runs %s; want the manual one of job %s", runs.Body, id)
	}
	paused, err := ok(client.PauseScheduleWithResponse(ctx, name))
	if err != nil {
		return err
	}
	if s := paused.JSON200; !s.Paused || s.NextRunAt != nil {
		return fmt.Errorf("schedule %s; want a paused one without a next run", paused.Body)
	}
	if _, err := ok(client.ResumeScheduleWithResponse(ctx, name)); err != nil {
		return err
	}
	list, err := ok(client.ListSchedulesWithResponse(ctx))
	if err != nil {
		return err
	}
	if l := list.JSON200.Schedules; len(l) != 1 || l[0].Name != name || l[0].Paused || l[0].LastRun == nil {
		return fmt.Errorf("schedules %s; want the resumed one with its last run", list.Body)
	}
	_, err = noContent(client.DeleteScheduleWithResponse(ctx, name))
	fmt.Printf("go: schedule: next run %s\n", put.JSON201.NextRunAt)
	return err
}
