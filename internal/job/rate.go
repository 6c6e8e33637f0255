package job

import "time"

// A Rate measures the number of jobs that end per second, over the last 16 seconds. The zero value has counted none.
type Rate struct {
	counts [rateWindow]int
	last   int64     // the second of the newest count, since the base
	base   time.Time // of the monotonic clock
}

const rateWindow = 16

// advance advances the window to now, a time of the monotonic clock, and returns its second.
func (r *Rate) advance(now time.Time) int64 {
	if r.base.IsZero() {
		r.base = now
	}
	s := max(r.last, int64(now.Sub(r.base)/time.Second))
	if s-r.last >= rateWindow {
		r.counts, r.last = [rateWindow]int{}, s
	}
	for r.last < s {
		r.last++
		r.counts[r.last%rateWindow] = 0
	}
	return s
}

// Add counts the end of a job.
func (r *Rate) Add(now time.Time) {
	r.counts[r.advance(now)%rateWindow]++
}

// RetryAfter returns the time until n more jobs have ended, at the measured rate: from a second to a minute.
func (r *Rate) RetryAfter(now time.Time, n int) time.Duration {
	r.advance(now)
	total := 0
	for _, c := range r.counts {
		total += c
	}
	if total == 0 {
		return time.Minute / 6
	}
	d := time.Duration(float64(n) / float64(total) * rateWindow * float64(time.Second)).Round(time.Second)
	return min(max(d, time.Second), time.Minute)
}
