package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"gather/internal/tenant"
)

// A delivery is a request to the webhook.
type delivery struct {
	id   string // Webhook-Id
	body string
	// kind is the type of the event, and view the job in it.
	kind string
	view view
	// status is the status of the response.
	status int
}

// hookSecret signs the requests to webhooks.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// operatorKey creates a key that may do everything, and writes the key file of the servers.
func operatorKey(dir string) (file, key string, err error) {
	k, key, err := tenant.Generate("crash", time.Now())
	if err != nil {
		return "", "", err
	}
	k.Operator = true
	content, err := json.Marshal(tenant.File{Keys: []tenant.Key{k}, Tenants: map[string]tenant.Settings{"crash": {WebhookSecrets: []string{hookSecret}}}})
	if err != nil {
		return "", "", err
	}
	file = filepath.Join(dir, "keys.json")
	return file, key, os.WriteFile(file, content, 0o600)
}

// receive starts the receiver of webhooks. The caller must close it.
func (h *history) receive(ctx context.Context) (*httptest.Server, error) {
	wh, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		return nil, err
	}
	refused := make(map[string]int)
	return serve(ctx, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // of an attempt that was cut off
		}
		d := delivery{id: r.Header.Get("Webhook-Id"), body: string(body), status: http.StatusOK}
		var e struct {
			Type string `json:"type"`
			Data view   `json:"data"`
		}
		// The clocks of servers may be set, and the library rejects old timestamps otherwise.
		if err := errors.Join(wh.VerifyIgnoringTimestamp(body, r.Header), json.Unmarshal(body, &e)); err != nil {
			h.report(fmt.Errorf("delivery %s: %w: %.300s", d.id, err, body))
		}
		d.kind, d.view = e.Type, e.Data
		h.mu.Lock()
		defer h.mu.Unlock()
		if share(d.id, 16) && refused[d.id] == 0 || share(d.id, 64) && refused[d.id] == 1 {
			refused[d.id]++
			d.status = http.StatusServiceUnavailable
		}
		h.deliveries = append(h.deliveries, d)
		w.WriteHeader(d.status)
	})
}

// share reports whether a text belongs to one of n equal shares of all.
func share(text string, n uint32) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	return h.Sum32()%n == 0
}

// deliveryTimeout is how long deliveries may take after the run: the second attempt is some 5 s after the first.
const deliveryTimeout = 3 * time.Minute

// delivered waits until a job's delivery has ended, if the job has a webhook and exists. A third attempt, which follows after some minutes
// when the receiver was too slow for the second, is asked for at once.
func (c *client) delivered(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deliveryTimeout, fmt.Errorf("job %s was not delivered within %s", id, deliveryTimeout))
	defer cancel()
	for retried := false; ; {
		a, err := c.page(ctx, "/v1/jobs/"+id+"/deliveries")
		if err != nil {
			return err
		}
		var list struct {
			Deliveries []struct {
				ID       string `json:"id"`
				State    string `json:"state"`
				Attempts []struct {
					Error string `json:"error"`
				} `json:"attempts"`
			} `json:"deliveries"`
		}
		switch err := json.Unmarshal(a.body, &list); {
		case a.status == http.StatusGone:
			return nil
		case a.status != http.StatusOK || err != nil || len(list.Deliveries) != 1:
			return fmt.Errorf("deliveries of job %s: got status %d, want one delivery: %.300s", id, a.status, a.body)
		case list.Deliveries[0].State == "delivered":
			return nil
		case list.Deliveries[0].State == "failed":
			return fmt.Errorf("the delivery of job %s failed: %.500s", id, a.body)
		case len(list.Deliveries[0].Attempts) > 1 && !retried:
			d := &list.Deliveries[0]
			r, err := c.try(ctx, http.MethodPost, "/v1/jobs/"+id+"/deliveries/"+d.ID+"/retry", nil)
			retried = err == nil && r.status == http.StatusAccepted
			c.printf("a third attempt of delivery %s is asked for: %t; the second: %s", d.ID, retried, d.Attempts[1].Error)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %.500s", context.Cause(ctx), a.body)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// checkDeliveries checks that each job with a webhook was delivered with its outcome, at least once, and in the same words each time.
func (c *checker) checkDeliveries(reports map[string]*jobReport) {
	accepted := make(map[string]bool)
	bodies := make(map[string]string)
	for i := range c.h.deliveries {
		d := &c.h.deliveries[i]
		if before, ok := bodies[d.id]; ok && before != d.body {
			c.violation("delivery %s has the bodies %.1000s and %.1000s", d.id, before, d.body)
		}
		bodies[d.id] = d.body
		if want := "job." + d.view.State; d.kind != want || !d.view.terminal() {
			c.violation("delivery %s is %s of a job that %s", d.id, d.kind, d.view.State)
		}
		if d.status == http.StatusOK {
			accepted[d.view.ID] = true
		}
		r := reports[d.view.ID]
		switch {
		case r == nil: // the response to the submission was lost
		case r.sub.webhook == "":
			c.violation("job %s has no webhook, and was delivered", r.id)
		default:
			c.see(r, &d.view)
		}
	}
	for id, r := range reports {
		if r.sub.webhook != "" && r.final != nil && !r.deleted && c.h.listed != nil && !accepted[id] {
			c.violation("job %s of %s %s, and was not delivered", id, r.sub.label, r.final.State)
		}
	}
}
