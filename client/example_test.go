package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"gather/client"
)

// connect returns a client of the service.
func connect() *client.Client {
	c, err := client.New(client.Config{Server: serverURL})
	if err != nil {
		panic(err)
	}
	return c
}

func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{Server: serverURL})
	if err != nil {
		panic(err)
	}
	job, err := c.Submit(ctx, client.SquaresSubmission{Kind: "squares", Range: &client.Range{Stop: 5}})
	if err != nil {
		panic(err)
	}
	if job, err = c.Wait(ctx, job.ID); err != nil {
		panic(err)
	}
	for _, square := range job.Values {
		fmt.Println(string(square))
	}
	// Output:
	// 0
	// 1
	// 4
	// 9
	// 16
}

func ExampleClient_Submit() {
	ctx, c := context.Background(), connect()
	five := int64(5)
	sleeps := client.SleepBatchSubmission{
		Kind: "sleep_batch", Count: &five, Duration: "10ms",
		Labels: client.Labels{"team": "a"}, Priority: client.PriorityHigh,
	}
	job, err := c.Submit(ctx, sleeps, client.WithIdempotencyKey("order-17"), client.WithWait(20*time.Second))
	if err != nil {
		panic(err)
	}
	fmt.Println(job.Kind, job.Priority, job.Labels["team"])
	again, err := c.Submit(ctx, sleeps, client.WithIdempotencyKey("order-17"))
	if err != nil {
		panic(err)
	}
	fmt.Println("the same job:", again.ID == job.ID)
	submission, err := c.Submission(ctx, job.ID)
	if err != nil {
		panic(err)
	}
	another, err := c.Submit(ctx, submission) // with another key
	if err != nil {
		panic(err)
	}
	fmt.Println("another job:", another.ID != job.ID)
	// Output:
	// sleep_batch high a
	// the same job: true
	// another job: true
}

// Anything whose JSON is a submission can be submitted.
func ExampleClient_Submit_json() {
	ctx, c := context.Background(), connect()
	job, err := c.Submit(ctx, json.RawMessage(`{"kind":"array_sum","array":{"values":[1e16,1,-1e16]}}`), client.WithWait(time.Minute))
	if err != nil {
		panic(err)
	}
	if job, err = c.Wait(ctx, job.ID); err != nil {
		panic(err)
	}
	fmt.Println(string(job.Result))
	// Output: 1.0
}

func ExampleClient_SubmitBatch() {
	ctx, c := context.Background(), connect()
	jobs, err := c.SubmitBatch(ctx, []any{
		client.SquaresSubmission{Kind: "squares", Numbers: []any{2}},
		client.SquaresSubmission{Kind: "squares", Numbers: []any{"100000000000000000000", 2.5}},
	})
	if err != nil {
		panic(err)
	}
	for _, j := range jobs {
		done, err := c.Wait(ctx, j.ID)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", done.Values)
	}
	// Output:
	// [4]
	// [10000000000000000000000000000000000000000 6.25]
}

// Errors are typed, with every fault of the submission.
func ExampleError() {
	ctx, c := context.Background(), connect()
	_, err := c.Submit(ctx, map[string]any{"kind": "squares", "numbers": []any{1, nil}, "priority": "urgent"})
	if e, ok := errors.AsType[*client.Error](err); ok && e.Status == http.StatusUnprocessableEntity {
		fmt.Println(e.Type)
		for _, field := range e.Errors {
			fmt.Println(field.Pointer)
		}
	}
	// Output:
	// /problems/validation-error
	// /priority
	// /numbers/1
}

// The items of a job arrive as they complete.
func ExampleClient_Results() {
	ctx, c := context.Background(), connect()
	job, err := c.Submit(ctx, client.SleepBatchSubmission{Kind: "sleep_batch", Durations: []client.Duration{"1s", "1ms"}})
	if err != nil {
		panic(err)
	}
	for item, err := range c.Results(ctx, job.ID) {
		if err != nil {
			panic(err)
		}
		fmt.Println(item.Index)
	}
	// Output:
	// 1
	// 0
}

func ExampleByIndex() {
	ctx, c := context.Background(), connect()
	job, err := c.Submit(ctx, client.SquaresSubmission{Kind: "squares", Numbers: []any{1, -3, 1000000000000000000}})
	if err != nil {
		panic(err)
	}
	for item, err := range c.Results(ctx, job.ID, client.ByIndex()) {
		if err != nil {
			panic(err)
		}
		fmt.Println(item.Index, string(item.Value))
	}
	// Output:
	// 0 1
	// 1 9
	// 2 1000000000000000000000000000000000000
}

func ExampleClient_Events() {
	ctx, c := context.Background(), connect()
	job, err := c.Submit(ctx, client.SquaresSubmission{Kind: "squares", Range: &client.Range{Stop: 3}})
	if err != nil {
		panic(err)
	}
	for e, err := range c.Events(ctx, job.ID, 0) {
		switch {
		case err != nil:
			panic(err)
		case e.State != nil:
			fmt.Println(e.State.State)
		case e.End != nil:
			fmt.Println("result", string(e.End.Result))
		}
	}
	// Output:
	// queued
	// running
	// succeeded
	// result 3
}

