package job

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Webhook is a URL that is called when a job has ended. The webhooks of a job are fixed at its submission.
type Webhook struct {
	URL string
	// Events selects the ends for which the URL is called.
	Events WebhookEvents
	// Standing is true for a webhook of the tenant, which the submission did not name.
	Standing bool
}

// WebhookEvents is a set of final states.
type WebhookEvents uint8

// AllEvents has every final state.
const AllEvents = WebhookEvents(1<<Succeeded | 1<<Failed | 1<<Cancelled)

// EventOf returns the set of one final state.
func EventOf(s State) WebhookEvents { return 1 << s }

// EventName returns the name of the end of a job: "job.succeeded".
func EventName(s State) string { return "job." + s.String() }

// ParseEvent is the inverse of EventName.
func ParseEvent(name string) (WebhookEvents, error) {
	if text, ok := strings.CutPrefix(name, "job."); ok {
		if s, err := ParseState(text); err == nil && s.Terminal() {
			return EventOf(s), nil
		}
	}
	return 0, fmt.Errorf("%q is not an event: job.succeeded, job.failed or job.cancelled", name)
}

// DeliveryWindow is how long a delivery is attempted. A job with deliveries is kept for at least as long after its end.
const DeliveryWindow = 24 * time.Hour

// keep returns how long the job is kept after its end.
func (j *Job) keep(end State) time.Duration {
	kept := j.Retention
	if end == Failed && j.FailedRetention > 0 {
		kept = j.FailedRetention
	}
	for _, w := range j.Webhooks {
		if w.Events&EventOf(end) != 0 {
			return max(kept, DeliveryWindow)
		}
	}
	return kept
}

// DeliveryState is the state of a delivery.
type DeliveryState uint8

// The states of deliveries.
const (
	// DeliveryPending: another attempt follows.
	DeliveryPending DeliveryState = iota + 1
	// DeliveryDone: the receiver has accepted it.
	DeliveryDone
	// DeliveryFailed: no further attempt follows.
	DeliveryFailed
)

var deliveryStates = [...]string{DeliveryPending: "pending", DeliveryDone: "delivered", DeliveryFailed: "failed"}

// String returns the state's name in the API.
func (s DeliveryState) String() string { return name(deliveryStates[:], s, "delivery state") }

// A Delivery is the report of a job's end to one of its webhooks.
type Delivery struct {
	// Hook is the index of the webhook in the job.
	Hook int
	// Receiver groups the deliveries of a tenant to one host.
	Receiver uint64
	State    DeliveryState
	// Since is when the attempts began: the end of the job, or the last manual retry. Tries counts the attempts since then.
	Since time.Time
	Tries int
	// NextAt is the time of the next attempt; the zero time if none follows.
	NextAt time.Time
	// Total counts all attempts; Attempts has the last MaxAttempts of them.
	Total    int
	Attempts []Attempt
}

// MaxAttempts bounds the attempts that a delivery keeps.
const MaxAttempts = 20

// An Attempt is one request of a delivery.
type Attempt struct {
	At       time.Time
	Duration time.Duration
	// Status is the status of the response; 0 without one. Error is why the attempt failed; "" for a success.
	Status int
	Error  string
}

// Deliveries are the deliveries of a finished job, in the order of its webhooks.
type Deliveries []Delivery

// NewDeliveries returns the deliveries of a job that has just ended; nil for none.
func NewDeliveries(j *Job) (ds Deliveries) {
	for i, w := range j.Webhooks {
		if w.Events&EventOf(j.State) != 0 {
			ds = append(ds, Delivery{
				Hook: i, Receiver: receiverOf(j.Tenant, w.URL), State: DeliveryPending, Since: j.FinishedAt, NextAt: j.FinishedAt,
			})
		}
	}
	return ds
}

// receiverOf identifies the host of a URL for a tenant. It is stored.
func receiverOf(tenant, text string) uint64 {
	host := text
	if u, err := url.Parse(text); err == nil {
		host = strings.ToLower(u.Host)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(tenant + "\x00" + host))
	return h.Sum64()
}

// A DeliveryChange is an attempt of a delivery, or a request for another one.
type DeliveryChange struct {
	Hook int
	// Total is the Total of the delivery before the attempt: a change that another node was faster with is rejected.
	Total int
	// Attempt is nil for a request of a client, at the time NextAt.
	Attempt *Attempt
	// State and NextAt are those of the delivery after the attempt.
	State  DeliveryState
	NextAt time.Time
}

// Apply returns the deliveries after a change, or ErrTransition if it is invalid. It is pure, as Apply of jobs.
func (ds Deliveries) Apply(c DeliveryChange) (Deliveries, error) {
	i := ds.index(c.Hook)
	if i < 0 {
		return ds, fmt.Errorf("%w: the job has no delivery %d", ErrTransition, c.Hook)
	}
	d := ds[i]
	switch {
	case c.Attempt == nil:
		if d.State != DeliveryPending {
			d.State, d.Since, d.Tries = DeliveryPending, c.NextAt, 0
		}
		d.NextAt = c.NextAt
	case d.State != DeliveryPending || d.Total != c.Total:
		return ds, fmt.Errorf("%w: another attempt of delivery %d was recorded", ErrTransition, c.Hook)
	default:
		d.State, d.NextAt = c.State, c.NextAt
		d.Total++
		d.Tries++
		kept := d.Attempts[max(0, len(d.Attempts)-MaxAttempts+1):]
		d.Attempts = append(append(make([]Attempt, 0, len(kept)+1), kept...), *c.Attempt)
	}
	after := append(Deliveries(nil), ds...)
	after[i] = d
	return after, nil
}

// Of returns the delivery to a webhook.
func (ds Deliveries) Of(hook int) (Delivery, bool) {
	i := ds.index(hook)
	if i < 0 {
		return Delivery{}, false
	}
	return ds[i], true
}

func (ds Deliveries) index(hook int) int {
	for i := range ds {
		if ds[i].Hook == hook {
			return i
		}
	}
	return -1
}

// DeliveryID returns the ID of a delivery, which is also its webhook-id: the same for all of its attempts.
func DeliveryID(id ID, hook int) string { return id.String() + "-" + strconv.Itoa(hook) }

// A DeliveryRef identifies a pending delivery.
type DeliveryRef struct {
	Tenant string
	ID     ID
	Hook   int
}

// A DeliveryReceiver has the pending deliveries of a tenant to one host.
type DeliveryReceiver struct {
	Key     uint64
	Pending int
	// Oldest is when the attempts of the oldest one began. Until the next attempt it is at least Wait.
	Oldest time.Time
	Wait   time.Duration
}
