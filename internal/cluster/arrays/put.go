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

// Put reads an .npy file from r and stores it under a name, in place of an existing array. It reports whether the name is
// new. It returns the errors of array.Store.Put. After a job.ErrStorage, or the end of ctx, the new array may be stored.
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
	err = s.retry(ctx, requestTimeout, func(ctx context.Context) error {
		last, err := s.last(ctx, s.tenantSubject(tenant))
		if err == nil && last != nil {
			now, err = s.tenantUsage(ctx, tenant, last)
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
	up.otherBytes = now.bytes
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

// UploadMemory returns the maximum number of bytes in the buffers of one upload.
func (s *Store) UploadMemory() int64 { return (parallelBlocks + 1) * s.cfg.BlockBytes }

// parallelBlocks is the number of blocks of an upload that are stored concurrently.
const parallelBlocks = 4

// An upload is an array that is being received. It ends after its goroutines, one for each block that is being stored.
type upload struct {
	store      *Store
	ctx        context.Context //nolint:containedctx // an io.Writer has no other way
	key        arrayKey
	id         string
	otherBytes int64 // bytes of the tenant's arrays at the start
	bytes      int64 // counted in Store.uploading
	kept       bool
	prior      *record // the array that the last commit attempt replaces
	// precondition must hold for the replaced array.
	precondition job.Precondition

	block  []byte // being filled
	number int64
	slots  chan []byte // free buffers, created on demand
	made   int
	wg     sync.WaitGroup

	mu     sync.Mutex
	err    error // the first
	unsure bool  // a block may still be stored
}

// Write implements io.Writer for the bytes of the client.
func (u *upload) Write(p []byte) (int, error) {
	if err := u.countBytes(int64(len(p))); err != nil {
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

// countBytes counts n more bytes, and returns an error if the upload exceeds the quota as far as this node can decide.
func (u *upload) countBytes(n int64) error {
	s := u.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.limits.CheckQuota(u.otherBytes + s.uploading[u.key.tenant] + n); err != nil {
		return err
	}
	s.uploading[u.key.tenant] += n
	u.bytes += n
	return nil
}

// buffer returns an empty block. There are parallelBlocks of them, and one that is being filled.
func (u *upload) buffer(size int) []byte {
	if u.slots == nil {
		u.slots = make(chan []byte, parallelBlocks+1)
	}
	if u.made <= parallelBlocks {
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

// send stores the current block. It waits for the first block, so that the sweep finds every upload by its first block.
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
	// Storing a block continues after the client has disconnected, so that all blocks to remove are known.
	return s.retry(context.WithoutCancel(u.ctx), uploadTimeout, func(ctx context.Context) error {
		// A repeated publish does no harm, because a subject has one message.
		_, err := s.js.Publish(ctx, s.blockSubject(u.id, number), b, jetstream.WithExpectStream(s.streamName()))
		if _, rejected := errors.AsType[*jetstream.APIError](err); err != nil && !rejected {
			u.mu.Lock()
			u.unsure = true
			u.mu.Unlock()
		}
		return err
	})
}

// flush stores the last block and waits for all blocks.
func (u *upload) flush() error {
	if len(u.block) > 0 {
		_ = u.send() // the error is in u.err
	}
	u.wg.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// commit makes the upload the array of its name, and returns the replaced array.
func (u *upload) commit(next *record) (*record, error) {
	for {
		old, err := u.tryCommit(next)
		if err == nil {
			u.kept = true
		}
		if !errors.Is(err, errChanged) {
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
	if prior != nil && prior.Upload == u.id { // an earlier attempt succeeded
		return u.prior, nil
	}
	if err := u.precondition.Check(prior.tag()); err != nil {
		return nil, err
	}
	if prior != nil && prior.broken == nil { // a broken one cannot be opened
		if err := s.waitIdle(u.ctx, prior); err != nil {
			return nil, err
		}
		if prior, err = s.lock(u.ctx, k, u.id, u.precondition); err != nil {
			return nil, err
		}
	}
	u.prior = prior
	var at uint64
	c := &recordUpdate{}
	c.next = func(old *record, t usage) (*record, error) {
		switch {
		case old != nil && old.Upload == u.id:
			return nil, errNoUpdate
		case (old == nil) != (prior == nil), old != nil && !old.lockedAs(prior, u.id), c.unsure && c.at != at:
			return nil, errChanged
		}
		at = c.at
		return next, s.limits.CheckQuota(t.with(old, next).bytes)
	}
	err = s.updateRecord(u.ctx, k, c)
	// Without an acknowledgement the array may be stored.
	u.kept = u.kept || c.unsure
	// It may have been stored, and then been replaced or deleted with its blocks. Storing the record again would bring back an
	// array without blocks.
	err = c.decide(err)
	if err != nil && prior != nil && prior.broken == nil {
		s.clean(u.ctx, "unlock an array", func(ctx context.Context) error { return s.unlock(ctx, k, u.id) })
	}
	return prior, err
}

// end removes the blocks, unless they belong to an array or may become one; the sweep decides about the latter.
func (u *upload) end() {
	u.wg.Wait()
	s := u.store
	s.mu.Lock()
	if s.uploading[u.key.tenant] -= u.bytes; s.uploading[u.key.tenant] == 0 {
		delete(s.uploading, u.key.tenant)
	}
	s.mu.Unlock()
	if !u.kept && !u.unsure && u.number > 0 {
		s.clean(u.ctx, "remove the blocks of an upload", func(ctx context.Context) error { return s.purge(ctx, u.id) })
	}
}
