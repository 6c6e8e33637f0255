package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/minio/minio-go/v7"
)

// ErrTooMany is returned by List and Match when there are more objects than the caller accepts.
var ErrTooMany = errors.New("there are too many objects")

// Entry is an object that List or Match found.
type Entry struct {
	Key string // for List relative to the listed URL, for Match the URL of the object
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
	list, err := b.list(ctx, key+"/", nil, most)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	return list, err
}

// maxScanned is the maximum number of names that are compared with a pattern.
const maxScanned = 200_000

func (s *s3) list(ctx context.Context, dir string, names *glob, most int) ([]Entry, error) {
	prefix := dir
	if names != nil {
		prefix += names.prefix()
	}
	if len(prefix) > maxKey {
		return nil, ErrNotFound
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var list []Entry
	scanned := 0
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: names == nil}) {
		if o.Err != nil {
			return nil, s3Error(ctx, o.Err)
		}
		if !strings.HasPrefix(o.Key, prefix) {
			return nil, fmt.Errorf("%w: it lists objects that are not below the prefix", ErrUnsupported)
		}
		key := strings.TrimPrefix(o.Key, dir)
		if key == "" || strings.HasSuffix(key, "/") { // a directory, or its marker
			continue
		}
		if scanned++; names != nil && scanned > maxScanned {
			return nil, fmt.Errorf("%w: more than %d have this prefix", ErrTooMany, maxScanned)
		}
		if names != nil && (strings.Contains(key, "/") || !names.matches(key)) {
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

func (d *dir) list(ctx context.Context, dir string, names *glob, most int) ([]Entry, error) {
	found := make(chan []Entry, 1)
	err := d.calls.Do(ctx, func() (err error) {
		var list []Entry
		if names == nil {
			list, err = d.walk(ctx, dir, most)
		} else {
			list, err = d.match(ctx, dir, *names, most)
		}
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

// walk returns the files below a directory. It is called under d.calls.
func (d *dir) walk(ctx context.Context, prefix string, most int) (list []Entry, err error) {
	err = fs.WalkDir(d.root.FS(), strings.TrimSuffix(prefix, "/"), func(name string, e fs.DirEntry, err error) error {
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
	return list, err
}
