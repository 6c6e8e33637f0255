package api

import (
	"context"
	"net/http"
	"time"

	"gather/internal/job"
)

// await returns the job as soon as it is what the client waits for, and as it is then when that takes longer than the
// wait, or the server stops.
func (s *server) await(ctx context.Context, j job.Job, wait time.Duration, done func(*job.Job) bool) (job.Job, error) {
	if done(&j) {
		return j, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	changed, stop := s.Log.Watch(j.ID)
	defer stop()
	for {
		// Only what is read after Watch began cannot be missed.
		now, err := s.Jobs.Get(ctx, j.Tenant, j.ID)
		if err != nil {
			return j, err
		}
		if j = now; done(&j) {
			return j, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return j, nil
		case <-exchangeOf(ctx).principal.Revoked:
			return j, errRevoked
		case <-s.Stopping.Done():
			return j, nil
		case <-ctx.Done():
			return j, context.Cause(ctx)
		}
	}
}

// flushSize is from where an answer in the making is written.
const flushSize = 64 << 10

// push writes b, under a deadline: a reader that does not keep up is cut off. So is a stream whose API key was revoked.
func (s *server) push(x *exchange, b []byte) error {
	if x.mode == modeStream && x.revoked() {
		return errRevoked
	}
	control := http.NewResponseController(x)
	_ = control.SetWriteDeadline(time.Now().Add(s.WriteTimeout))
	if _, err := x.Write(b); err != nil {
		return err
	}
	_ = control.SetWriteDeadline(time.Time{})
	return nil
}
