//go:build ignore

package main

import (
	"context"
	"fmt"
	"os"
)

// retries submits a job of which one of two requests fails, retries the failed one, and deletes both jobs by their label.
func retries(ctx context.Context, client *ClientWithResponses) error {
	var body JobSubmission
	err := body.FromHttpBatchSubmission(HttpBatchSubmission{
		Requests: &[]HttpRequest{{Url: os.Args[1] + "/livez"}, {Url: os.Args[1] + "/v1/jobs/none"}}, Labels: &Labels{"client": "retry"},
	})
	if err != nil {
		return err
	}
	submitted, err := ok(client.SubmitJobWithResponse(ctx, &SubmitJobParams{Prefer: new("wait=20")}, body))
	if err != nil {
		return err
	}
	j, err := submitted.JSON200.AsJob()
	if err != nil || j.Outcome == nil || *j.Outcome != SomeFailed {
		return fmt.Errorf("job %s, %v; want the outcome some_failed", submitted.Body, err)
	}
	retried, err := accepted(client.RetryJobWithResponse(ctx, j.Id.String(), nil))
	if err != nil {
		return err
	}
	if r := retried.JSON202; r.RetryOf == nil || *r.RetryOf != j.Id || r.Progress.Total != 1 {
		return fmt.Errorf("retry %s; want one item, and the retry_of %v", retried.Body, j.Id)
	}
	ended, err := ok(client.GetJobWithResponse(ctx, retried.JSON202.Id.String(), &GetJobParams{Prefer: new("wait=20")}))
	if err != nil {
		return err
	}
	if r := ended.JSON200; r.Outcome == nil || *r.Outcome != AllFailed {
		return fmt.Errorf("retry %s; want the outcome all_failed", ended.Body)
	}
	deleted, err := ok(client.DeleteJobsWithResponse(ctx, &DeleteJobsParams{
		Label: &LabelFilter{"client:retry"}, State: &States{StateSucceeded, StateFailed},
	}))
	if err != nil {
		return err
	}
	if deleted.JSON200.Changed != 2 {
		return fmt.Errorf("deleting both jobs: %s; want two changed", deleted.Body)
	}
	fmt.Printf("go: retry: %s, deleted %d\n", *ended.JSON200.Outcome, deleted.JSON200.Changed)
	return nil
}
