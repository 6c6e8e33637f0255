package journal_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

// appender is the interface of the compared journals.
type appender interface {
	Append(ctx context.Context, b job.Batch) error
	Close() error
}

// BenchmarkSubmit measures durable submissions of small jobs: each goroutine submits a job and waits until it is on
// disk, and the job then starts and ends in one append, as a job of five numbers does.
func BenchmarkSubmit(b *testing.B) {
	for _, kind := range []string{"disk", "volatile"} {
		for _, n := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", kind, n), func(b *testing.B) {
				var j appender = &journaltest.Volatile{}
				if kind == "disk" {
					// The tenant has no quota of results.
					j = open(b, journal.Config{Dir: b.TempDir(), CountResults: func(string) bool { return false }})
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
		job.TaskProgress{Done: true, Completed: 5, Items: items},
		job.Finished{State: job.Succeeded, At: now, Result: []byte("5")},
	}
}

// BenchmarkItems measures large jobs: a million items each, with different durations, in blocks as they complete.
func BenchmarkItems(b *testing.B) {
	const items, block = 1_000_000, 1000
	j := open(b, journal.Config{Dir: b.TempDir()})
	var first job.ID
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			id, s := submission("t")
			first = id
			s.Job.Progress.Total = items
			must(b, j.Append(b.Context(), entry(id, s, job.Started{})))
			for from := int64(0); from < items; from += block {
				var page job.Items
				for i := from; i < from+block; i++ {
					page.Add(i, strconv.AppendInt(nil, i*i, 10), time.Duration(i))
				}
				must(b, j.Append(b.Context(), entry(id, job.TaskProgress{Completed: block, Items: page})))
			}
			must(b, journaltest.Append(b.Context(), j, entry(id, job.Finished{State: job.Succeeded})))
		}
		b.ReportMetric(items*float64(b.N)/b.Elapsed().Seconds(), "items/s")
	})
	b.Run("page by index", func(b *testing.B) {
		for n := range b.N {
			page, err := j.ItemsByIndex(b.Context(), first, int64(n%900)*1000-1, 1000)
			if err != nil || len(page) != 1000 {
				b.Fatal(len(page), err)
			}
		}
	})
	b.Run("page of the log", func(b *testing.B) {
		for n := range b.N {
			page, err := j.Log(b.Context(), first, uint64(n%900)*1000+2, 1000)
			if err != nil || len(page) == 0 {
				b.Fatal(len(page), err)
			}
		}
	})
	must(b, j.Close())
}

// BenchmarkRead measures reads of small ended jobs.
func BenchmarkRead(b *testing.B) {
	const jobs = 20000
	j := open(b, journal.Config{Dir: b.TempDir()})
	ids := make([]job.ID, jobs)
	var all sync.WaitGroup
	for i := range ids {
		id, s := submission("t")
		ids[i] = id
		all.Add(1)
		batch := entry(id, append([]job.Event{s}, smallEnd(time.Now())...)...)
		batch.Done = func(error) { all.Done() }
		must(b, j.Append(b.Context(), batch))
	}
	all.Wait()
	// Another write drops the ended jobs from memory, so that they are read from Pebble.
	last, sub := submission("t")
	must(b, journaltest.Append(b.Context(), j, entry(last, sub)))
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for n := range b.N {
			if _, err := j.Get(b.Context(), "t", ids[n%jobs]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("log", func(b *testing.B) {
		b.ReportAllocs()
		for n := range b.N {
			if page, err := j.Log(b.Context(), ids[n%jobs], 0, 100); err != nil || len(page) != 4 {
				b.Fatal(len(page), err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		b.ReportAllocs()
		for n := range b.N {
			if page, _, err := j.List(b.Context(), job.Query{Tenant: "t", Limit: 50, Before: ids[jobs-1-n%1000]}); err != nil || len(page) != 50 {
				b.Fatal(len(page), err)
			}
		}
	})
	must(b, j.Close())
}
