package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"

	"gather/internal/mapping"
	"gather/internal/reads"
)

// dir is a local directory. Symbolic links that lead outside are not followed.
type dir struct {
	root  *os.Root
	calls *reads.Calls // the directory may be on a mount that hangs
	maps  *mapping.Pool
}

func openDir(u *url.URL, calls *reads.Calls, maps *mapping.Pool) (*dir, error) {
	if u.Host != "" || u.RawQuery != "" || u.Path == "" {
		return nil, errors.New("must be file:///DIRECTORY")
	}
	root, err := os.OpenRoot(u.Path)
	if err != nil {
		return nil, err
	}
	return &dir{root, calls, maps}, nil
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

// open opens a version of a file. It is called under d.calls.
func (d *dir) open(key string, v Version) (*os.File, error) {
	f, err := d.root.OpenFile(key, reads.OpenFlags, 0)
	if err != nil {
		return nil, err
	}
	if err = reads.Regular(f); err == nil {
		err = checkFile(f, v)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkFile returns ErrChanged if a file is not a version.
func checkFile(f interface{ Stat() (fs.FileInfo, error) }, v Version) error {
	info, err := f.Stat()
	if err == nil && versionOf(info) != v {
		err = ErrChanged
	}
	return err
}

// read opens the file each time, because reads are large and a job may wait for days between two.
func (d *dir) read(ctx context.Context, key string, v Version, p []byte, off int64) error {
	return dirError(d.calls.Do(ctx, func() error {
		f, err := d.open(key, v)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = f.ReadAt(p, off)
		if changed := checkFile(f, v); changed != nil { // after the read, to detect a change during it
			return changed
		}
		return err
	}))
}

// view calls use with bytes lo to hi of a version, in place. Errors: those of read and use, errors.ErrUnsupported.
func (d *dir) view(ctx context.Context, key string, v Version, lo, hi int64, use func(p []byte) error) error {
	if d.maps == nil {
		return mapping.ErrUnsupported
	}
	var failed error // of use
	name := filepath.Join(d.root.Name(), key) + "\x00" + v.ETag + "\x00" + strconv.FormatInt(v.Size, 10)
	err := d.maps.Use(name, func() (*mapping.File, error) { return d.mapFile(ctx, key, v) }, func(f *mapping.File) error {
		err := f.View(lo, hi, func(p []byte) error {
			failed = use(p)
			return failed
		})
		if err == nil {
			err = checkFile(f, v) // after the use, to detect a change during it
		}
		return err
	})
	switch {
	case failed != nil:
		return failed
	case errors.Is(err, mapping.ErrTruncated):
		return ErrChanged
	case errors.Is(err, errors.ErrUnsupported):
		return err
	}
	return dirError(err)
}

// mapFile maps a version of a file. A mapped file is on a local disk, so only opening it may hang.
func (d *dir) mapFile(ctx context.Context, key string, v Version) (*mapping.File, error) {
	opened := make(chan *os.File, 1)
	var abandoned atomic.Bool
	closeLate := func() {
		select {
		case f := <-opened:
			_ = f.Close()
		default:
		}
	}
	err := d.calls.Do(ctx, func() error {
		f, err := d.open(key, v)
		if err != nil {
			return err
		}
		opened <- f
		if abandoned.Load() {
			closeLate()
		}
		return nil
	})
	if err != nil {
		abandoned.Store(true)
		closeLate()
		return nil, err
	}
	f := <-opened
	m, err := mapping.New(f, v.Size)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
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