func ExampleClient_List() {
	ctx, c := context.Background(), connect()
	for range 3 {
		if _, err := c.Submit(ctx, client.SquaresSubmission{
			Kind: "squares", Numbers: []any{7}, Labels: client.Labels{"team": "b"},
		}); err != nil {
			panic(err)
		}
	}
	n := 0
	for _, err := range c.List(ctx, client.ListOptions{Labels: client.Labels{"team": "b"}, PageSize: 2}) {
		if err != nil {
			panic(err)
		}
		n++
	}
	fmt.Println(n, "jobs")
	// Output: 3 jobs
}

func ExampleClient_Cancel() {
	ctx, c := context.Background(), connect()
	job, err := c.Submit(ctx, client.SleepBatchSubmission{Kind: "sleep_batch", Durations: []client.Duration{"1h"}})
	if err != nil {
		panic(err)
	}
	if _, err := c.Cancel(ctx, job.ID); err != nil {
		panic(err)
	}
	if job, err = c.Wait(ctx, job.ID); err != nil {
		panic(err)
	}
	fmt.Println(job.State)
	if e, ok := errors.AsType[*client.FailedError](job.Err()); ok {
		fmt.Println(e.Job.State)
	}
	fmt.Println(c.Delete(ctx, job.ID))
	// Output:
	// cancelled
	// cancelled
	// <nil>
}

func ExampleClient_PutArray() {
	ctx, c := context.Background(), connect()
	job, err := c.Submit(ctx, json.RawMessage(`{"kind":"array_sum","array":{"values":[[1,2,3],[4,5,6]]},"axis":0}`))
	if err != nil {
		panic(err)
	}
	if _, err = c.Wait(ctx, job.ID); err != nil {
		panic(err)
	}
	var file bytes.Buffer // of numpy.save
	if err := c.DownloadResult(ctx, job.ID, &file); err != nil {
		panic(err)
	}
	if _, err := c.PutArray(ctx, "column-sums", bytes.NewReader(file.Bytes()), int64(file.Len())); err != nil {
		panic(err)
	}
	for a, err := range c.ListArrays(ctx) {
		if err != nil {
			panic(err)
		}
		fmt.Println(a.Name, a.Dtype, a.Shape)
	}
	var copied bytes.Buffer
	if _, err := c.DownloadArray(ctx, "column-sums", &copied); err != nil {
		panic(err)
	}
	fmt.Println(bytes.Equal(copied.Bytes(), file.Bytes()))
	fmt.Println(c.DeleteArray(ctx, "column-sums"))
	// Output:
	// column-sums int64 [3]
	// true
	// <nil>
}

func ExampleClient_DeleteAll() {
	ctx, c := context.Background(), connect()
	for range 3 {
		squares := client.SquaresSubmission{Kind: "squares", Numbers: []any{7}, Labels: client.Labels{"example": "delete"}}
		if _, err := c.Submit(ctx, squares, client.WithWait(20*time.Second)); err != nil {
			panic(err)
		}
	}
	done := client.ListOptions{States: []client.State{client.StateSucceeded}, Labels: client.Labels{"example": "delete"}}
	count, err := c.DeleteAll(ctx, done, client.WithCountOnly())
	if err != nil {
		panic(err)
	}
	result, err := c.DeleteAll(ctx, done)
	if err != nil {
		panic(err)
	}
	fmt.Println(count.Matched, result.Changed)
	// Output: 3 3
}

func ExampleClient_Count() {
	ctx, c := context.Background(), connect()
	job, err := c.Submit(ctx, client.SleepBatchSubmission{Kind: "sleep_batch", Durations: []client.Duration{"1h"}, Priority: client.PriorityLow})
	if err != nil {
		panic(err)
	}
	before, err := c.Count(ctx, "sleep_batch")
	if err != nil {
		panic(err)
	}
	low := client.ListOptions{
		Kinds: []string{"squares", "sleep_batch"}, Priorities: []client.Priority{client.PriorityLow}, CreatedAfter: job.CreatedAt.Add(-time.Minute),
	}
	if _, err := c.CancelAll(ctx, low); err != nil {
		panic(err)
	}
	if _, err = c.Wait(ctx, job.ID); err != nil {
		panic(err)
	}
	after, err := c.Count(ctx, "sleep_batch")
	if err != nil {
		panic(err)
	}
	fmt.Println(after.Cancelled - before.Cancelled)
	// Output: 1
}

func ExampleClient_WaitGroup() {
	ctx, c := context.Background(), connect()
	for n := range 3 {
		squares := client.SquaresSubmission{Kind: "squares", Numbers: []any{n}, Group: "nightly"}
		if _, err := c.Submit(ctx, squares); err != nil {
			panic(err)
		}
	}
	group, err := c.WaitGroup(ctx, "nightly")
	if err != nil {
		panic(err)
	}
	for g, err := range c.Groups(ctx) {
		if err == nil && g.ID == group.ID {
			fmt.Println(g.ID, g.Jobs.Succeeded)
		}
	}
	result, err := c.DeleteGroup(ctx, "nightly")
	if err != nil {
		panic(err)
	}
	fmt.Println(result.Changed)
	// Output:
	// nightly 3
	// 3
}
