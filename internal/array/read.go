package array

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gather/internal/job"
	"gather/internal/mapping"
	"gather/internal/reads"
)

// Acquire opens an array for a job. Errors: job.ErrArrayNotFound, job.ErrCorrupt, job.ErrStorage, or a disk error.
func (s *Store) Acquire(_ context.Context, tenant, name string) (*Handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(tenant, name)
	if err == nil {
		err = e.usable()
	}
	if err != nil {
		return nil, err
	}
	if e.refs == 0 {
		if e.file, err = s.openFile(tenant, e); err != nil {
			return nil, err
		}
	}
	e.refs++
	return &Handle{
		Header: e.header, SHA256: e.SHA256, Use: Use(tenant, name, e.SHA256),
		Reader: &fileReader{
			store: s, entry: e, file: e.file, path: filepath.Join(s.dir(tenant), e.File),
			close: func() error { return s.release(e) },
		},
	}, nil
}

// Open returns an array and opens its file. Replacing or deleting the array does not affect open files. Errors: the
// errors of Acquire and job.ErrArrayDamaged.
func (s *Store) Open(_ context.Context, tenant, name string) (job.Array, job.ArrayFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(tenant, name)
	if err == nil && e.unreadable() {
		err = job.ErrArrayDamaged
	}
	if err == nil {
		err = e.usable()
	}
	if err != nil {
		return job.Array{}, nil, err
	}
	f, err := s.openFile(tenant, e)
	if err != nil {
		return job.Array{}, nil, err
	}
	return e.describe(), &fileReader{store: s, entry: e, file: f, close: f.Close}, nil
}

func (s *Store) openFile(tenant string, e *entry) (*os.File, error) {
	f, err := reads.Open(filepath.Join(s.dir(tenant), e.File))
	if err != nil {
		return nil, fmt.Errorf("open array: %w", err)
	}
	return f, nil
}

// usable returns why an array is known to be unreadable, or nil.
func (e *entry) usable() error {
	if e.damaged != nil {
		return fmt.Errorf("the stored file is damaged; upload it again: %w", e.damaged)
	}
	return nil
}

// release releases an acquired array.
func (s *Store) release(e *entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.refs--; e.refs > 0 {
		return nil
	}
	f := e.file
	e.file = nil
	return f.Close()
}

// fileReader is a Reader of the directory.
type fileReader struct {
	store *Store
	entry *entry
	file  *os.File
	path  string // "" if it is not mapped
	close func() error
}

// ReadAtContext implements Reader. An array found to be damaged is not opened again.
func (r *fileReader) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	n, err := r.file.ReadAt(p, off)
	if end := off + int64(n); errors.Is(err, io.EOF) && end < r.entry.Bytes && n < len(p) {
		err = fmt.Errorf("%w: the stored file ends at byte %d of %d", job.ErrCorrupt, end, r.entry.Bytes)
	} else if sums := r.entry.sums.Load(); sums != nil && n > 0 {
		if bad := sums.check(r.file, p[:n], off); bad != nil {
			err = bad
		}
	}
	if errors.Is(err, job.ErrCorrupt) {
		r.store.damage(r.entry, err)
		return 0, err
	}
	return n, err
}

// View implements Viewer. The bytes of a block are verified on its first view or read.
func (r *fileReader) View(ctx context.Context, lo, hi int64, use func(p []byte) error) error {
	if r.path == "" || hi > r.entry.Bytes {
		return mapping.ErrUnsupported
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	first, last := lo, hi
	sums := r.entry.sums.Load()
	if sums != nil { // whole blocks, to verify them
		first, last = lo/checkBytes*checkBytes, min((hi+checkBytes-1)/checkBytes*checkBytes, r.entry.Bytes)
	}
	err := r.store.cfg.Maps.Use(r.path, r.open, func(f *mapping.File) error {
		return f.View(first, last, func(p []byte) error {
			if sums != nil {
				if err := sums.verifyAll(p, first); err != nil {
					return err
				}
			}
			return use(p[lo-first : hi-first])
		})
	})
	if errors.Is(err, mapping.ErrTruncated) {
		err = fmt.Errorf("%w: %w", job.ErrCorrupt, err)
	}
	if errors.Is(err, job.ErrCorrupt) {
		r.store.damage(r.entry, err)
	}
	return err
}

// open opens the file again and maps it.
func (r *fileReader) open() (*mapping.File, error) {
	f, err := reads.Open(r.path)
	if err != nil {
		return nil, err
	}
	m, err := mapping.New(f, r.entry.Bytes)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

// Close implements Reader.
func (r *fileReader) Close() error { return r.close() }

// damage records the error of an array's file.
func (s *Store) damage(e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.damaged == nil {
		e.damaged = err
		s.log.Error("a stored array is damaged", "array", e.Name, "file", e.File, "error", err)
	}
}
