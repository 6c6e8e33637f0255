//go:build ignore

package main

import (
	"context"
	"fmt"
)

// pauses pauses a priority, under which a job stays queued, cancels that job by its filters, and ends the pause.
func pauses(ctx context.Context, client *ClientWithResponses) error {
	put, err := created(client.PutPauseWithResponse(ctx, PauseScopePriority, string(PriorityLow), PauseRequest{Reason: new("a try")}))
	if err != nil {
		return err
	}
	if p := put.JSON201; p.Scope != PauseScopePriority || p.Name != "low" || p.Reason == nil || *p.Reason != "a try" {
		return fmt.Errorf("pause %s; want the priority low with its reason", put.Body)
	}
	list, err := ok(client.ListPausesWithResponse(ctx))
	if err != nil {
		return err
	}
	if len(list.JSON200.Pauses) != 1 {
		return fmt.Errorf("pauses %s; want one", list.Body)
	}
	var body JobSubmission
	err = body.FromArrayReduceSubmission(ArrayReduceSubmission{
		Array: InputArray{Values: new([]any{3})}, Ops: []Statistic{Mean}, Priority: new(PriorityLow),
	})
	if err != nil {
		return err
	}
	submitted, err := accepted(client.SubmitJobWithResponse(ctx, nil, body))
	if err != nil {
		return err
	}
	filters := CancelJobsParams{Priority: &Priorities{PriorityLow}, State: &States{StateQueued}}
	for _, only := range []bool{true, false} {
		filters.ValidateOnly = &only
		resp, err := ok(client.CancelJobsWithResponse(ctx, &filters))
		if err != nil {
			return err
		}
		if r := resp.JSON200; r.Matched != 1 || r.Changed != 1 && !only || r.Changed != 0 && only {
			return fmt.Errorf("cancelling with validate_only=%v: %s; want one job", only, resp.Body)
		}
	}
	j, err := ok(client.GetJobWithResponse(ctx, submitted.JSON202.Id.String(), &GetJobParams{Prefer: new("wait=20")}))
	if err != nil {
		return err
	}
	if j.JSON200.State != StateCancelled {
		return fmt.Errorf("the job is %s, want cancelled", j.JSON200.State)
	}
	_, err = noContent(client.DeletePauseWithResponse(ctx, PauseScopePriority, string(PriorityLow)))
	fmt.Printf("go: pause: the job was %s\n", j.JSON200.State)
	return err
}
