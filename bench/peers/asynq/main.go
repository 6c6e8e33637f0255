// Command asynq is a service of jobs on asynq and Redis.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/hibiken/asynq"

	"gather/bench/peers/service"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1) //nolint:forbidigo // the process ends where it began
	}
}

func run() error {
	listen := flag.String("listen", "", "address of the API")
	redis := flag.String("store", "", "address of Redis")
	flag.Parse()
	opt := asynq.RedisClientOpt{Addr: *redis, PoolSize: 100}
	client := asynq.NewClient(opt)
	defer func() { _ = client.Close() }()
	results := &service.Results{}
	server := asynq.NewServer(opt, asynq.Config{
		Concurrency:       64,
		TaskCheckInterval: time.Millisecond, // of an empty queue; the default of a second is the time a job waits
		LogLevel:          asynq.FatalLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		var j service.Job
		if err := json.Unmarshal(task.Payload(), &j); err != nil {
			return err
		}
		result := j.Run()
		text, err := json.Marshal(result)
		if err != nil {
			return err
		}
		if _, err := task.ResultWriter().Write(text); err != nil {
			return err
		}
		results.Done(j.ID, result) // asynq reports no end of a task; it is stored as completed just after
		return nil
	}))
	if err != nil {
		return err
	}
	defer server.Shutdown()
	return service.Serve(*listen, results, func(ctx context.Context, j service.Job) error {
		payload, err := json.Marshal(j)
		if err == nil {
			_, err = client.EnqueueContext(ctx, asynq.NewTask("squares", payload), asynq.Retention(24*time.Hour))
		}
		return err
	})
}
