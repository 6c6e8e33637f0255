package webhook_test

import (
	"net/http"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/outbound"
	"gather/internal/webhook"
)

// The attempts follow the schedule for a day. A Retry-After can only make a wait longer, and 410 ends them.
func TestSchedule(t *testing.T) {
	since := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	failed := func(status int, retryAfter string) *outbound.Outcome {
		o := &outbound.Outcome{Status: status, Header: http.Header{}}
		if status == 0 {
			o.Class, o.Header = outbound.Timeout, nil
		} else if retryAfter != "" {
			o.Header.Set("Retry-After", retryAfter)
		}
		return o
	}
	for _, c := range []struct {
		name     string
		outcome  *outbound.Outcome
		tries    int
		late     time.Duration // since the end of the job
		state    job.DeliveryState
		from, to time.Duration
	}{
		{"first", failed(503, ""), 0, 0, job.DeliveryPending, 4 * time.Second, 6 * time.Second},
		{"no response", failed(0, ""), 1, 0, job.DeliveryPending, 4 * time.Minute, 6 * time.Minute},
		{"third", failed(404, ""), 2, 0, job.DeliveryPending, 24 * time.Minute, 36 * time.Minute},
		{"fourth", failed(500, ""), 3, 0, job.DeliveryPending, 96 * time.Minute, 144 * time.Minute},
		{"fifth", failed(500, ""), 4, 0, job.DeliveryPending, 4 * time.Hour, 6 * time.Hour},
		{"sixth", failed(500, ""), 5, 9 * time.Hour, job.DeliveryPending, 8 * time.Hour, 12 * time.Hour},
		{"last", failed(500, ""), 6, 20 * time.Hour, job.DeliveryFailed, 0, 0},
		{"success", &outbound.Outcome{Status: 202}, 3, 0, job.DeliveryDone, 0, 0},
		{"gone", failed(410, "5"), 0, 0, job.DeliveryFailed, 0, 0},
		{"Retry-After", failed(429, "600"), 0, 0, job.DeliveryPending, 10 * time.Minute, 10 * time.Minute},
		{"short Retry-After", failed(429, "1"), 1, 0, job.DeliveryPending, 4 * time.Minute, 6 * time.Minute},
		{"Retry-After as a date", failed(503, "Wed, 04 Mar 2026 06:06:07 GMT"), 0, 0, job.DeliveryPending, time.Hour, time.Hour},
		{"Retry-After beyond the window", failed(503, "999999999"), 0, time.Hour, job.DeliveryPending, 23 * time.Hour, 23 * time.Hour},
		{"after the window", failed(503, ""), 2, 24 * time.Hour, job.DeliveryFailed, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &job.Delivery{Since: since, Tries: c.tries, Total: c.tries}
			seen := make(map[time.Time]bool)
			for range 100 {
				now := since.Add(c.late)
				state, at := webhook.Next(d, c.outcome, now)
				seen[at] = true
				if state != c.state || at.IsZero() != (c.to == 0) {
					t.Fatalf("got %s at %s, want %s", state, at, c.state)
				}
				if wait := at.Sub(now); c.to > 0 && (wait < c.from || wait > c.to) {
					t.Fatalf("got a wait of %s, want %s to %s", wait, c.from, c.to)
				}
			}
			if c.from < c.to && len(seen) < 10 {
				t.Errorf("got %d different waits of 100, want jitter", len(seen))
			}
		})
	}
}

func TestParseSecret(t *testing.T) {
	for text, want := range map[string]bool{
		secrets[0]: true, secrets[1]: true,
		"": false, "whsec_": false, "whsec_x": false, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": false,
		"whsec_AAAA": false, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n.": false,
	} {
		if _, err := webhook.ParseSecret(text); (err == nil) != want {
			t.Errorf("secret %q: got %v, want it accepted: %t", text, err, want)
		}
	}
}
