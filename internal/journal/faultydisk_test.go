package journal_test

import (
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"gather/internal/job"
)

// A disk is a file system that fails or hangs on request.
type disk struct {
	*errorfs.FS
	mem *vfs.MemFS
	// fault returns the error of an operation; nil for success.
	fault atomic.Pointer[func(op errorfs.Op) error]
	mu    sync.Mutex
	gate  chan struct{}
}

func newDisk() *disk {
	d := &disk{mem: vfs.NewCrashableMem()}
	d.FS = errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f := d.fault.Load(); f != nil {
			return (*f)(op)
		}
		// A fault that comes while the sync hangs is the sync's.
		if op.Kind == errorfs.OpFileSyncData && filepath.Ext(op.Path) == ".log" {
			d.mu.Lock()
			gate := d.gate
			d.mu.Unlock()
			if gate != nil {
				<-gate
				if f := d.fault.Load(); f != nil {
					return (*f)(op)
				}
			}
		}
		return nil
	}))
	return d
}

func (d *disk) fail(f func(op errorfs.Op) error) {
	if f == nil {
		d.fault.Store(nil)
		return
	}
	d.fault.Store(&f)
}

// hang blocks every sync of the log until the returned function is called.
func (d *disk) hang() (resume func()) {
	gate := make(chan struct{})
	d.mu.Lock()
	d.gate = gate
	d.mu.Unlock()
	return sync.OnceFunc(func() {
		d.mu.Lock()
		d.gate = nil
		d.mu.Unlock()
		close(gate)
	})
}

var errDisk = errors.New("no space left on this device")

// writes fails every operation that changes the disk.
func writes(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
		return errDisk
	}
	return nil
}

// until polls a condition that has no event to wait for.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for !f() {
		select {
		case <-t.Context().Done():
			t.Fatalf("never: %s", what)
		case <-time.After(100 * time.Microsecond):
		}
	}
}

func submission(tenant string) (job.ID, job.Submitted) {
	id := job.NewID()
	return id, job.Submitted{Spec: []byte("{}"), Job: job.Job{
		ID: id, Tenant: tenant, Kind: "squares", Priority: job.Normal, State: job.Queued, Tasks: 2,
		Progress: job.Progress{Total: 5}, CreatedAt: time.Now().UTC(), Retention: time.Hour,
	}}
}

func entry(id job.ID, events ...job.Event) job.Batch {
	return job.Batch{Entries: []job.Entry{{ID: id, Events: events}}}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func wantErr(tb testing.TB, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Fatalf("error is %v, want %v", err, target)
	}
}
