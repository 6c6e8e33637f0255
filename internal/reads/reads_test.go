package reads_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/reads"
)

func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := reads.NewCalls(time.Minute, 2)
		broken := errors.New("broken")
		if err := c.Do(t.Context(), func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("got %v, want the error of the call", err)
		}

		hung := make(chan struct{})
		hang := func() error { <-hung; return nil }
		start := time.Now()
		if err := c.Do(t.Context(), hang); !errors.Is(err, reads.ErrStuck) || time.Since(start) != time.Minute {
			t.Errorf("got %v after %s, want ErrStuck after a minute", err, time.Since(start))
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if err := c.Do(ctx, hang); !errors.Is(err, gone) || c.Stuck() != 2 {
			t.Errorf("got %v with %d stuck, want the cause of the context with 2", err, c.Stuck())
		}
		if err := c.Do(t.Context(), func() error { t.Error("called beyond the limit"); return nil }); !errors.Is(err, reads.ErrStuck) {
			t.Errorf("got %v, want ErrStuck", err)
		}

		over, end := context.WithCancelCause(t.Context())
		end(gone)
		if err := reads.NewCalls(time.Minute, 2).Do(over, func() error { t.Error("called when it was over"); return nil }); !errors.Is(err, gone) {
			t.Errorf("got %v, want the cause of the context", err)
		}

		close(hung)
		synctest.Wait()
		if err := c.Do(t.Context(), func() error { return nil }); err != nil || c.Stuck() != 0 {
			t.Errorf("after they returned: got %v with %d stuck, want nil with 0", err, c.Stuck())
		}
	})
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.WriteFile(file, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, filepath.Join(dir, "nothing")} {
		if f, err := reads.Open(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, %v, want fs.ErrNotExist", path, f, err)
		}
	}
	f, err := reads.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
