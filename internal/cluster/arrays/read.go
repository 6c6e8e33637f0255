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

// Acquire opens an array for a job. Errors: job.ErrArrayNotFound; job.ErrStorage; job.ErrCorrupt.
func (s *Store) Acquire(ctx context.Context, tenant, name string) (*array.Handle, error) {
	if array.CheckName(name) != nil {
		return nil, job.ErrArrayNotFound
	}
	k := arrayKey{tenant, name}
	s.count(k, 1) // before it is looked at, so that a change by this node sees either the handle or that there is none
	r, err := s.waitUnlocked(ctx, k)
	if err = openable(r, err); err != nil {
		s.count(k, -1)
		return nil, err
	}
	return &array.Handle{
		Header: r.header(), SHA256: r.SHA256, Use: r.mark(), Reader: &reader{store: s, record: r, close: func() { s.count(k, -1) }},
	}, nil
}

// openable returns why an array cannot be opened.
func openable(r *record, err error) error {
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

// Open describes an array and opens its file. When the array is replaced or deleted meanwhile, reads of the file fail.
// Errors: job.ErrArrayNotFound, job.ErrArrayDamaged, job.ErrStorage.
func (s *Store) Open(ctx context.Context, tenant, name string) (job.Array, job.ArrayFile, error) {
	if array.CheckName(name) != nil {
		return job.Array{}, nil, job.ErrArrayNotFound
	}
	r, err := s.waitUnlocked(ctx, arrayKey{tenant, name})
	if err == nil && r != nil && r.broken != nil {
		err = job.ErrArrayDamaged
	}
	if err = openable(r, err); err != nil {
		return job.Array{}, nil, err
	}
	return s.describe(r), &reader{store: s, record: r, close: func() {}}, nil
}

// count counts the handles of an array.
func (s *Store) count(k arrayKey, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[k] += n; s.open[k] == 0 {
		delete(s.open, k)
	}
}

// reader reads the blocks of an array. Its goroutines end before the read that they are of.
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

// maxFetches bounds how many blocks one read fetches at the same time.
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
	if err := r.each(ctx, first, last, func(ctx context.Context, i int64) error {
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

// each does f with the numbers from first to last, some at the same time, until one fails.
func (r *reader) each(ctx context.Context, first, last int64, f func(ctx context.Context, i int64) error) error {
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

// blockKey names a block of an upload, whose bytes never change.
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

// fetch reads a block from any server. One that lags may not have it: then the leader is read.
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

// apiPrefix leads the subjects of JetStream's requests.
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
