package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
)

// dir is a local directory. Symbolic links that lead out of it are not followed.
type dir struct{ root *os.Root }

func openDir(u *url.URL) (*dir, error) {
	if u.Host != "" || u.RawQuery != "" || u.Path == "" {
		return nil, errors.New("must be file:///DIRECTORY")
	}
	root, err := os.OpenRoot(u.Path)
	if err != nil {
		return nil, err
	}
	return &dir{root}, nil
}

func (d *dir) blockSize() int64 { return 0 }
func (d *dir) close() error     { return d.root.Close() }

func (d *dir) stat(_ context.Context, key string) (Version, error) {
	info, err := d.root.Stat(key)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Version{}, dirError(err)
	}
	return versionOf(info), nil
}

// versionOf takes the time of the last change for a version: a file that is rewritten has another.
func versionOf(info fs.FileInfo) Version {
	return Version{ETag: strconv.FormatInt(info.ModTime().UnixNano(), 36), Size: info.Size()}
}

// read opens the file each time: a read is large, and a job may wait for days between two.
func (d *dir) read(_ context.Context, key string, v Version, p []byte, off int64) error {
	f, err := d.root.Open(key)
	if err != nil {
		return dirError(err)
	}
	defer func() { _ = f.Close() }()
	_, err = f.ReadAt(p, off)
	// Looked at after the read, so that a change during it is noticed.
	info, statErr := f.Stat()
	switch {
	case statErr != nil:
		return dirError(statErr)
	case versionOf(info) != v:
		return ErrChanged
	case err != nil:
		return dirError(err)
	}
	return nil
}

func dirError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return fmt.Errorf("read from the directory: %w", err)
}
