package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// open returns a content over an empty file.
func open(tb testing.TB) *content {
	tb.Helper()
	f, err := os.OpenFile(filepath.Join(tb.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	c, err := newContent(f)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func all(tb testing.TB, c *content) []byte {
	tb.Helper()
	p := make([]byte, c.length()+1)
	n, err := c.read(p, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return p[:n]
}

// A content is what a slice of bytes would be, and on disk is what it was when it was forced.
func TestContent(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		c, want, forced := open(t), []byte{}, []byte{}
		for range 40 {
			at, n := rng.IntN(5*pageSize), rng.IntN(2*pageSize)
			switch rng.IntN(4) {
			case 0, 1:
				data := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, n)
				if err := c.write(data, int64(at)); err != nil {
					t.Fatal(err)
				}
				want = append(want, make([]byte, max(0, at+n-len(want)))...)
				copy(want[at:], data)
			case 2:
				if err := c.resize(int64(at)); err != nil {
					t.Fatal(err)
				}
				want = append(want, make([]byte, max(0, at-len(want)))...)[:at:at]
			default:
				if err := c.force(); err != nil {
					t.Fatal(err)
				}
				forced = bytes.Clone(want)
			}
			if got := all(t, c); !bytes.Equal(got, want) {
				t.Fatalf("seed %d: the content has %d bytes and is another one than that of %d bytes", seed, len(got), len(want))
			}
			if got, err := os.ReadFile(c.disk.Name()); err != nil || !bytes.Equal(got, forced) {
				t.Fatalf("seed %d: on disk are %d bytes, %v, want the %d that were forced", seed, len(got), err, len(forced))
			}
		}
	}
}

// A power cut leaves what was forced, and of each sector behind it all or nothing.
func TestCutPower(t *testing.T) {
	kept, lost, torn := 0, 0, 0
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 0))
		c := open(t)
		forced := bytes.Repeat([]byte{1}, rng.IntN(3*pageSize))
		unforced := bytes.Repeat([]byte{2}, 1+rng.IntN(3*pageSize))
		for _, err := range []error{c.write(forced, 0), c.force(), c.write(unforced, int64(len(forced)))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := c.cutPower(rng); err != nil {
			t.Fatal(err)
		}
		got := all(t, c)
		if !bytes.HasPrefix(got, forced) {
			t.Fatalf("seed %d: the file has %d bytes that do not begin with the %d forced ones", seed, len(got), len(forced))
		}
		if disk, err := os.ReadFile(c.disk.Name()); err != nil || !bytes.Equal(disk, got) {
			t.Fatalf("seed %d: on disk are %d bytes, %v, and the file has %d", seed, len(disk), err, len(got))
		}
		rest := got[len(forced):]
		switch n := bytes.Count(rest, []byte{2}); {
		case n == len(unforced):
			kept++
		case n == 0:
			lost++
		default:
			torn++
		}
	}
	if kept == 0 || lost == 0 || torn == 0 {
		t.Errorf("of 500 power cuts %d lost nothing, %d everything and %d a part, want some of each", kept, lost, torn)
	}
}
