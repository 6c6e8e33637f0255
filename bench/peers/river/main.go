// Command river is a service of jobs on River and PostgreSQL.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"gather/bench/peers/service"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1) //nolint:forbidigo // the process ends where it began
	}
}

// worker runs the jobs.
type worker struct {
	river.WorkerDefaults[service.Job]
}

// Work implements river.Worker.
func (worker) Work(ctx context.Context, j *river.Job[service.Job]) error {
	return river.RecordOutput(ctx, j.Args.Run())
}

func run(ctx context.Context) (err error) {
	listen := flag.String("listen", "", "address of the API")
	store := flag.String("store", "", "URL of the database")
	flag.Parse()
	pool, err := pgxpool.New(ctx, *store+"&pool_max_conns=50")
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrate(ctx, pool); err != nil {
		return err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker{})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}},
		Workers: workers,
		// The defaults of 100 ms and 1 s are the time that a job may wait.
		FetchCooldown:     river.FetchCooldownMin,
		FetchPollInterval: 100 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	ended, cancel := client.SubscribeConfig(&river.SubscribeConfig{ChanSize: 100_000, Kinds: []river.EventKind{river.EventKindJobCompleted}})
	if err := client.Start(ctx); err != nil {
		cancel()
		return err
	}
	results := &service.Results{}
	var wg sync.WaitGroup
	wg.Go(func() { // the events come after the commits
		for e := range ended {
			var j service.Job
			var result []int64
			if json.Unmarshal(e.Job.EncodedArgs, &j) == nil && json.Unmarshal(e.Job.Output(), &result) == nil {
				results.Done(j.ID, result)
			}
		}
	})
	defer wg.Wait()
	defer cancel()
	defer func() { err = errors.Join(err, client.Stop(ctx)) }()
	return service.Serve(*listen, results, func(ctx context.Context, j service.Job) error {
		_, err := client.Insert(ctx, j, nil)
		return err
	})
}

// migrate waits until the database has started and creates the tables.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	var err error
	for range 300 {
		if err = pool.Ping(ctx); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	m, err := rivermigrate.New[pgx.Tx](riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	return err
}
