// Package webhook delivers the ends of jobs to webhooks, as Standard Webhooks (standardwebhooks.com) describes it.
//
// Guarantees.
//   - At least once: the journal has a delivery since the job's end, and each attempt after its outcome. A delivery whose
//     attempt was not recorded is sent again, with the same webhook-id.
//   - A receiver that is slow, or does not answer, delays only its own deliveries: it has at most perReceiver attempts in
//     flight, one after an attempt without a response, and all receivers together have at most Config.InFlight.
//   - Secrets are in no record, error or log.
//
// Goroutines. Run has one for each attempt in flight, and waits for them.
//
// Failure. While the journal fails, an attempt is not recorded, and is made again.
package webhook

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/job"
	"gather/internal/notify"
	"gather/internal/outbound"
)

// A Store has the deliveries of finished jobs.
type Store interface {
	// DeliveryReceivers returns the receivers with pending deliveries that this server has to deliver, in any order.
	DeliveryReceivers() []job.DeliveryReceiver
	// DeliveriesChanged signals changes of the pending deliveries.
	DeliveriesChanged() <-chan struct{}
	// DueDeliveries returns at most limit deliveries to a receiver whose time has come, the earliest first, and the time until
	// the next one after them; 0 if there is none.
	DueDeliveries(ctx context.Context, receiver uint64, limit int) (due []job.DeliveryRef, next time.Duration, err error)
	// Deliveries returns the deliveries of a job. Errors: job.ErrNotFound.
	Deliveries(ctx context.Context, tenant string, id job.ID) (job.Deliveries, error)
	// ChangeDelivery durably changes a delivery. Errors: job.ErrNotFound, job.ErrTransition.
	ChangeDelivery(ctx context.Context, tenant string, id job.ID, c job.DeliveryChange) (job.Deliveries, error)
}

// Config has the dependencies and bounds of a Deliverer.
type Config struct {
	Store  Store
	Sender *outbound.Sender
	// Render returns a finished job and its JSON, as the API returns it. Errors: job.ErrNotFound, job.ErrExpired.
	Render func(ctx context.Context, tenant string, id job.ID) (job.Job, []byte, error)
	// Secrets returns the secrets with which requests of a tenant to a URL are signed; none for no signature.
	Secrets func(tenant, url string) []Secret
	// InFlight bounds the attempts in flight.
	InFlight int
	// Now returns the time of the jobs' timestamps; default: time.Now.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

const (
	// perReceiver bounds the attempts in flight to one receiver.
	perReceiver = 8
	// rescan is the interval at which the receivers are read again, because another node may have left them.
	rescan = 2 * time.Second
	// pause is the time before a delivery is tried again whose attempt could not be made or recorded.
	pause = time.Second
)

// A Deliverer delivers the pending deliveries of a store.
type Deliverer struct {
	cfg     Config
	metrics *metrics
	freed   notify.Signal
	wg      sync.WaitGroup

	mu     sync.Mutex
	active map[job.DeliveryRef]bool
	// inFlight counts the attempts by receiver; silent has the receivers whose last attempt had no response.
	inFlight map[uint64]int
	silent   map[uint64]bool
}

// New returns a Deliverer.
func New(cfg Config) *Deliverer {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Deliverer{
		cfg: cfg, freed: notify.New(), active: make(map[job.DeliveryRef]bool), inFlight: make(map[uint64]int),
		silent: make(map[uint64]bool),
	}
	d.metrics = newMetrics(cfg.Registerer, d)
	return d
}

// Run delivers until ctx is done. Then attempts in flight are cancelled, and remain pending.
func (d *Deliverer) Run(ctx context.Context) {
	defer d.wg.Wait()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.cfg.Store.DeliveriesChanged():
		case <-d.freed:
		case <-t.C:
		}
		t.Reset(d.dispatch(ctx))
	}
}

// dispatch starts the attempts that are due, and returns the time until it must be called again.
func (d *Deliverer) dispatch(ctx context.Context) time.Duration {
	wait := rescan
	receivers := d.cfg.Store.DeliveryReceivers()
	d.forget(receivers)
	for _, r := range receivers {
		if r.Wait > 0 {
			wait = min(wait, r.Wait)
			continue
		}
		room := d.room(r.Key)
		if room == 0 {
			continue // its end notifies freed
		}
		due, next, err := d.cfg.Store.DueDeliveries(ctx, r.Key, 2*perReceiver)
		if err != nil {
			if ctx.Err() == nil {
				d.cfg.Logger.Warn("read pending deliveries", "error", err)
			}
			wait = min(wait, pause)
			continue
		}
		if next > 0 {
			wait = min(wait, next)
		}
		for _, ref := range due {
			if room > 0 && d.claim(ref, r.Key) {
				room--
				d.wg.Go(func() { d.deliver(ctx, ref, r.Key) })
			}
		}
	}
	return wait
}

// forget forgets receivers without pending deliveries.
func (d *Deliverer) forget(pending []job.DeliveryReceiver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.silent) == 0 {
		return
	}
	still := make(map[uint64]bool)
	for _, r := range pending {
		if d.silent[r.Key] {
			still[r.Key] = true
		}
	}
	d.silent = still
}

