//go:build ignore

package main

import (
	"context"
	"fmt"
	"slices"
)

// groups submits a batch whose second job waits for the first, and counts, reads, lists and deletes its group.
func groups(ctx context.Context, client *ClientWithResponses) error {
	batch, err := chain("clients-go")
	if err != nil {
		return err
	}
	preview, err := ok(client.SubmitBatchWithResponse(ctx, &SubmitBatchParams{ValidateOnly: new(true)}, batch))
	if err != nil {
		return err
	}
	if p, err := preview.JSON200.AsBatchPreview(); err != nil || len(p.Jobs) != 2 || p.Jobs[1].Items != 1 {
		return fmt.Errorf("preview %s, %v; want two jobs of one item", preview.Body, err)
	}
	params := &CountJobsParams{Kind: &Kinds{"squares"}}
	before, err := ok(client.CountJobsWithResponse(ctx, params))
	if err != nil {
		return err
	}
	submitted, err := ok(client.SubmitBatchWithResponse(ctx, &SubmitBatchParams{Prefer: new("wait=20")}, batch))
	if err != nil {
		return err
	}
	ended, err := submitted.JSON200.AsBatch()
	if err != nil || len(ended.Jobs) != 2 {
		return fmt.Errorf("batch %s, %v; want two jobs", submitted.Body, err)
	}
	first, second := ended.Jobs[0], ended.Jobs[1]
	if second.State != StateSucceeded || len(second.After) != 1 || second.After[0] != first.Id {
		return fmt.Errorf("the second job is %s, after %v; want succeeded, after %v", second.State, second.After, first.Id)
	}
	after, err := ok(client.CountJobsWithResponse(ctx, params))
	if err != nil {
		return err
	}
	if want := before.JSON200.Succeeded + 2; after.JSON200.Succeeded != want {
		return fmt.Errorf("%d squares have succeeded, want %d", after.JSON200.Succeeded, want)
	}

	group, err := ok(client.GetGroupWithResponse(ctx, *batch.Group, &GetGroupParams{Prefer: new("wait=20")}))
	if err != nil {
		return err
	}
	if g := group.JSON200; g.Jobs.Total != 2 || g.Jobs.Succeeded != 2 || g.Progress.Completed != 2 || g.FinishedAt == nil {
		return fmt.Errorf("group %s; want two succeeded jobs", group.Body)
	}
	list, err := ok(client.ListGroupsWithResponse(ctx, nil))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list.JSON200.Groups, func(g Group) bool { return g.Id == *batch.Group }) {
		return fmt.Errorf("groups %s; want %s among them", list.Body, *batch.Group)
	}
	deleted, err := ok(client.DeleteGroupWithResponse(ctx, *batch.Group, nil))
	if err != nil {
		return err
	}
	if deleted.JSON200.Changed != 2 {
		return fmt.Errorf("deleting the group: %s; want two jobs changed", deleted.Body)
	}
	fmt.Printf("go: group: %+v\n", group.JSON200.Jobs)
	return nil
}

// chain returns a batch of two jobs, the second after the first.
func chain(group string) (BatchSubmission, error) {
	jobs := make([]JobSubmission, 2)
	numbers := make([]SquaresSubmission_Numbers_Item, 1)
	after := make([]SquaresSubmission_After_Item, 1)
	err := firstError(
		numbers[0].FromSquaresSubmissionNumbers0(3),
		after[0].FromSquaresSubmissionAfter1(0),
		jobs[0].FromSquaresSubmission(SquaresSubmission{Numbers: &numbers}),
		jobs[1].FromSquaresSubmission(SquaresSubmission{Numbers: &numbers, After: &after}),
	)
	return BatchSubmission{Group: &group, Jobs: jobs}, err
}
