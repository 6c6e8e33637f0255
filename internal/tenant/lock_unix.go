//go:build unix

package tenant

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lockFile waits for the exclusive lock of a file or a directory. Closing it releases the lock.
func lockFile(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// keepOwner sets the owner and the group of a file to those of an older one.
func keepOwner(f *os.File, old fs.FileInfo) error {
	stat, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(stat.Uid), int(stat.Gid))
}
