package webhook_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
	"gather/internal/outbound"
	"gather/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secrets are two valid secrets.
var secrets = []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}

// harness is a journal whose deliveries are made while run is called.
type harness struct {
	*testing.T
	dir     string
	journal *journal.Journal
	sender  *outbound.Sender
	secrets []webhook.Secret
	stop    func()
}

func newHarness(t *testing.T, texts ...string) *harness {
	h := &harness{T: t, dir: t.TempDir(), stop: func() {}}
	for _, text := range texts {
		s, err := webhook.ParseSecret(text)
		h.ok(err)
		h.secrets = append(h.secrets, s)
	}
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *harness) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// open opens the journal and starts to deliver.
func (h *harness) open() {
	h.Helper()
	var err error
	h.journal, err = journal.Open(h.Context(), journal.Config{Dir: h.dir})
	h.ok(err)
	policy, err := outbound.ParsePolicy([]string{"127.0.0.0/8"})
	h.ok(err)
	h.sender, err = outbound.New(outbound.Config{Policy: policy, InFlight: 100, Bytes: 1 << 20, Registerer: prometheus.NewRegistry()})
	h.ok(err)
	d := webhook.New(webhook.Config{
		Store: h.journal, Sender: h.sender, Secrets: func(string, string) []webhook.Secret { return h.secrets }, InFlight: 50,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Render: func(ctx context.Context, tenant string, id job.ID) (job.Job, []byte, error) {
			j, err := h.journal.Get(ctx, tenant, id)
			return j, fmt.Appendf(nil, `{"id":%q}`, id), err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	h.stop = func() {
		cancel()
		running.Wait()
	}
}

func (h *harness) close() {
	h.stop()
	h.ok(h.sender.Close())
	h.ok(h.journal.Close())
}

// end submits and ends a job with a webhook.
func (h *harness) end(tenant, url string) job.ID {
	h.Helper()
	now := time.Now().UTC()
	id := job.NewID()
	j := job.Job{
		ID: id, Tenant: tenant, Kind: "squares", Priority: job.Normal, State: job.Queued, CreatedAt: now, Retention: time.Hour,
		Webhooks: []job.Webhook{{URL: url, Events: job.AllEvents}},
	}
	h.ok(journaltest.Append(h.Context(), h.journal, job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{
		job.Submitted{Job: j, Spec: []byte("{}")}, job.Started{At: now}, job.Finished{At: now, State: job.Succeeded, Result: []byte("1")},
	}}}}))
	return id
}

// delivery waits until a delivery satisfies a condition.
func (h *harness) delivery(tenant string, id job.ID, is func(*job.Delivery) bool) job.Delivery {
	h.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		ds, err := h.journal.Deliveries(h.Context(), tenant, id)
		h.ok(err)
		if is(&ds[0]) {
			return ds[0]
		}
		if time.Now().After(end) {
			h.Fatalf("after a minute: %+v", ds[0])
		}
	}
}

func (h *harness) retry(tenant string, id job.ID) {
	h.Helper()
	_, err := h.journal.ChangeDelivery(h.Context(), tenant, id, job.DeliveryChange{NextAt: time.Now()})
	h.ok(err)
}

// receiver starts a server that answers with handle, and returns its URL.
func receiver(t *testing.T, handle http.HandlerFunc) string {
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

type request struct {
	header http.Header
	body   []byte
}

// The published library verifies the signatures of both secrets, and rejects any other.
func TestSignature(t *testing.T) {
	got := make(chan request, 10)
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- request{r.Header, body}
		w.WriteHeader(http.StatusNoContent)
	})
	h := newHarness(t, secrets...)
	id := h.end("acme", url+"/x")
	r := <-got
	if want := fmt.Sprintf(`"data":{"id":%q}}`, id); !slices.Equal([]string{string(r.body[:len(`{"type":"job.succeeded","timestamp":"2`)]), string(r.body[len(r.body)-len(want):])},
		[]string{`{"type":"job.succeeded","timestamp":"2`, want}) {
		t.Errorf("body is %s", r.body)
	}
	if id, want := r.header.Get("Webhook-Id"), job.DeliveryID(id, 0); id != want {
		t.Errorf("webhook-id is %q, want %q", id, want)
	}
	for i, text := range append(secrets, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") {
		wh, err := standardwebhooks.NewWebhook(text)
		h.ok(err)
		if err := wh.Verify(r.body, r.header); (err == nil) != (i < len(secrets)) {
			t.Errorf("secret %d of the receiver: got %v", i, err)
		}
		if wh.Verify(append(r.body, ' '), r.header) == nil {
			t.Errorf("secret %d of the receiver: a changed body was accepted", i)
		}
	}
	d := h.delivery("acme", id, func(d *job.Delivery) bool { return d.State == job.DeliveryDone })
	if d.Total != 1 || d.Attempts[0].Status != 204 || d.Attempts[0].Error != "" || !d.NextAt.IsZero() {
		t.Errorf("got %+v, want one attempt with status 204", d)
	}
	h.secrets = nil
	h.retry("acme", id)
	if r := <-got; r.header.Get("Webhook-Signature") != "" || r.header.Get("Webhook-Id") != job.DeliveryID(id, 0) {
		t.Errorf("without secrets: %v, want the same id and no signature", r.header)
	}
}

