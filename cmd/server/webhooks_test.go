package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"gather/client"
	"gather/internal/tenant"
)

// hooks counts deliveries by their webhook-id. While held is locked, requests are not answered.
type hooks struct {
	*httptest.Server
	milestones
	takes time.Duration // of a request
	held  sync.RWMutex

	mu       sync.Mutex
	accepted map[string]int // by webhook-id
	refused  map[string]int
	last     http.Header
	body     []byte
}

// newHooks starts a receiver of webhooks, which refuses the first attempt of those whose id ends with two equal digits.
func newHooks(t *testing.T) *hooks {
	h := &hooks{accepted: make(map[string]int), refused: make(map[string]int)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		time.Sleep(h.takes)
		h.held.RLock()
		defer h.held.RUnlock()
		id := r.Header.Get("Webhook-Id")
		job, _, _ := strings.Cut(id, "-0")
		h.mu.Lock()
		defer h.mu.Unlock()
		h.last, h.body = r.Header, body
		if n := len(job); n > 1 && job[n-1] == job[n-2] && h.refused[id] == 0 {
			h.refused[id]++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.accepted[id]++
		h.add()
	}))
	t.Cleanup(h.Close)
	return h
}

// seen returns how many deliveries were accepted, and how often in all.
func (h *hooks) seen() (ids, total int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.accepted {
		total += n
	}
	return len(h.accepted), total
}

// submit submits n short jobs with the webhook, and returns their ids.
func (h *hooks) submit(ctx context.Context, t *testing.T, n int, do func(ctx context.Context, method, path, body string, header ...string) (*response, error)) []string {
	t.Helper()
	jobs := make([]string, n)
	for i := range jobs {
		jobs[i] = fmt.Sprintf(`{"kind":"squares","numbers":[%d],"webhooks":["%s/hook"]}`, i, h.URL)
	}
	a, err := do(ctx, http.MethodPost, "/v1/jobs:batch", `{"jobs":[`+strings.Join(jobs, ",")+`]}`, "Idempotency-Key", "all")
	if err != nil || a.status != http.StatusAccepted {
		t.Fatalf("got %+v, %v; want 202", a, err)
	}
	var b struct {
		Jobs []view `json:"jobs"`
	}
	if err := json.Unmarshal(a.body, &b); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = b.Jobs[i].ID
	}
	return ids
}

// await waits until the deliveries of jobs have ended, and checks that each was accepted at least once.
func (h *hooks) await(ctx context.Context, t *testing.T, ids []string, do func(ctx context.Context, method, path, body string, header ...string) (*response, error)) {
	t.Helper()
	for _, id := range ids {
		until(ctx, t, 5*time.Minute, "job "+id+" is delivered", func(ctx context.Context) (bool, any) {
			a, err := do(ctx, http.MethodGet, "/v1/jobs/"+id+"/deliveries", "")
			if err != nil {
				t.Fatal(err)
			}
			var list struct {
				Deliveries []struct {
					ID, State string
					Attempts  []struct{ Status int }
				}
			}
			if err := a.unmarshal(&list); err != nil {
				t.Fatal(err)
			}
			if len(list.Deliveries) != 1 || list.Deliveries[0].State != "delivered" {
				return false, string(a.body)
			}
			d := list.Deliveries[0]
			if n := len(d.Attempts); n == 0 || d.Attempts[n-1].Status != http.StatusOK || d.ID != id+"-0" {
				t.Errorf("job %s was delivered after %+v, want a last attempt with status 200", id, d)
			}
			return true, nil
		})
		h.mu.Lock()
		if h.accepted[id+"-0"] == 0 {
			t.Errorf("job %s: its delivery is recorded, and was not received", id)
		}
		h.mu.Unlock()
	}
	n, total := h.seen()
	t.Logf("%d deliveries were received %d times", n, total)
}

