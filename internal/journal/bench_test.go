package journal_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// appender is what the benchmarks compare.
type appender interface {
	Append(ctx context.Context, b job.Batch) error
	Close() error
}

// BenchmarkSubmit measures durable submissions of small jobs: each goroutine submits a job and waits until it is on
// disk, and the job starts and ends right behind, as a five-number job does.
func BenchmarkSubmit(b *testing.B) {
	for _, kind := range []string{"disk", "volatile"} {
		for _, n := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", kind, n), func(b *testing.B) {
				var j appender = &journaltest.Volatile{}
				if kind == "disk" {
					j = open(b, journal.Config{Dir: b.TempDir()})
				}
				submitMany(b, j, n)
				if err := j.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

func submitMany(b *testing.B, j appender, goroutines int) {
	b.Helper()
	spec := []byte(`{"numbers":[1,2,3,4,5]}`)
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg, ended sync.WaitGroup
	ended.Add(b.N)
	b.ResetTimer()
	for range goroutines {
		wg.Go(func() {
			done := make(chan error, 1)
			for left.Add(-1) >= 0 {
				id := job.NewID()
				now := time.Now().UTC()
				submit := job.Batch{Done: func(err error) { done <- err }, Entries: []job.Entry{{ID: id, Events: []job.Event{
					job.Submitted{Spec: spec, Job: job.Job{
						ID: id, Tenant: "tenant", Kind: "squares", Priority: job.Normal, State: job.Queued, Tasks: 1,
						Progress: job.Progress{Total: 5}, CreatedAt: now, Retention: 24 * time.Hour, RequestID: "0123456789abcdef",
					}},
				}}}}
				if err := j.Append(b.Context(), submit); err != nil {
					b.Error(err)
				}
				finish := job.Batch{Done: func(error) { ended.Done() }, Entries: []job.Entry{{ID: id, Events: smallEnd(now)}}}
				if err := j.Append(b.Context(), finish); err != nil {
					b.Error(err)
				}
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ended.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

func smallEnd(now time.Time) []job.Event {
	var items job.Items
	for i := range int64(5) {
		items.Add(i, fmt.Append(nil, i*i), 100*time.Nanosecond)
	}
	return []job.Event{
		job.Started{At: now},
		job.Advanced{Done: true, Completed: 5, Items: items},
		job.Finished{State: job.Succeeded, At: now, Result: []byte("5")},
	}
}
