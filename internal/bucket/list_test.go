package bucket_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gather/internal/bucket"
	"gather/internal/bucket/buckettest"
)

// A listing has every object below a URL with the version that Stat returns.
func TestList(t *testing.T) {
	for name, start := range map[string]func(*testing.T) buckettest.Store{"directory": buckettest.Directory, "s3": buckettest.Server} {
		t.Run(name, func(t *testing.T) {
			st := start(t)
			var want []string
			for i := range 5 {
				key := fmt.Sprintf("%d/%d.bin", i%2, i)
				st.Write(t, "a.zarr/"+key, make([]byte, i))
				want = append(want, key)
			}
			st.Write(t, "a.zarr/c", []byte("x"))
			st.Write(t, "a.zarr2/c", []byte("x"))
			want = append(want, "c")
			slices.Sort(want)
			set, err := bucket.Open([]string{st.Allow}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = set.Close() }()
			list, err := set.List(t.Context(), st.URL("a.zarr"), 6)
			var got []string
			for _, e := range list {
				got = append(got, e.Key)
				if v, err := set.Stat(t.Context(), st.URL("a.zarr/"+e.Key)); err != nil || v != e.Version {
					t.Errorf("%s: listed as %+v, is %+v, %v", e.Key, e.Version, v, err)
				}
			}
			if slices.Sort(got); err != nil || !slices.Equal(got, want) {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			if list, err = set.List(t.Context(), st.URL("a.zarr"), 5); !errors.Is(err, bucket.ErrTooMany) {
				t.Errorf("with a limit of 5: got %d, %v, want ErrTooMany", len(list), err)
			}
			for key, want := range map[string]error{"nothing": bucket.ErrNotFound, "a.zarr/c": bucket.ErrNotFound, "../x": bucket.ErrNotAllowed} {
				if list, err = set.List(t.Context(), st.URL(key), 5); !errors.Is(err, want) {
					t.Errorf("%s: got %v, %v, want %v", key, list, err, want)
				}
			}
		})
	}
}

// Links out of the directory are not listed as objects, and other than regular files are not.
func TestListOfLinks(t *testing.T) {
	root := t.TempDir()
	write := func(name string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, "in", "a", "file"))
	write(filepath.Join(root, "out"))
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(root, "in", "a", name)); err != nil {
			t.Fatal(err)
		}
	}
	link("file", "same")
	link("nothing", "broken")
	link("../a", "loop")
	set, err := bucket.Open([]string{"file://" + root + "/in"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	list, err := set.List(t.Context(), "file://"+root+"/in/a", 10)
	var got []string
	for _, e := range list {
		got = append(got, e.Key)
	}
	if slices.Sort(got); err != nil || !slices.Equal(got, []string{"file", "same"}) {
		t.Errorf("got %q, %v, want the file and the link to it", got, err)
	}
	link("../../out", "escape")
	if list, err := set.List(t.Context(), "file://"+root+"/in/a", 10); !errors.Is(err, bucket.ErrNotAllowed) {
		t.Errorf("a link that leads outside: got %v, %v, want ErrNotAllowed", list, err)
	}
}

// Listings of a store are checked.
func TestListingsAreChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		contents string
		want     error
	}{
		"valid":            {`<Key>x/a</Key><Size>3</Size><ETag>"v"</ETag>`, nil},
		"another prefix":   {`<Key>y/a</Key><Size>3</Size><ETag>"v"</ETag>`, bucket.ErrUnsupported},
		"no entity tag":    {`<Key>x/a</Key><Size>3</Size>`, bucket.ErrUnsupported},
		"a weak one":       {`<Key>x/a</Key><Size>3</Size><ETag>W/"v"</ETag>`, bucket.ErrUnsupported},
		"a negative size":  {`<Key>x/a</Key><Size>-3</Size><ETag>"v"</ETag>`, bucket.ErrUnsupported},
		"a directory only": {`<Key>x/</Key><Size>0</Size><ETag>"v"</ETag>`, bucket.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			set := remote(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.URL.Query().Get("prefix"); got != "x/" || !strings.HasPrefix(r.URL.Path, "/data") {
					t.Errorf("got a request for %s, want a listing of x/", r.URL)
				}
				w.Header().Set("Content-Type", "application/xml")
				_, _ = fmt.Fprintf(w, `<ListBucketResult><Name>data</Name><Prefix>x/</Prefix><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents>%s</Contents></ListBucketResult>`, tt.contents)
			})
			list, err := set.List(t.Context(), "s3://data/x", 10)
			if !errors.Is(err, tt.want) || err == nil && len(list) != 1 {
				t.Errorf("got %v, %v, want %v", list, err, tt.want)
			}
		})
	}
}
