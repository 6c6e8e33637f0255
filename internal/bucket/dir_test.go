package bucket_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gather/internal/bucket"
	"gather/internal/mapping"
)

// A name that cannot be a file is a client error, whatever error the file system returns.
func TestHostileNames(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(
		os.WriteFile(filepath.Join(root, "ok.npy"), []byte("x"), 0o600), os.WriteFile(outside, []byte("x"), 0o600),
		os.Symlink("loop", filepath.Join(root, "loop")), os.Symlink(outside, filepath.Join(root, "out")),
		os.Symlink("..", filepath.Join(root, "up")), syscall.Mkfifo(filepath.Join(root, "fifo"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	set, err := bucket.Open([]string{"file://" + root}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	for name, want := range map[string]error{
		"nothing":                          bucket.ErrNotFound,
		"ok.npy/x":                         bucket.ErrNotFound,
		"loop":                             bucket.ErrNotFound,
		"loop/x":                           bucket.ErrNotFound,
		"fifo":                             bucket.ErrNotFound,
		"out":                              bucket.ErrNotAllowed,
		"up/x":                             bucket.ErrNotAllowed,
		"a%00b":                            bucket.ErrNotAllowed,
		"a%0ab":                            bucket.ErrNotAllowed,
		"a%ffb":                            bucket.ErrNotAllowed,
		"a\x00b":                           bucket.ErrNotAllowed,
		strings.Repeat("n", 300):           bucket.ErrNotFound,
		strings.Repeat("n", 5000):          bucket.ErrNotAllowed,
		strings.Repeat("n/", 2200) + "n":   bucket.ErrNotFound,
		"..":                               bucket.ErrNotAllowed,
		"ok.npy?x":                         bucket.ErrNotAllowed,
		"ok.npy#x":                         bucket.ErrNotAllowed,
		strings.Repeat("%6e", 1500) + "/x": bucket.ErrNotFound,
	} {
		url := "file://" + root + "/" + name
		if v, err := set.Stat(t.Context(), url); !errors.Is(err, want) {
			t.Errorf("stat %.80q: got %+v, %v, want %v", name, v, err, want)
		}
		o, err := set.Object(url, bucket.Version{ETag: "v", Size: 10})
		if err == nil {
			_, err = o.ReadDirect(t.Context(), make([]byte, 10), 0)
		}
		if !errors.Is(err, want) {
			t.Errorf("read %.80q: got %v, want %v", name, err, want)
		}
	}
	for _, authority := range []string{"someone@", "host", "localhost"} {
		if v, err := set.Stat(t.Context(), "file://"+authority+root+"/ok.npy"); !errors.Is(err, bucket.ErrNotAllowed) {
			t.Errorf("stat of a URL with the authority %s: got %+v, %v, want %v", authority, v, err, bucket.ErrNotAllowed)
		}
	}
}

// Replacing an object after the submission by another type of file, even a FIFO without a writer, does not block the
// read.
func TestObjectIsReplacedByAnotherType(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"socket":    func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) },
		"shorter":   func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "x")
			if err := os.WriteFile(path, make([]byte, 1000), 0o600); err != nil {
				t.Fatal(err)
			}
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
			set, err := bucket.Open([]string{"file://" + root}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = set.Close() }()
			v, err := set.Stat(t.Context(), "file://"+path)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(path), replace(path)); err != nil {
				t.Fatal(err)
			}
			o, err := set.Object("file://"+path, v)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.ReadAtContext(t.Context(), make([]byte, 1000), 0); !errors.Is(err, bucket.ErrNotFound) && !errors.Is(err, bucket.ErrChanged) {
				t.Errorf("got %v, want ErrNotFound or ErrChanged", err)
			}
		})
	}
}

// An object is used in place while it is the version that was found, and is ErrChanged or ErrNotFound otherwise.
func TestView(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		want   error // nil if the mapped version may still be used
	}{
		"unchanged": {func(string) error { return nil }, nil},
		"written in place": {func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("y"), 5)
			return errors.Join(err, f.Close())
		}, bucket.ErrChanged},
		"truncated": {func(path string) error { return os.Truncate(path, 10) }, bucket.ErrChanged},
	} {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, mapped before: %t", name, warm), func(t *testing.T) {
				root := t.TempDir()
				path := filepath.Join(root, "x")
				data := bytes.Repeat([]byte("x"), 3<<20)
				old := time.Now().Add(-time.Hour)
				if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chtimes(path, old, old)); err != nil {
					t.Fatal(err)
				}
				maps := mapping.NewPool()
				set, err := bucket.Open([]string{"file://" + root}, maps)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = errors.Join(set.Close(), maps.Close()) }()
				v, err := set.Stat(t.Context(), "file://"+path)
				if err != nil {
					t.Fatal(err)
				}
				o, err := set.Object("file://"+path, v)
				if err != nil {
					t.Fatal(err)
				}
				view := func() error {
					return o.View(t.Context(), 1, int64(len(data)), func(p []byte) error {
						if !bytes.Equal(p, data[1:]) && c.want == nil {
							t.Error("the bytes differ from the object's")
						}
						return nil
					})
				}
				if warm {
					if err := view(); errors.Is(err, errors.ErrUnsupported) {
						t.Skip("files cannot be mapped here:", err)
					} else if err != nil {
						t.Fatal(err)
					}
				}
				if err := c.change(path); err != nil {
					t.Fatal(err)
				}
				if err := view(); !errors.Is(err, c.want) && !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("got error %v, want %v", err, c.want)
				}
			})
		}
	}
}
