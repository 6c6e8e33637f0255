package arrays

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// Put reads an .npy file from r and stores it under a name, in place of an array before. It reports whether the name is
// new. Its errors are those of package array's. After a job.ErrStorage, or the end of ctx, the array may be the new one.
func (s *Store) Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error) {
	if err := s.limits.Admit(name, o); err != nil {
		return job.Array{}, false, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return job.Array{}, false, err
	}
	up := &upload{store: s, ctx: ctx, key: arrayKey{tenant, name}, id: id.String(), precondition: o.Precondition}
	defer up.end()
	var now usage
	err = s.retry(ctx, shortPatience, func(ctx context.Context) error {
		last, err := s.last(ctx, s.all(tenant))
		if err == nil && last != nil {
			now, err = s.tallyOf(ctx, tenant, last)
		}
		if err != nil {
			return err
		}
		old, err := s.record(ctx, up.key)
		if err != nil {
			return err
		}
		if err := o.Precondition.Check(old.tag()); err != nil {
			return permanentError{err}
		}
		return nil
	})
	if err != nil {
		return job.Array{}, false, err
	}
	up.others = now.bytes
	content, err := s.limits.Receive(ctx, r, o, up)
	if err == nil {
		err = up.flush()
	}
	if err != nil {
		return job.Array{}, false, err
	}
	next := newRecord(up.key, up.id, &content, s.cfg.BlockBytes)
	old, err := up.commit(next)
	if err != nil {
		return job.Array{}, false, err
	}
	if old != nil && old.broken == nil {
		s.clean(ctx, "remove the blocks of an array", func(ctx context.Context) error { return s.purge(ctx, old.Upload) })
	}
	return s.describe(next), old == nil, nil
}

// UploadMemory returns the most bytes that the buffers of one upload hold.
func (s *Store) UploadMemory() int64 { return (inFlight + 1) * s.cfg.BlockBytes }

// inFlight is how many blocks of an upload are being stored at the same time.
const inFlight = 4

// upload is an array on its way in. Its goroutines, one for each block that is being stored, end before it does.
type upload struct {
	store  *Store
	ctx    context.Context //nolint:containedctx // an io.Writer has no other way
	key    arrayKey
	id     string
	others int64 // bytes of the tenant's arrays when it began
	bytes  int64 // counted as the tenant's under way
	kept   bool
	prior  *record // that the upload was last meant to replace
	// precondition must hold for the replaced array.
	precondition job.Precondition

	block  []byte // being filled
	number int64
	slots  chan []byte // buffers that are free, made as they are needed
	made   int
	wg     sync.WaitGroup

	mu     sync.Mutex
	err    error // the first
	unsure bool  // a block may still be stored
}

// Write implements io.Writer for the bytes of the client.
func (u *upload) Write(p []byte) (int, error) {
	if err := u.grow(int64(len(p))); err != nil {
		return 0, err
	}
	size := int(u.store.cfg.BlockBytes)
	for n := 0; n < len(p); {
		if u.block == nil {
			u.block = u.buffer(size)
		}
		k := min(len(p)-n, size-len(u.block))
		u.block = append(u.block, p[n:n+k]...)
		n += k
		if len(u.block) == size {
			if err := u.send(); err != nil {
				return n, err
			}
		}
	}
	return len(p), nil
}

// grow counts n more bytes, and stops an upload that cannot be committed, as far as this node can decide.
func (u *upload) grow(n int64) error {
	s := u.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.limits.CheckQuota(u.others + s.underWay[u.key.tenant] + n); err != nil {
		return err
	}
	s.underWay[u.key.tenant] += n
	u.bytes += n
	return nil
}

// buffer returns an empty block; there are inFlight of them, and one that is being filled.
func (u *upload) buffer(size int) []byte {
	if u.slots == nil {
		u.slots = make(chan []byte, inFlight+1)
	}
	if u.made <= inFlight {
		select {
		case b := <-u.slots:
			return b
		default:
			u.made++
			return make([]byte, 0, size)
		}
	}
	return <-u.slots
}

// send stores the block. The first is waited for: then every upload that left anything behind left its first block.
func (u *upload) send() error {
	b, number := u.block, u.number
	u.block, u.number = nil, number+1
	u.wg.Go(func() {
		err := u.publish(number, b)
		u.mu.Lock()
		if u.err == nil {
			u.err = err
		}
		u.mu.Unlock()
		u.slots <- b[:0]
	})
	if number == 0 {
		u.wg.Wait()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *upload) publish(number int64, b []byte) error {
	s := u.store
	// A block that was sent is stored also when the client has gone, so that all blocks to remove are known.
	return s.retry(context.WithoutCancel(u.ctx), longPatience, func(ctx context.Context) error {
		// A block that is stored twice is stored once: a subject has one message.
		_, err := s.js.Publish(ctx, s.blockSubject(u.id, number), b, jetstream.WithExpectStream(s.streamName()))
		if _, refused := errors.AsType[*jetstream.APIError](err); err != nil && !refused {
			u.mu.Lock()
			u.unsure = true
			u.mu.Unlock()
		}
		return err
	})
}

// flush stores the last block and waits for all.
func (u *upload) flush() error {
	if len(u.block) > 0 {
		_ = u.send() // which remembers it
	}
	u.wg.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// commit makes the upload the array of its name, and returns the one that it replaced.
func (u *upload) commit(next *record) (*record, error) {
	for {
		old, err := u.tryCommit(next)
		if err == nil {
			u.kept = true
		}
		if !errors.Is(err, errLost) {
			return old, err
		}
	}
}

func (u *upload) tryCommit(next *record) (*record, error) {
	s, k := u.store, u.key
	prior, err := s.waitUnlocked(u.ctx, k)
	if err != nil {
		return nil, err
	}
	if prior != nil && prior.Upload == u.id { // a try that seemed lost
		return u.prior, nil
	}
	if err := u.precondition.Check(prior.tag()); err != nil {
		return nil, err
	}
	if prior != nil && prior.broken == nil { // a broken one cannot be opened
		if err := s.idle(u.ctx, prior); err != nil {
			return nil, err
		}
		if prior, err = s.lock(u.ctx, k, u.id, u.precondition); err != nil {
			return nil, err
		}
	}
	u.prior = prior
	c := &change{decide: func(old *record, t usage) (*record, error) {
		switch {
		case old != nil && old.Upload == u.id:
			return nil, errDone
		case (old == nil) != (prior == nil), old != nil && !old.lockedAs(prior, u.id):
			return nil, errLost
		}
		return next, s.limits.CheckQuota(t.with(old, next).bytes)
	}}
	err = s.change(u.ctx, k, c)
	// The outcome of a message without an answer is unknown.
	u.kept = u.kept || c.unsure
	if err != nil && prior != nil && prior.broken == nil {
		s.clean(u.ctx, "unseal an array", func(ctx context.Context) error { return s.unseal(ctx, k, u.id) })
	}
	return prior, err
}

// end removes the blocks, unless they are an array's or may become one's: then they are left to the sweep.
func (u *upload) end() {
	u.wg.Wait()
	s := u.store
	s.mu.Lock()
	if s.underWay[u.key.tenant] -= u.bytes; s.underWay[u.key.tenant] == 0 {
		delete(s.underWay, u.key.tenant)
	}
	s.mu.Unlock()
	if !u.kept && !u.unsure && u.number > 0 {
		s.clean(u.ctx, "remove the blocks of an upload", func(ctx context.Context) error { return s.purge(ctx, u.id) })
	}
}
