package bucket_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gather/internal/bucket"
	"gather/internal/bucket/buckettest"
)

// A pattern matches objects directly in its directory, in the order of their names, with the versions that Stat returns.
func TestMatch(t *testing.T) {
	for name, start := range map[string]func(*testing.T) buckettest.Store{"directory": buckettest.Directory, "s3": buckettest.Server} {
		t.Run(name, func(t *testing.T) {
			st := start(t)
			for i, key := range []string{"p/part-2.npy", "p/part-10.npy", "p/part-1.npy", "p/part-1.npz", "p/part-x/1.npy", "p/other.npy", "p/a b%2A.npy", "top.npy"} {
				st.Write(t, key, make([]byte, i))
			}
			set, err := bucket.Open([]string{st.Allow}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = set.Close() }()
			for _, tt := range []struct {
				pattern string
				most    int
				want    []string
				err     error
			}{
				{"p/part-*.npy", 3, []string{"p/part-1.npy", "p/part-10.npy", "p/part-2.npy"}, nil},
				{"p/part-*.npy", 2, nil, bucket.ErrTooMany},
				{"p/p*t-1*.n*", 9, []string{"p/part-1.npy", "p/part-1.npz", "p/part-10.npy"}, nil},
				{"p/*b*.npy", 9, []string{"p/a%20b%252A.npy"}, nil},
				{"*.npy", 9, []string{"top.npy"}, nil},
				{"p/x*", 9, nil, bucket.ErrNotFound},
				{"q/*", 9, nil, bucket.ErrNotFound},
				{"*/part-1.npy", 9, nil, bucket.ErrNotAllowed},
				{"../*", 9, nil, bucket.ErrNotAllowed},
			} {
				list, err := set.Match(t.Context(), st.URL(tt.pattern), tt.most)
				var got, want []string
				for _, e := range list {
					got = append(got, e.Key)
					if v, err := set.Stat(t.Context(), e.Key); err != nil || v != e.Version {
						t.Errorf("%s: matched as %+v, is %+v, %v", e.Key, e.Version, v, err)
					}
				}
				for _, key := range tt.want {
					want = append(want, st.URL(key))
				}
				if !errors.Is(err, tt.err) || !slices.Equal(got, want) {
					t.Errorf("%s: got %q, %v, want %q, %v", tt.pattern, got, err, want, tt.err)
				}
			}
		})
	}
}

// A link that cannot be followed is an error: without the file the list would be another one.
func TestMatchOfBrokenLink(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink("nothing", filepath.Join(root, "part-1")); err != nil {
		t.Fatal(err)
	}
	set, err := bucket.Open([]string{"file://" + root}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	if list, err := set.Match(t.Context(), "file://"+root+"/part-*", 9); !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("got %v, %v, want ErrNotFound", list, err)
	}
}

// The listing of a pattern requests the names in one directory, and is checked as others are.
func TestMatchesAreChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		contents string
		want     error
	}{
		"valid":          {`<Key>x/part-1</Key><Size>3</Size><ETag>"v"</ETag>`, nil},
		"another prefix": {`<Key>x/other</Key><Size>3</Size><ETag>"v"</ETag>`, bucket.ErrUnsupported},
		"no entity tag":  {`<Key>x/part-1</Key><Size>3</Size>`, bucket.ErrUnsupported},
		"below":          {`<Key>x/part-1/2</Key><Size>3</Size><ETag>"v"</ETag>`, bucket.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			set := remote(t, func(w http.ResponseWriter, r *http.Request) {
				if q := r.URL.Query(); q.Get("prefix") != "x/part-" || q.Get("delimiter") != "/" {
					t.Errorf("got a request for %s, want a listing of x/part-", r.URL)
				}
				w.Header().Set("Content-Type", "application/xml")
				_, _ = fmt.Fprintf(w, `<ListBucketResult><Name>data</Name><Prefix>x/part-</Prefix><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents>%s</Contents></ListBucketResult>`, tt.contents)
			})
			list, err := set.Match(t.Context(), "s3://data/x/part-*", 10)
			if !errors.Is(err, tt.want) || err == nil && len(list) != 1 {
				t.Errorf("got %v, %v, want %v", list, err, tt.want)
			}
		})
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range []string{"a*b", "*", "", "**", "part-*-*.npy", "x*aba*a"} {
		f.Add(s, "part-1-2.npy")
		f.Add(s, "xababa")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.ContainsAny(pattern, `?[\`) || strings.Contains(pattern+name, "/") || len(pattern)+len(name) > 100 {
			return
		}
		want, err := path.Match(pattern, name)
		if got := bucket.Matches(pattern, name); err == nil && got != want {
			t.Errorf("%q of %q: got %t, want %t", pattern, name, got, want)
		}
	})
}
