package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"gather/internal/reads"
)

// dir is a local directory. Symbolic links that lead outside are not followed.
type dir struct {
	root  *os.Root
	calls *reads.Calls // the directory may be on a mount that hangs
}

func openDir(u *url.URL, calls *reads.Calls) (*dir, error) {
	if u.Host != "" || u.RawQuery != "" || u.Path == "" {
		return nil, errors.New("must be file:///DIRECTORY")
	}
	root, err := os.OpenRoot(u.Path)
	if err != nil {
		return nil, err
	}
	return &dir{root, calls}, nil
}

func (d *dir) blockSize() int64 { return 0 }
func (d *dir) close() error     { return d.root.Close() }

func (d *dir) stat(ctx context.Context, key string) (v Version, err error) {
	found := make(chan Version, 1)
	err = d.calls.Do(ctx, func() error {
		info, err := d.root.Stat(key)
		if err == nil && !info.Mode().IsRegular() {
			err = fs.ErrNotExist
		}
		if err == nil {
			found <- versionOf(info)
		}
		return err
	})
	if err != nil {
		return Version{}, dirError(err)
	}
	return <-found, nil
}

// versionOf returns the modification time as the version, because a rewritten file has another.
func versionOf(info fs.FileInfo) Version {
	return Version{ETag: strconv.FormatInt(info.ModTime().UnixNano(), 36), Size: info.Size()}
}

// read opens the file each time, because reads are large and a job may wait for days between two.
func (d *dir) read(ctx context.Context, key string, v Version, p []byte, off int64) error {
	return dirError(d.calls.Do(ctx, func() error {
		f, err := d.root.OpenFile(key, reads.OpenFlags, 0)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := reads.Regular(f); err != nil {
			return err
		}
		_, err = f.ReadAt(p, off)
		// Check after the read, to detect a change during it.
		info, statErr := f.Stat()
		switch {
		case statErr != nil:
			return statErr
		case versionOf(info) != v:
			return ErrChanged
		}
		return err
	}))
}

// dirError maps an error of the directory to the errors of this package.
func dirError(err error) error {
	if err == nil || errors.Is(err, ErrChanged) {
		return err
	}
	// Errors of keys that cannot be a file: the path goes through a file, has an invalid byte, is too long, has too
	// many links, or is a socket.
	for _, none := range []error{fs.ErrNotExist, syscall.ENOTDIR, syscall.EINVAL, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.ENXIO} {
		if errors.Is(err, none) {
			return ErrNotFound
		}
	}
	// os.Root adds errors to those of the system for a link that leads outside.
	if path, ok := errors.AsType[*fs.PathError](err); ok && (path.Op == "openat" || path.Op == "statat") {
		if _, ok := errors.AsType[syscall.Errno](path.Err); !ok {
			return ErrNotAllowed
		}
	}
	return fmt.Errorf("read from the directory: %w", err)
}
