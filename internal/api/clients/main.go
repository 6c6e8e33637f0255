//go:build ignore

// Command clients submits a job of each kind, and one that is rejected, to the server whose URL is its argument, using
// the Go client that oapi-codegen generates from openapi.yaml; then it uses groups, retries, schedules and pauses. It exits
// with 1 when a response violates openapi.yaml. The gate generates client.gen.go beside this file, which does not compile
// without it; try.ts and try.py do the same with TypeScript clients and Python types.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"reflect"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal("go: ", err)
	}
}

func run(ctx context.Context, url string) error {
	client, err := NewClientWithResponses(url)
	if err != nil {
		return err
	}
	for kind, build := range map[string]func(*JobSubmission) error{
		"sleep_batch": sleeps, "squares": squares, "array_sum": sum, "array_reduce": reduce,
	} {
		var body JobSubmission
		if err := build(&body); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if got, err := body.Discriminator(); err != nil || got != kind {
			return fmt.Errorf("%s: the discriminator is %q, %v", kind, got, err)
		}
		wait := "wait=20"
		resp, err := client.SubmitJobWithResponse(ctx, &SubmitJobParams{Prefer: &wait}, body)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if resp.JSON200 == nil {
			return fmt.Errorf("%s: %s: %s", kind, resp.Status(), resp.Body)
		}
		j, err := resp.JSON200.AsJob()
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if err := check(ctx, client, &j); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	for _, try := range []func(context.Context, *ClientWithResponses) error{preview, rejected, groups, retries, pauses, schedules} {
		if err := try(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

// response is a response of the client.
type response interface {
	Status() string
	StatusCode() int
	GetBody() []byte
}

func ok[R response](resp R, err error) (R, error)      { return expect(resp, err, http.StatusOK) }
func created[R response](resp R, err error) (R, error) { return expect(resp, err, http.StatusCreated) }

func accepted[R response](resp R, err error) (R, error) {
	return expect(resp, err, http.StatusAccepted)
}

func noContent[R response](resp R, err error) (R, error) {
	return expect(resp, err, http.StatusNoContent)
}

// expect fails unless the response has this status.
func expect[R response](resp R, err error, status int) (R, error) {
	if err == nil && resp.StatusCode() != status {
		err = fmt.Errorf("%s: %s", resp.Status(), resp.GetBody())
	}
	return resp, err
}

// preview validates a job without submitting it.
func preview(ctx context.Context, client *ClientWithResponses) error {
	var body JobSubmission
	if err := squares(&body); err != nil {
		return err
	}
	only := true
	resp, err := client.SubmitJobWithResponse(ctx, &SubmitJobParams{ValidateOnly: &only}, body)
	if err != nil {
		return err
	}
	if resp.JSON200 == nil {
		return fmt.Errorf("preview: %s: %s", resp.Status(), resp.Body)
	}
	p, err := resp.JSON200.AsSubmissionPreview()
	if err != nil || p.Items != 3 {
		return fmt.Errorf("preview of %d items (%v), want 3", p.Items, err)
	}
	fmt.Printf("go: preview: %d items, %d tasks\n", p.Items, p.Tasks)
	return nil
}

func sleeps(body *JobSubmission) error {
	count, priority := int64(3), PriorityHigh
	var duration Duration
	if err := duration.FromDuration0("10ms"); err != nil {
		return err
	}
	return body.FromSleepBatchSubmission(SleepBatchSubmission{
		Count: &count, Duration: &duration, Priority: &priority, Labels: &Labels{"client": "go"},
	})
}

func squares(body *JobSubmission) error {
	numbers := make([]SquaresSubmission_Numbers_Item, 3)
	return firstError(
		numbers[0].FromSquaresSubmissionNumbers0(3),
		numbers[1].FromSquaresSubmissionNumbers0(2.5),
		numbers[2].FromSquaresSubmissionNumbers1("-5"),
		body.FromSquaresSubmission(SquaresSubmission{Numbers: &numbers}),
	)
}

func sum(body *JobSubmission) error {
	array, err := hundred()
	if err != nil {
		return err
	}
	return body.FromArraySumSubmission(ArraySumSubmission{Array: array})
}

func reduce(body *JobSubmission) error {
	array, err := hundred()
	if err != nil {
		return err
	}
	return body.FromArrayReduceSubmission(ArrayReduceSubmission{Array: array, Ops: []Statistic{Mean, Argmax}})
}

// hundred is the array of the numbers below 100, in chunks of 30.
func hundred() (InputArray, error) {
	source := Arange
	var shape InputArray_Shape
	var chunks InputArray_Chunks
	var length AxisChunks
	err := firstError(
		shape.FromInputArrayShape1([]int64{100}),
		length.FromAxisChunks0(30),
		chunks.FromAxisChunks(length),
	)
	return InputArray{Source: &source, Shape: &shape, Chunks: &chunks}, err
}

// check compares a finished job and its results with the expected ones.
func check(ctx context.Context, client *ClientWithResponses, j *Job) error {
	want := map[string]struct {
		result any
		items  []any // nil: not compared
	}{
		"sleep_batch":  {result: 3.0},
		"squares":      {result: 3.0, items: []any{9.0, 6.25, 25.0}},
		"array_sum":    {result: 4950.0},
		"array_reduce": {result: map[string]any{"mean": 49.5, "argmax": 99.0}},
	}[j.Kind]
	if j.State != StateSucceeded || !reflect.DeepEqual(j.Result, want.result) {
		return fmt.Errorf("%s with result %v, want succeeded with %v", j.State, j.Result, want.result)
	}
	order := Index
	resp, err := client.GetJobResultsWithResponse(ctx, j.Id.String(), &GetJobResultsParams{Order: &order})
	if err != nil {
		return err
	}
	if resp.JSON200 == nil {
		return fmt.Errorf("%s: %s", resp.Status(), resp.Body)
	}
	var items []any
	for _, item := range resp.JSON200.Items {
		items = append(items, item.Value)
	}
	if want.items != nil && !reflect.DeepEqual(items, want.items) {
		return fmt.Errorf("items %v, want %v", items, want.items)
	}
	fmt.Printf("go: %s: result %v, items %v\n", j.Kind, j.Result, items)
	return nil
}

// rejected submits a job that must be rejected, with the pointer of the error.
func rejected(ctx context.Context, client *ClientWithResponses) error {
	count := int64(-1)
	var body JobSubmission
	if err := body.FromSleepBatchSubmission(SleepBatchSubmission{Count: &count}); err != nil {
		return err
	}
	resp, err := client.SubmitJobWithResponse(ctx, nil, body)
	if err != nil {
		return err
	}
	p := resp.ApplicationproblemJSON422
	if p == nil || p.Errors == nil || *(*p.Errors)[0].Pointer != "/count" {
		return fmt.Errorf("a negative count: %s: %s, want a 422 with the pointer /count", resp.Status(), resp.Body)
	}
	fmt.Printf("go: rejected: %s %s\n", *(*p.Errors)[0].Pointer, (*p.Errors)[0].Detail)
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
