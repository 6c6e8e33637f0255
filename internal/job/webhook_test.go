package job_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"gather/internal/job"
)

// A job is kept for its retention, one that failed for its own, and one with webhooks for its end at least until the last attempt.
func TestRetention(t *testing.T) {
	hooks := []job.Webhook{{URL: "https://a.example", Events: job.EventOf(job.Failed)}}
	for _, c := range []struct {
		name      string
		retention time.Duration
		failed    time.Duration
		hooks     []job.Webhook
		end       job.State
		want      time.Duration
	}{
		{"short", time.Minute, 0, hooks, job.Failed, job.DeliveryWindow},
		{"long", 48 * time.Hour, 0, hooks, job.Failed, 48 * time.Hour},
		{"another end", time.Minute, 0, hooks, job.Succeeded, time.Minute},
		{"failed", time.Minute, time.Hour, nil, job.Failed, time.Hour},
		{"failed, shorter", time.Hour, time.Minute, nil, job.Failed, time.Minute},
		{"failed, without its own", time.Minute, 0, nil, job.Failed, time.Minute},
		{"failed, with webhooks", time.Minute, time.Hour, hooks, job.Failed, job.DeliveryWindow},
		{"succeeded", time.Minute, time.Hour, nil, job.Succeeded, time.Minute},
		{"cancelled", time.Minute, time.Hour, nil, job.Cancelled, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := submitted()
			s.Job.Webhooks, s.Job.Retention, s.Job.FailedRetention = c.hooks, c.retention, c.failed
			events := []job.Event{s, job.Started{At: at}, job.Finished{At: at, State: c.end}}
			if c.end == job.Cancelled {
				events = slices.Insert(events, 2, job.Event(job.CancelRequested{At: at}))
			}
			var j job.Job
			for _, ev := range events {
				var err error
				if j, err = job.Apply(j, ev); err != nil {
					t.Fatal(err)
				}
			}
			if got := j.ExpiresAt.Sub(j.FinishedAt); got != c.want {
				t.Errorf("it is kept for %s, want %s", got, c.want)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	for _, s := range []job.State{job.Succeeded, job.Failed, job.Cancelled} {
		if got, err := job.ParseEvent(job.EventName(s)); err != nil || got != job.EventOf(s) || got&job.AllEvents == 0 {
			t.Errorf("event of %s: got %d, %v; want %d", s, got, err, job.EventOf(s))
		}
	}
	for _, name := range []string{"", "job.", "job.running", "failed", "job.Failed"} {
		if got, err := job.ParseEvent(name); err == nil {
			t.Errorf("event %q: got %d, want an error", name, got)
		}
	}
}

func TestDeliveriesApply(t *testing.T) {
	j := submitted().Job
	j.State, j.FinishedAt = job.Failed, at
	j.Webhooks = []job.Webhook{
		{URL: "https://a.example:1/x", Events: job.AllEvents},
		{URL: "https://b.example/", Events: job.EventOf(job.Succeeded)},
		{URL: "http://A.example:1/y", Events: job.EventOf(job.Failed)},
	}
	ds := job.NewDeliveries(&j)
	if len(ds) != 2 || ds[0].Hook != 0 || ds[1].Hook != 2 || ds[0].Receiver != ds[1].Receiver {
		t.Fatalf("got %+v, want webhooks 0 and 2 of one receiver", ds)
	}
	change := func(c job.DeliveryChange, want error) {
		t.Helper()
		after, err := ds.Apply(c)
		if !errors.Is(err, want) {
			t.Fatalf("%+v: got error %v, want %v", c, err, want)
		}
		ds = after
	}
	attempt := func(total int, state job.DeliveryState) job.DeliveryChange {
		return job.DeliveryChange{Hook: 2, Total: total, Attempt: &job.Attempt{At: at.Add(time.Duration(total))}, State: state}
	}
	change(attempt(1, job.DeliveryPending), job.ErrTransition)
	change(job.DeliveryChange{Hook: 1}, job.ErrTransition)
	for i := range job.MaxAttempts + 5 {
		change(attempt(i, job.DeliveryPending), nil)
	}
	d, _ := ds.Of(2)
	if d.Total != job.MaxAttempts+5 || len(d.Attempts) != job.MaxAttempts || !d.Attempts[0].At.Equal(at.Add(5)) {
		t.Errorf("got %d attempts, %d of them from %s; want the last %d of %d", d.Total, len(d.Attempts), d.Attempts[0].At, job.MaxAttempts, job.MaxAttempts+5)
	}
	change(attempt(d.Total, job.DeliveryFailed), nil)
	change(attempt(d.Total+1, job.DeliveryDone), job.ErrTransition)
	again := at.Add(time.Hour)
	change(job.DeliveryChange{Hook: 2, NextAt: again}, nil)
	if d, _ = ds.Of(2); d.State != job.DeliveryPending || d.Tries != 0 || !d.Since.Equal(again) || !d.NextAt.Equal(again) {
		t.Errorf("after a retry: %+v, want a new series", d)
	}
}

func FuzzDecodeDeliveries(f *testing.F) {
	f.Add(goldenValues()["deliveries"].(job.Deliveries).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		ds, err := job.DecodeDeliveries(data)
		if err != nil {
			if !errors.Is(err, job.ErrCorrupt) && !errors.Is(err, job.ErrVersion) {
				t.Errorf("error %v is of no kind", err)
			}
			return
		}
		if again, err := job.DecodeDeliveries(ds.AppendBinary(nil)); err != nil || !reflect.DeepEqual(again, ds) {
			t.Errorf("%+v became %+v, %v", ds, again, err)
		}
	})
}
