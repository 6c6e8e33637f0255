package job

import (
	"slices"
	"strings"
	"time"
)

// Counts are numbers of jobs by state.
type Counts [Cancelled + 1]int64

// Total returns the number of jobs in all states.
func (c *Counts) Total() (n int64) {
	for _, v := range c {
		n += v
	}
	return n
}

// A Query selects jobs for a list, newest first.
type Query struct {
	Tenant string
	// States, Kinds, Priorities, Labels and Prefixes restrict the list if they are not empty. Prefixes are of the values of
	// labels, by key.
	States     []State
	Kinds      []string
	Priorities []Priority
	Labels     map[string]string
	Prefixes   map[string]string
	// Group restricts the list to the jobs of a group; "" is no restriction.
	Group string
	// CreatedAfter, CreatedBefore and FinishedAfter are exclusive bounds; the zero time is no bound.
	CreatedAfter, CreatedBefore, FinishedAfter time.Time
	// Before is the last job of the previous page; the zero ID for the first page.
	Before ID
	Limit  int
}

// Matches reports whether a job matches the query.
func (q *Query) Matches(j *Job) bool {
	return j.Tenant == q.Tenant &&
		(len(q.States) == 0 || slices.Contains(q.States, j.State)) &&
		(len(q.Kinds) == 0 || slices.Contains(q.Kinds, j.Kind)) &&
		(len(q.Priorities) == 0 || slices.Contains(q.Priorities, j.Priority)) &&
		(q.Group == "" || q.Group == j.Group) &&
		(q.CreatedAfter.IsZero() || j.CreatedAt.After(q.CreatedAfter)) &&
		(q.CreatedBefore.IsZero() || j.CreatedAt.Before(q.CreatedBefore)) &&
		(q.FinishedAfter.IsZero() || j.FinishedAt.After(q.FinishedAfter)) &&
		q.matchesLabels(j.Labels)
}

// Countable reports whether the query selects by kind and state only, by which jobs are counted.
func (q *Query) Countable() bool {
	return len(q.Priorities)+len(q.Labels)+len(q.Prefixes) == 0 && q.Group == "" && q.CreatedAfter.IsZero() && q.CreatedBefore.IsZero() && q.FinishedAfter.IsZero() && q.Before == ID{}
}

func (q *Query) matchesLabels(labels map[string]string) bool {
	for k, v := range q.Labels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for k, prefix := range q.Prefixes {
		if got, ok := labels[k]; !ok || !strings.HasPrefix(got, prefix) {
			return false
		}
	}
	return true
}
