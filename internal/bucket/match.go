package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Match returns the URLs and versions of the objects that match a URL with * in its last part, in the order of their
// names. A * stands for any characters but /. Errors: ErrNotAllowed, ErrNotFound if there are none, ErrTooMany if there are
// more than most, ErrUnsupported, or an error of the store.
func (s *Set) Match(ctx context.Context, pattern string, most int) ([]Entry, error) {
	b, key, err := s.find(pattern)
	if err != nil {
		return nil, err
	}
	dir, name := path.Split(key)
	if strings.Contains(dir, "*") {
		return nil, fmt.Errorf("%w: write * only after the last /", ErrNotAllowed)
	}
	names := glob(name)
	list, err := b.list(ctx, dir, &names, most)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(pattern)
	if err != nil {
		return nil, err
	}
	parent := path.Dir(u.Path)
	for i := range list {
		list[i].Key = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: path.Join(parent, list[i].Key)}).String()
	}
	slices.SortFunc(list, func(x, y Entry) int { return strings.Compare(x.Key, y.Key) })
	return list, nil
}

// glob is a name in which * stands for any characters.
type glob string

// prefix returns the characters before the first *.
func (g glob) prefix() string {
	p, _, _ := strings.Cut(string(g), "*")
	return p
}

// matches reports whether a name matches, in time linear in its length.
func (g glob) matches(name string) bool {
	parts := strings.Split(string(g), "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return name == first
	}
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, p := range parts[1 : len(parts)-1] { // the first place of each is as good as any other
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return true
}

// match returns the files of a directory that match g. It is called under d.calls.
func (d *dir) match(ctx context.Context, dir string, g glob, most int) (list []Entry, err error) {
	f, err := d.root.Open(path.Clean(dir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	for scanned := 0; ctx.Err() == nil; {
		names, err := f.Readdirnames(1000)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if scanned += len(names); scanned > maxScanned {
			return nil, fmt.Errorf("%w: the directory has more than %d names", ErrTooMany, maxScanned)
		}
		for _, name := range names {
			if !g.matches(name) {
				continue
			}
			info, err := d.root.Stat(path.Join(dir, name)) // follows links
			if err != nil {
				return nil, err
			}
			if !info.Mode().IsRegular() {
				continue
			}
			if len(list) == most {
				return nil, fmt.Errorf("%w: the limit is %d", ErrTooMany, most)
			}
			list = append(list, Entry{name, versionOf(info)})
		}
	}
	return nil, context.Cause(ctx)
}
