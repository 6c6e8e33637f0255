package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/outbound"
	"gather/internal/tenant"
	"gather/internal/webhook"
)

// tenantSettings are the settings of the tenants in the key file, by tenant.
type tenantSettings map[string]tenantSetting

type tenantSetting struct {
	hooks []job.Webhook
	// secrets sign requests to the URLs that byURL does not have.
	secrets []webhook.Secret
	byURL   map[string][]webhook.Secret
	limits  outbound.Limits
}

// parseSettings checks and parses the settings of a key file. Its error joins all errors.
func parseSettings(file map[string]tenant.Settings) (tenantSettings, error) {
	parsed := make(tenantSettings, len(file))
	var errs []error
	for name, s := range file {
		add := func(where string, err error) {
			if err != nil {
				errs = append(errs, fmt.Errorf("tenants.%s.%s: %w", name, where, err))
			}
		}
		secrets := func(where string, texts []string) (list []webhook.Secret) {
			for i, text := range texts {
				one, err := webhook.ParseSecret(text)
				add(fmt.Sprintf("%s[%d]", where, i), err)
				list = append(list, one)
			}
			return list
		}
		t := tenantSetting{secrets: secrets("webhook_secrets", s.WebhookSecrets), byURL: make(map[string][]webhook.Secret)}
		t.limits.InFlight = s.HTTPInFlight
		if s.HTTPInFlight < 0 {
			add("http_in_flight", errors.New("is less than 0"))
		}
		var err error
		if s.HTTPRate != "" {
			t.limits.Interval, err = outbound.ParseRate(s.HTTPRate)
			add("http_rate", err)
		}
		if s.HTTPAllow != nil {
			t.limits.Policy, err = outbound.ParsePolicy(*s.HTTPAllow)
			add("http_allow", err)
		}
		for i, w := range s.Webhooks {
			where := fmt.Sprintf("webhooks[%d]", i)
			_, err := outbound.ParseURL(w.URL)
			add(where+".url", err)
			h := job.Webhook{URL: w.URL, Standing: true}
			for k, name := range w.Events {
				e, err := job.ParseEvent(name)
				add(fmt.Sprintf("%s.events[%d]", where, k), err)
				h.Events |= e
			}
			if len(w.Events) == 0 {
				h.Events = job.AllEvents
			}
			t.hooks = append(t.hooks, h)
			if len(w.Secrets) > 0 {
				t.byURL[w.URL] = secrets(where+".secrets", w.Secrets)
			}
		}
		parsed[name] = t
	}
	return parsed, errors.Join(errs...)
}

// applySettings replaces the settings of the tenants.
func (s *server) applySettings(file map[string]tenant.Settings) error {
	parsed, err := parseSettings(file)
	if err == nil {
		s.settings.Store(&parsed)
	}
	return err
}

// setting returns the settings of a tenant.
func (s *server) setting(name string) tenantSetting {
	if all := s.settings.Load(); all != nil {
		return (*all)[name]
	}
	return tenantSetting{}
}

// httpLimits returns the limits of a tenant's requests.
func (s *server) httpLimits(tenant string) outbound.Limits { return s.setting(tenant).limits }

// CheckWebhook implements api.Webhooks.
func (s *server) CheckWebhook(tenant, text string) error {
	u, err := outbound.ParseURL(text)
	if err != nil {
		return err
	}
	return s.outbound.Policy(tenant).Allow(u)
}

// TenantWebhooks implements api.Webhooks.
func (s *server) TenantWebhooks(tenant string) []job.Webhook { return s.setting(tenant).hooks }

// webhookSecrets returns the secrets of a tenant for a URL.
func (s *server) webhookSecrets(tenant, url string) []webhook.Secret {
	t := s.setting(tenant)
	if own, ok := t.byURL[url]; ok {
		return own
	}
	return t.secrets
}

// webhooks is the running delivery of the ends of jobs.
type webhooks struct {
	stop context.CancelFunc
	done chan struct{}
}

// openWebhooks starts the delivery of the ends of jobs.
func (s *server) openWebhooks(h api.Handler) {
	now := s.backend.wall
	if now == nil {
		now = time.Now
	}
	d := webhook.New(webhook.Config{
		Store: s.backend, Sender: s.outbound, Render: h.EncodeJob, Secrets: s.webhookSecrets,
		InFlight: max(1, int(s.cfg.HTTPInFlight.n)/4), Now: now, Logger: s.log, Registerer: s.registry,
	})
	ctx, stop := context.WithCancel(context.Background())
	s.webhooks = &webhooks{stop: stop, done: make(chan struct{})}
	go func() { // ends with closeWebhooks
		defer close(s.webhooks.done)
		d.Run(ctx)
	}()
}

// closeWebhooks ends the delivery: attempts in flight are cancelled, and made again after the next start.
func (s *server) closeWebhooks() {
	s.webhooks.stop()
	<-s.webhooks.done
}
