package arrays

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/array"
	"gather/internal/job"
)

// Acquire opens an array for a job. It returns job.ErrArrayNotFound, job.ErrStorage or job.ErrCorrupt.
func (s *Store) Acquire(ctx context.Context, tenant, name string) (*array.Handle, error) {
	if array.CheckName(name) != nil {
		return nil, job.ErrArrayNotFound
	}
	k := arrayKey{tenant, name}
	s.addHandles(k, 1) // before the record is read, so that an update by this node sees the handle
	r, err := s.waitUnlocked(ctx, k)
	if err = checkOpenable(r, err); err != nil {
		s.addHandles(k, -1)
		return nil, err
	}
	return &array.Handle{
		Header: r.header(), SHA256: r.SHA256, Use: r.refID(), Remote: true, Reader: &reader{store: s, record: r, close: func() { s.addHandles(k, -1) }},
	}, nil
}

// checkOpenable returns the reason for which an array cannot be opened; nil if it can.
func checkOpenable(r *record, err error) error {
	switch {
	case err != nil:
		return err
	case r == nil:
		return job.ErrArrayNotFound
	case r.broken != nil:
		return fmt.Errorf("the array is damaged; upload it again: %w: %w", job.ErrCorrupt, r.broken)
	}
	return nil
}

// Open describes an array and opens its file. Reads of the file fail if the array is replaced or deleted meanwhile. It
// returns job.ErrArrayNotFound, job.ErrArrayDamaged or job.ErrStorage.
func (s *Store) Open(ctx context.Context, tenant, name string) (job.Array, job.ArrayFile, error) {
	if array.CheckName(name) != nil {
		return job.Array{}, nil, job.ErrArrayNotFound
	}
	r, err := s.waitUnlocked(ctx, arrayKey{tenant, name})
	if err == nil && r != nil && r.broken != nil {
		err = job.ErrArrayDamaged
	}
	if err = checkOpenable(r, err); err != nil {
		return job.Array{}, nil, err
	}
	return s.describe(r), &reader{store: s, record: r, close: func() {}}, nil
}

// addHandles adds n to the number of open handles of an array.
func (s *Store) addHandles(k arrayKey, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handles[k] += n; s.handles[k] == 0 {
		delete(s.handles, k)
	}
}

// A reader reads the blocks of an array. The goroutines of a read end before the read.
type reader struct {
	store  *Store
	record *record
	close  func()
}

// Close implements array.Reader.
func (r *reader) Close() error {
	r.close()
	return nil
}

// maxFetches bounds the blocks that one read fetches concurrently.
const maxFetches = 8

// ReadAtContext implements array.Reader.
func (r *reader) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read before the start of the array")
	}
	var short error
	if rest := max(0, r.record.Bytes-off); int64(len(p)) > rest {
		p, short = p[:rest], io.EOF
	}
	if len(p) == 0 {
		return 0, short
	}
	size := r.record.BlockBytes
	first, last := off/size, (off+int64(len(p))-1)/size
	if err := r.forEach(ctx, first, last, func(ctx context.Context, i int64) error {
		data, err := r.block(ctx, i)
		if err != nil {
			return err
		}
		if at := i*size - off; at >= 0 {
			copy(p[at:], data)
		} else {
			copy(p, data[-at:])
		}
		return nil
	}); err != nil {
		return 0, err
	}
	return len(p), short
}

// forEach calls f with the numbers from first to last, some concurrently, until one call fails.
func (r *reader) forEach(ctx context.Context, first, last int64, f func(ctx context.Context, i int64) error) error {
	if first == last {
		return f(ctx, first)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := atomic.Int64{}
	next.Store(first)
	var wg sync.WaitGroup
	for range min(maxFetches, last-first+1) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i <= last && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := f(ctx, i); err != nil {
					stop(err)
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// A blockKey identifies a block of an upload, whose bytes never change.
type blockKey struct {
	upload string
	number int64
}

// block returns a block, which must not be changed.
func (r *reader) block(ctx context.Context, i int64) ([]byte, error) {
	s, rec := r.store, r.record
	size := min(rec.BlockBytes, rec.Bytes-i*rec.BlockBytes)
	return s.cache.Get(ctx, blockKey{rec.Upload, i}, size, func(p []byte) error {
		return s.retry(ctx, forever, func(ctx context.Context) error {
			data, err := s.fetch(ctx, rec.Upload, i)
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound):
				return permanentError{fmt.Errorf("%w: the array is damaged, or was deleted: block %d is missing", job.ErrCorrupt, i)}
			case err != nil:
				return err
			case len(data) != len(p):
				return permanentError{fmt.Errorf("%w: the array is damaged: block %d has %d bytes, not %d", job.ErrCorrupt, i, len(data), len(p))}
			}
			copy(p, data)
			return nil
		})
	})
}

// fetch reads a block from any server, and from the leader if that server lags and does not have it.
func (s *Store) fetch(ctx context.Context, upload string, number int64) ([]byte, error) {
	subject := s.blockSubject(upload, number)
	m, err := s.blocks.GetLastMsgForSubject(ctx, subject)
	if err == nil {
		return m.Data, nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, err
	}
	req, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return nil, err
	}
	answer, err := s.js.Conn().RequestWithContext(ctx, s.apiPrefix()+"STREAM.MSG.GET."+s.streamName(), req)
	if err != nil {
		return nil, err
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Data []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return nil, err
	}
	switch {
	case got.Error != nil && got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case got.Error != nil:
		return nil, got.Error
	case got.Message == nil:
		return nil, jetstream.ErrInvalidJetStreamResponse
	}
	return got.Message.Data, nil
}

// apiPrefix returns the prefix of the subjects of JetStream's API.
func (s *Store) apiPrefix() string {
	switch o := s.js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	default:
		return jetstream.DefaultAPIPrefix
	}
}
