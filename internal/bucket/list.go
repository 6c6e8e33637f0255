package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/minio/minio-go/v7"
)

// ErrTooMany is returned by List when there are more objects than the caller accepts.
var ErrTooMany = errors.New("there are too many objects below it")

// Entry is an object that List found.
type Entry struct {
	Key string // relative to the listed URL
	Version
}

// List returns the versions of all objects below a URL, which stands for a directory, in no particular order. Errors:
// ErrNotAllowed, ErrNotFound if there are none, ErrTooMany if there are more than most, ErrUnsupported, or an error of
// the store.
func (s *Set) List(ctx context.Context, url string, most int) ([]Entry, error) {
	b, key, err := s.find(url)
	if err != nil {
		return nil, err
	}
	list, err := b.list(ctx, key+"/", most)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	return list, err
}

func (s *s3) list(ctx context.Context, prefix string, most int) ([]Entry, error) {
	if len(prefix) > maxKey {
		return nil, ErrNotFound
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var list []Entry
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, s3Error(ctx, o.Err)
		}
		key, ok := strings.CutPrefix(o.Key, prefix)
		if !ok {
			return nil, fmt.Errorf("%w: it lists objects that are not below the prefix", ErrUnsupported)
		}
		if key == "" || strings.HasSuffix(key, "/") { // the marker of a directory
			continue
		}
		if err := checkVersion(o.ETag, o.Size); err != nil {
			return nil, err
		}
		if len(list) == most {
			return nil, fmt.Errorf("%w: the limit is %d", ErrTooMany, most)
		}
		list = append(list, Entry{key, Version{ETag: o.ETag, Size: o.Size}})
	}
	return list, nil
}

func (d *dir) list(ctx context.Context, prefix string, most int) ([]Entry, error) {
	found := make(chan []Entry, 1)
	err := d.calls.Do(ctx, func() error {
		var list []Entry
		err := fs.WalkDir(d.root.FS(), strings.TrimSuffix(prefix, "/"), func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return errors.Join(err, ctx.Err())
			}
			info, err := d.root.Stat(name) // follows links
			if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
				return nil
			}
			if err != nil {
				return err
			}
			key, below := strings.CutPrefix(name, prefix)
			if !below { // the URL is that of a file
				return fs.ErrNotExist
			}
			if len(list) == most {
				return fmt.Errorf("%w: the limit is %d", ErrTooMany, most)
			}
			list = append(list, Entry{key, versionOf(info)})
			return nil
		})
		found <- list
		return err
	})
	switch {
	case err == nil:
		return <-found, nil
	case errors.Is(err, ErrTooMany):
		return nil, err
	}
	return nil, dirError(err)
}
