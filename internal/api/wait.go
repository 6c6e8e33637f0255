package api

import (
	"context"
	"net/http"
	"time"

	"gather/internal/job"
)

// await returns the job when it is in the state that the client waits for, or in its current state when the wait is over
// or the server stops.
func (s *server) await(ctx context.Context, j job.Job, wait time.Duration, done func(*job.Job) bool) (job.Job, error) {
	if done(&j) {
		return j, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	changed, stop := s.Log.Watch(j.ID)
	defer stop()
	for {
		// Only reads after the start of Watch miss nothing.
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

// writePiece is the size of one write to a client, so that its rate can be measured.
const writePiece = 16 << 10

// push writes b to a client, which is cut off when it stalls or is slower than minRate over WriteTimeout. So is a stream
// whose API key was revoked. The readers' budget counts b while it is written, if the answer holds a part of the budget.
func (s *server) push(x *requestState, b []byte) error {
	if x.read > 0 {
		buffer := int64(cap(b))
		x.holdRead(x.read + buffer)
		defer func() { x.holdRead(x.read - buffer) }()
	}
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

// flush sends the bytes that net/http has buffered, as push does.
func (s *server) flush(x *requestState) error {
	return x.paced(0, http.NewResponseController(x.w).Flush)
}

// paced bounds the time of a write of n bytes.
func (x *requestState) paced(n int, write func() error) error {
	began := time.Now()
	_ = http.NewResponseController(x.w).SetWriteDeadline(began.Add(x.pace.left()))
	err := write()
	x.pace.add(n, time.Since(began))
	return err
}
