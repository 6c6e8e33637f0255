package retryfs_test

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gather/internal/journal/retryfs"
)

// forgetfulFS has files that lose the bytes since the last sync when a sync fails, like a kernel that drops the dirty
// pages which it could not write.
type forgetfulFS struct {
	vfs.FS
	failures atomic.Int32
}

type forgetfulFile struct {
	vfs.File
	fs           *forgetfulFS
	name         string
	size, synced int64
}

func (f *forgetfulFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return &forgetfulFile{File: file, fs: f, name: name}, err
}

func (f *forgetfulFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return &forgetfulFile{File: file, fs: f, name: name}, err
}

func (f *forgetfulFile) Write(b []byte) (int, error) {
	f.size += int64(len(b))
	return f.File.Write(b)
}

func (f *forgetfulFile) SyncData() error {
	if f.fs.failures.Add(-1) < 0 {
		f.synced = f.size
		return f.File.SyncData()
	}
	rw, err := f.fs.FS.OpenReadWrite(f.name, "test")
	if err != nil {
		return err
	}
	_, err = rw.WriteAt(make([]byte, f.size-f.synced), f.synced)
	return errors.Join(errDisk, err, rw.Close())
}

var errDisk = errors.New("the disk fails")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFailedSync: bytes that a failed sync may have lost are written again.
func TestFailedSync(t *testing.T) {
	mem := vfs.NewMem()
	fs := &forgetfulFS{FS: mem}
	retry := retryfs.New(fs, ".", time.Millisecond, func() {})
	retry.EnableRetries()
	f, err := retry.Create("000001.log", "test")
	must(t, err)
	want := ""
	write := func(s string) {
		t.Helper()
		n, err := f.Write([]byte(s))
		if err != nil || n != len(s) {
			t.Fatal(n, err)
		}
		want += s
	}
	write("one ")
	must(t, f.Sync())
	for _, failures := range []int32{1, 3, 0, 1} {
		write("two ")
		write("three ")
		fs.failures.Store(failures)
		must(t, f.SyncData())
		write("four ")
	}
	must(t, f.Sync())
	must(t, f.Close())
	r, err := mem.Open("000001.log")
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	if string(got) != want {
		t.Fatalf("the file holds %q, want %q", got, want)
	}
}
