package api

import (
	"context"
	"net/http"
	"time"

	"gather/internal/job"
)

// await returns the job once done reports true, or in its current state when the wait is over or the server stops.
func (s *server) await(ctx context.Context, j job.Job, wait time.Duration, done func(*job.Job) bool) (job.Job, error) {
	if done(&j) {
		return j, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	changed, stop := s.Log.Watch(j.ID)
	defer stop()
	for {
		// Read after Watch has started, so that no change is missed.
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
		case <-requestStateOf(ctx).principal.Revoked:
			return j, errRevoked
		case <-s.Stopping.Done():
			return j, nil
		case <-ctx.Done():
			return j, context.Cause(ctx)
		}
	}
}

// flushSize is the size at which a buffered response is written.
const flushSize = 64 << 10

// writePiece is the size of one write, small enough to measure the client's rate.
const writePiece = 16 << 10

// writeWithDeadline writes b to a client. It fails for a client that stalls or reads more slowly than minRate over
// WriteTimeout, and for a stream whose API key was revoked. If the response has a share of the readers' budget, b
// counts toward it while it is written.
func (s *server) writeWithDeadline(x *requestState, b []byte) error {
	release := x.encoding(cap(b))
	defer release()
	for len(b) > 0 {
		if x.mode == modeStream && x.revoked() {
			return errRevoked
		}
		piece := b[:min(len(b), writePiece)]
		if err := x.paced(len(piece), func() error {
			_, err := x.Write(piece)
			return err
		}); err != nil {
			return err
		}
		b = b[len(piece):]
	}
	return nil
}

// flush sends the bytes that net/http has buffered, with the deadline of writeWithDeadline.
func (s *server) flush(x *requestState) error {
	return x.paced(0, http.NewResponseController(x.w).Flush)
}

// paced runs a write of n bytes with a deadline.
func (x *requestState) paced(n int, write func() error) error {
	began := time.Now()
	_ = http.NewResponseController(x.w).SetWriteDeadline(began.Add(x.pace.left()))
	err := write()
	x.pace.add(n, time.Since(began))
	return err
}
