package journal_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

var kept = flag.Int("kept", 100_000, "the kept jobs of BenchmarkListFilter")

// BenchmarkListFilter measures lists of kept jobs with filters that match few of them, to the last page.
func BenchmarkListFilter(b *testing.B) {
	j := open(b, journal.Config{Dir: b.TempDir(), SweepInterval: time.Hour})
	begin := time.Now().UTC()
	created := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Millisecond) }
	const batch = 1000
	for n := 0; n < *kept; {
		var all job.Batch
		for range batch {
			id, s := submission("t")
			s.Job.CreatedAt, s.Job.Retention, s.Job.Labels = created(n), 24*time.Hour, map[string]string{"team": fmt.Sprint("t", n%4), "user": fmt.Sprint("u", n)}
			end := job.Finished{At: s.Job.CreatedAt, State: job.Succeeded, Result: []byte("1")}
			switch n {
			case *kept / 3:
				end.State, end.Failure = job.Failed, &job.Failure{Reason: job.FailedTask, Detail: "why"}
			case *kept / 2:
				s.Job.Kind = "rare"
			}
			all.Entries = append(all.Entries, job.Entry{ID: id, Events: []job.Event{s, job.Started{At: s.Job.CreatedAt}, end}})
			n++
		}
		must(b, journaltest.Append(b.Context(), j, all))
	}
	last, sub := submission("t")
	must(b, journaltest.Append(b.Context(), j, entry(last, sub)))
	failed := []job.State{job.Failed}
	for name, c := range map[string]struct {
		q    job.Query
		want int
	}{
		"state":               {job.Query{States: failed}, 1},
		"kind":                {job.Query{Kinds: []string{"rare"}}, 1},
		"label":               {job.Query{Labels: map[string]string{"user": fmt.Sprint("u", *kept/2)}}, 1},
		"label and state":     {job.Query{Labels: map[string]string{"team": fmt.Sprint("t", *kept/3%4)}, States: failed}, 1},
		"prefix":              {job.Query{Prefixes: map[string]string{"user": fmt.Sprint("u", *kept/2)}}, 1},
		"created in a second": {job.Query{CreatedAfter: created(*kept / 4), CreatedBefore: created(*kept/4 + 51)}, 50},
		"nothing":             {job.Query{Kinds: []string{"none"}, States: []job.State{job.Cancelled}}, 0},
	} {
		c.q.Tenant, c.q.Limit = "t", 50
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n, pages := 0, 0
				for q := c.q; ; pages++ {
					jobs, next, err := j.List(b.Context(), q)
					must(b, err)
					if n += len(jobs); next == (job.ID{}) {
						break
					}
					q.Before = next
				}
				if n != c.want || pages > 1 {
					b.Fatalf("got %d jobs after %d pages, want %d", n, pages, c.want)
				}
			}
		})
	}
	must(b, j.Close())
}