// room returns the number of attempts that may be started for a receiver. It takes at most a quarter of the free places, so
// that others find some while many receivers do not answer.
func (d *Deliverer) room(receiver uint64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	free := d.cfg.InFlight - len(d.active)
	most := max(1, min(perReceiver, free/4))
	if d.silent[receiver] {
		most = 1
	}
	return max(0, min(free, most-d.inFlight[receiver]))
}

// claim reports whether a delivery has no attempt in flight, and counts one.
func (d *Deliverer) claim(ref job.DeliveryRef, receiver uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active[ref] {
		return false
	}
	d.active[ref] = true
	d.inFlight[receiver]++
	return true
}

func (d *Deliverer) release(ref job.DeliveryRef, receiver uint64, silent bool) {
	d.mu.Lock()
	delete(d.active, ref)
	if d.inFlight[receiver]--; d.inFlight[receiver] == 0 {
		delete(d.inFlight, receiver)
	}
	if silent {
		d.silent[receiver] = true
	} else {
		delete(d.silent, receiver)
	}
	d.mu.Unlock()
	d.freed.Notify()
}

// deliver makes one attempt of a delivery and records it.
func (d *Deliverer) deliver(ctx context.Context, ref job.DeliveryRef, receiver uint64) {
	silent, err := d.attempt(ctx, ref)
	if err != nil {
		if ctx.Err() == nil {
			d.cfg.Logger.Debug("a delivery to a webhook", "job_id", ref.ID.String(), "webhook", ref.Hook, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	d.release(ref, receiver, silent)
}

// recordTimeout is how long an attempt may take to be recorded after the end of Run's context.
const recordTimeout = 5 * time.Second

// attempt makes one attempt of a delivery and records it, unless ctx ends before. It reports whether there was no response.
func (d *Deliverer) attempt(ctx context.Context, ref job.DeliveryRef) (silent bool, err error) {
	j, body, err := d.cfg.Render(ctx, ref.Tenant, ref.ID)
	if err != nil {
		return false, err
	}
	ds, err := d.cfg.Store.Deliveries(ctx, ref.Tenant, ref.ID)
	if err != nil {
		return false, err
	}
	before, ok := ds.Of(ref.Hook)
	if !ok || before.State != job.DeliveryPending || ref.Hook >= len(j.Webhooks) {
		return false, nil // it was changed meanwhile
	}
	began := d.cfg.Now().UTC()
	o := d.send(ctx, &message{
		id: job.DeliveryID(j.ID, ref.Hook), job: &j, url: j.Webhooks[ref.Hook].URL, body: payload(&j, body), receiver: before.Receiver, at: began,
		secrets: d.cfg.Secrets(j.Tenant, j.Webhooks[ref.Hook].URL),
	})
	if o == nil {
		return false, context.Cause(ctx)
	}
	change := job.DeliveryChange{
		Hook: ref.Hook, Total: before.Total,
		Attempt: &job.Attempt{At: began, Duration: o.Duration, Status: o.Status, Error: failureOf(o)},
	}
	change.State, change.NextAt = next(&before, o, d.cfg.Now().UTC())
	recording, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stopping := context.AfterFunc(ctx, func() { time.AfterFunc(recordTimeout, cancel) })
	defer stopping()
	if _, err := d.cfg.Store.ChangeDelivery(recording, ref.Tenant, ref.ID, change); err != nil {
		return o.Status == 0, err
	}
	d.metrics.attempted(change.State)
	return o.Status == 0, nil
}

// failureOf returns why an attempt failed; "" for a success.
func failureOf(o *outbound.Outcome) string {
	switch {
	case o.Class != "":
		return o.Error
	case !success(o.Status):
		return "HTTP " + strconv.Itoa(o.Status)
	}
	return ""
}

func success(status int) bool { return status >= 200 && status < 300 }

// waits are the waits after the first attempts. The last of them is made within job.DeliveryWindow, with any jitter.
var waits = [...]time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour}

// jitter is the share by which a wait is longer or shorter at random.
const jitter = 0.2

// next returns the state of a delivery after an attempt, and the time of the next one: by the schedule, but not before the
// Retry-After of the response, nor after the window.
func next(before *job.Delivery, o *outbound.Outcome, now time.Time) (job.DeliveryState, time.Time) {
	last := before.Since.Add(job.DeliveryWindow)
	switch {
	case o.Class == "" && success(o.Status):
		return job.DeliveryDone, time.Time{}
	case o.Status == http.StatusGone, before.Tries >= len(waits), !now.Before(last):
		return job.DeliveryFailed, time.Time{}
	}
	wait := float64(waits[before.Tries]) * (1 - jitter + 2*jitter*rand.Float64()) //nolint:gosec // jitter is no secret
	after := time.Duration(wait)
	if asked, ok := outbound.RetryAfter(o.Header.Get("Retry-After"), now); ok {
		after = max(after, asked)
	}
	at := now.Add(after)
	if at.After(last) {
		at = last
	}
	return job.DeliveryPending, at
}