// Whatever a receiver answers is recorded, and decides whether another attempt follows. Redirects are not followed.
func TestOutcomes(t *testing.T) {
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil || status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Location", "/204")
		w.WriteHeader(status)
	})
	h := newHarness(t)
	for _, c := range []struct {
		path   string
		state  job.DeliveryState
		status int
		err    string
	}{
		{"/200", job.DeliveryDone, 200, ""},
		{"/410", job.DeliveryFailed, 410, "HTTP 410"},
		{"/307", job.DeliveryPending, 307, "HTTP 307"},
		{"/404", job.DeliveryPending, 404, "HTTP 404"},
		{"/503", job.DeliveryPending, 503, "HTTP 503"},
		{"/0", job.DeliveryPending, 0, "the connection was closed before the response was complete"},
	} {
		t.Run(c.path, func(t *testing.T) {
			id := h.end("acme", url+c.path)
			d := h.delivery("acme", id, func(d *job.Delivery) bool { return d.Total == 1 })
			a := d.Attempts[0]
			if d.State != c.state || a.Status != c.status || a.Error != c.err {
				t.Errorf("got %s after %+v, want %s after status %d, %q", d.State, a, c.state, c.status, c.err)
			}
			if wait := d.NextAt.Sub(a.At); d.State == job.DeliveryPending && (wait < 4*time.Second || wait > time.Minute) {
				t.Errorf("the next attempt is %s later, want about 5 s", wait)
			}
		})
	}
	id := h.end("acme", "http://10.0.0.1/") // not allowed
	if d := h.delivery("acme", id, func(d *job.Delivery) bool { return d.Total == 1 }); d.State != job.DeliveryPending || d.Attempts[0].Error == "" {
		t.Errorf("a host that is not allowed: got %+v, want a failed attempt", d)
	}
}

// An attempt that was cut off by a stop is made again, with the same webhook-id.
func TestRestart(t *testing.T) {
	ids := make(chan string, 10)
	hold := make(chan struct{}, 1)
	url := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the request is not noticed
		ids <- r.Header.Get("Webhook-Id")
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	h := newHarness(t)
	id := h.end("acme", url)
	first := <-ids
	h.close()
	h.open()
	hold <- struct{}{}
	if second := <-ids; second != first || first != job.DeliveryID(id, 0) {
		t.Errorf("webhook-ids are %q and %q, want %q twice", first, second, job.DeliveryID(id, 0))
	}
	if d := h.delivery("acme", id, func(d *job.Delivery) bool { return d.State == job.DeliveryDone }); d.Total != 1 {
		t.Errorf("%d attempts were recorded, want 1", d.Total)
	}
}

// A receiver that does not answer has a bounded number of attempts in flight, and delays no other.
func TestSlowReceiver(t *testing.T) {
	var mu sync.Mutex
	inFlight, most := 0, 0
	release := make(chan struct{})
	slow := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		inFlight++
		most = max(most, inFlight)
		mu.Unlock()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		mu.Lock()
		inFlight--
		mu.Unlock()
	})
	quick := receiver(t, func(http.ResponseWriter, *http.Request) {})
	h := newHarness(t)
	var waiting []job.ID
	for range 3 * webhook.PerReceiver {
		waiting = append(waiting, h.end("acme", slow))
	}
	for range 3 * webhook.PerReceiver {
		h.delivery("acme", h.end("acme", quick), func(d *job.Delivery) bool { return d.State == job.DeliveryDone })
	}
	mu.Lock()
	if inFlight == 0 || most > webhook.PerReceiver {
		t.Errorf("the slow receiver has %d requests, and had at most %d; want 1 to %d", inFlight, most, webhook.PerReceiver)
	}
	mu.Unlock()
	close(release)
	for _, id := range waiting {
		h.delivery("acme", id, func(d *job.Delivery) bool { return d.State == job.DeliveryDone })
	}
}