// A server that is killed while it delivers loses no delivery.
func TestWebhooksCrash(t *testing.T) {
	t.Parallel()
	const n, kills = 800, 3
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	h := newHooks(t)
	h.takes = 5 * time.Millisecond
	p := startProcess(t, "--http-allow=127.0.0.1")
	c := newClient(p)
	ids := h.submit(ctx, t, n, c.do)
	for k := range kills {
		h.reach(ctx, (k+1)*n/(kills+2))
		p.kill()
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	h.await(ctx, t, ids, c.do)
}

// The webhooks of a tenant and its secrets are in the key file, which SIGHUP reloads.
func TestTenantWebhooks(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	h := newHooks(t)
	key, text, err := tenant.Generate("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func(secrets ...string) {
		t.Helper()
		data, err := json.Marshal(tenant.File{Keys: []tenant.Key{key}, Tenants: map[string]tenant.Settings{
			"acme": {WebhookSecrets: secrets, Webhooks: []tenant.Webhook{{URL: h.URL + "/own", Events: []string{"job.cancelled"}}}},
		}})
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(secrets[0])
	p := startProcess(t, "--http-allow=127.0.0.1", "--api-keys="+file)
	c := newClientAs(p, text)
	// cancelled cancels a job, and verifies the request to the tenant's webhook with some of the secrets.
	cancelled := func(valid ...bool) {
		t.Helper()
		before := h.count()
		v, err := c.submit(ctx, `{"kind":"sleep_batch","count":1,"duration":"1h"}`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.api.Cancel(ctx, v.ID); err != nil {
			t.Fatal(err)
		}
		h.reach(ctx, before+1)
		h.mu.Lock()
		defer h.mu.Unlock()
		var body client.JobEnded
		if err := json.Unmarshal(h.body, &body); err != nil || body.Type != client.JobEndedTypeJobCancelled || body.Data.ID != v.ID ||
			body.Data.State != "cancelled" || body.Data.FinishedAt == nil || !body.Timestamp.Equal(*body.Data.FinishedAt) {
			t.Errorf("got %s, %v; want the end of job %s", h.body, err, v.ID)
		}
		if id := h.last.Get("Webhook-Id"); id != v.ID+"-0" {
			t.Errorf("got webhook-id %q, want %s-0", id, v.ID)
		}
		for i, want := range valid {
			wh, err := standardwebhooks.NewWebhook(secrets[i])
			if err != nil {
				t.Fatal(err)
			}
			if err := wh.Verify(h.body, h.last); (err == nil) != want {
				t.Errorf("secret %d: got %v, want a valid signature: %t", i, err, want)
			}
		}
	}
	// Another end is not reported.
	if _, err := c.submit(ctx, `{"kind":"squares","numbers":[1]}`, client.WithWait(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	cancelled(true, false)
	write(secrets...)
	until(ctx, t, 5*time.Minute, "the key file is reloaded", func(context.Context) (bool, any) { // SIGHUP is not answered
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(p.log.String(), "reloaded the key file"), p.log.String()
	})
	cancelled(true, true)
	if n, total := h.seen(); n != 2 || total != 2 {
		t.Errorf("%d deliveries were received %d times, want 2", n, total)
	}
}

func TestParseSettings(t *testing.T) {
	for name, c := range map[string]struct {
		settings tenant.Settings
		wrong    string
	}{
		"all": {tenant.Settings{
			WebhookSecrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, Webhooks: []tenant.Webhook{{URL: "https://a.example"}},
		}, ""},
		"secret":       {tenant.Settings{WebhookSecrets: []string{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}, "tenants.acme.webhook_secrets[0]: "},
		"own secret":   {tenant.Settings{Webhooks: []tenant.Webhook{{URL: "https://a.example", Secrets: []string{"x"}}}}, "tenants.acme.webhooks[0].secrets[0]: "},
		"URL":          {tenant.Settings{Webhooks: []tenant.Webhook{{URL: "a.example"}}}, "tenants.acme.webhooks[0].url: "},
		"event":        {tenant.Settings{Webhooks: []tenant.Webhook{{URL: "https://a.example", Events: []string{"job.failed", "failed"}}}}, "tenants.acme.webhooks[0].events[1]: "},
		"HTTP":         {tenant.Settings{HTTPAllow: &[]string{"a.example", "10.0.0.0/8"}, HTTPRate: "5/s", HTTPInFlight: 3}, ""},
		"allowed host": {tenant.Settings{HTTPAllow: &[]string{"a.example", "a b"}}, "tenants.acme.http_allow: \"a b\""},
		"rate":         {tenant.Settings{HTTPRate: "5"}, "tenants.acme.http_rate: must be a rate"},
		"in flight":    {tenant.Settings{HTTPInFlight: -1}, "tenants.acme.http_in_flight: "},
		"unknown name": {tenant.Settings{Webhooks: []tenant.Webhook{{URL: "https://a.example", Events: []string{"job.started"}}}}, "job.succeeded, job.failed or job.cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseSettings(map[string]tenant.Settings{"acme": c.settings})
			if got := fmt.Sprint(err); (err != nil) != (c.wrong != "") || !strings.Contains(got, c.wrong) {
				t.Errorf("got %q, want %q", got, c.wrong)
			}
			for _, secret := range c.settings.WebhookSecrets {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error has the secret: %v", err)
				}
			}
		})
	}
}
