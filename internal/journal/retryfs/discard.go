package retryfs

import (
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A discardFile replaces a file that was created after the file system went off.
type discardFile struct{ name string }

func (discardFile) Close() error                           { return nil }
func (discardFile) Read([]byte) (int, error)               { return 0, io.EOF }
func (discardFile) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (discardFile) Write(b []byte) (int, error)            { return len(b), nil }
func (discardFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (discardFile) Preallocate(int64, int64) error         { return nil }
func (discardFile) Sync() error                            { return nil }
func (discardFile) SyncTo(int64) (bool, error)             { return false, nil }
func (discardFile) SyncData() error                        { return nil }
func (discardFile) Prefetch(int64, int64) error            { return nil }
func (discardFile) Fd() uintptr                            { return vfs.InvalidFd }
func (f discardFile) Stat() (vfs.FileInfo, error)          { return discardInfo(f), nil }

// discardInfo describes a discardFile.
type discardInfo struct{ name string }

func (i discardInfo) Name() string         { return i.name }
func (discardInfo) Size() int64            { return 0 }
func (discardInfo) Mode() fs.FileMode      { return 0 }
func (discardInfo) ModTime() time.Time     { return time.Time{} }
func (discardInfo) IsDir() bool            { return false }
func (discardInfo) Sys() any               { return nil }
func (discardInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
