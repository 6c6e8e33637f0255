package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/job"
)

// maxWebhooks bounds the webhooks of a submission.
const maxWebhooks = 10

// readWebhooks reads the webhooks of a submission, and adds the tenant's.
func (s *server) readWebhooks(tenant string, v jsontext.Value, errs *fields.Errors) []job.Webhook {
	var hooks []job.Webhook
	switch {
	case !given(v):
	case v.Kind() != '[':
		errs.Add("/webhooks", "must be an array of URLs")
	default:
		for i, one := range fields.Elements(v) {
			if i == maxWebhooks {
				errs.Add("/webhooks", "at most %d webhooks", maxWebhooks)
				break
			}
			url := fields.Text(one)
			err := errNoURL
			if url != "" {
				err = s.Webhooks.CheckWebhook(tenant, url)
			}
			if err != nil {
				errs.Add("/webhooks/"+strconv.FormatInt(i, 10), "%v", err)
			}
			hooks = append(hooks, job.Webhook{URL: url, Events: job.AllEvents})
		}
	}
	return append(hooks, s.Webhooks.TenantWebhooks(tenant)...)
}

var errNoURL = errors.New("must be a URL")

// appendWebhooks appends the webhooks that the submission of a job named.
func appendWebhooks(b []byte, hooks []job.Webhook) []byte {
	sep := `,"webhooks":[`
	for _, w := range hooks {
		if !w.Standing {
			b = appendString(append(b, sep...), w.URL)
			sep = ","
		}
	}
	if sep == "," {
		b = append(b, ']')
	}
	return b
}

// listDeliveries implements GET /v1/jobs/{job_id}/deliveries.
func (s *server) listDeliveries(x *requestState) error {
	if err := s.refresh(x); err != nil {
		return err
	}
	j, err := s.find(x)
	if err != nil {
		return err
	}
	ds, err := s.Deliveries.Deliveries(x, j.Tenant, j.ID)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return err
	}
	list := DeliveryList{Deliveries: []Delivery{}}
	for i := range ds {
		list.Deliveries = append(list.Deliveries, deliveryModel(&j, &ds[i]))
	}
	x.Header()["Cache-Control"] = privateNoCache
	s.setAge(x)
	return x.writeJSON(http.StatusOK, list)
}

// retryDelivery implements POST /v1/jobs/{job_id}/deliveries/{delivery_id}/retry.
func (s *server) retryDelivery(x *requestState) error {
	j, err := s.find(x)
	if err != nil {
		return err
	}
	if !j.State.Terminal() {
		return job.ErrNotFinished
	}
	noDelivery := &problem{entry: noSuchResource, detail: "The job has no such delivery. GET its deliveries for the ids."}
	id := x.param("delivery_id")
	hook, err := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
	if err != nil || hook < 0 || job.DeliveryID(j.ID, hook) != id {
		return noDelivery
	}
	ds, err := s.Deliveries.ChangeDelivery(x, j.Tenant, j.ID, job.DeliveryChange{Hook: hook, NextAt: s.Wall().UTC()})
	if errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrTransition) {
		return noDelivery
	}
	if err != nil {
		return err
	}
	d, ok := ds.Of(hook)
	if !ok {
		return noDelivery
	}
	x.Header()["Cache-Control"] = privateNoCache
	return x.writeJSON(http.StatusAccepted, deliveryModel(&j, &d))
}

// deliveryModel returns a delivery as clients see it.
func deliveryModel(j *job.Job, d *job.Delivery) Delivery {
	m := Delivery{
		Id: job.DeliveryID(j.ID, d.Hook), Event: DeliveryEvent(job.EventName(j.State)), State: DeliveryState(d.State.String()),
		AttemptCount: int64(d.Total), Attempts: []DeliveryAttempt{},
	}
	if d.Hook < len(j.Webhooks) {
		m.Url = j.Webhooks[d.Hook].URL
	}
	if !d.NextAt.IsZero() {
		m.NextAttemptAt = new(d.NextAt.UTC())
	}
	for _, a := range d.Attempts {
		one := DeliveryAttempt{At: a.At.UTC(), DurationMs: float64(a.Duration) / 1e6}
		if a.Status > 0 {
			one.Status = new(int64(a.Status))
		}
		if a.Error != "" {
			one.Error = new(a.Error)
		}
		m.Attempts = append(m.Attempts, one)
	}
	return m
}

// EncodeJob implements Handler.
func (s *server) EncodeJob(ctx context.Context, tenant string, id job.ID) (j job.Job, body []byte, err error) {
	if j, err = s.Jobs.Get(ctx, tenant, id); err != nil {
		return j, nil, err
	}
	view := s.view(&j, intsAsNumbers)
	if view.values, err = s.values(ctx, &j, intsAsNumbers); err != nil {
		return j, nil, err
	}
	if view.submission, err = s.shownSubmission(ctx, &j); err != nil {
		return j, nil, err
	}
	return j, appendJob(nil, &view), nil
}
