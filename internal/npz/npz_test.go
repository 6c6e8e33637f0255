package npz_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"gather/internal/npy"
	"gather/internal/npz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readerOf reads from memory.
func readerOf(data []byte) npz.ReadAt {
	return func(_ context.Context, p []byte, off int64) error {
		if off < 0 || off > int64(len(data)) {
			return fmt.Errorf("read at %d of %d", off, len(data))
		}
		_, err := io.ReadFull(bytes.NewReader(data[off:]), p)
		return err
	}
}

// texture returns bytes that compress somewhat, in several ways.
func texture(rng *rand.Rand, n int) []byte {
	p := make([]byte, 0, n+40000)
	for len(p) < n {
		switch rng.IntN(5) {
		case 0:
			for range rng.IntN(3000) {
				p = append(p, byte(rng.Uint32()))
			}
		case 1:
			p = append(p, bytes.Repeat([]byte{byte(rng.IntN(4))}, rng.IntN(2000))...)
		case 2:
			for range rng.IntN(3000) {
				p = append(p, byte(rng.NormFloat64()*5))
			}
		case 3:
			p = append(p, bytes.Repeat([]byte("abcdefghijkl")[:1+rng.IntN(12)], rng.IntN(300))...)
		default:
			if d := min(len(p), 1+rng.IntN(40000)); d > 0 {
				p = append(p, p[len(p)-d:][:min(d, rng.IntN(500))]...)
			}
		}
	}
	return p[:n]
}

func deflate(tb testing.TB, p []byte, level int, rng *rand.Rand) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		tb.Fatal(err)
	}
	for len(p) > 0 {
		n := min(len(p), 1+rng.IntN(50_000))
		_, err := w.Write(p[:n])
		if p = p[n:]; rng.IntN(4) == 0 {
			err = errors.Join(err, w.Flush())
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// Any part of deflated data is that of the original, in any order of the reads and with segments of any length.
func TestReader(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for n := range 400 {
		want := texture(rng, 1+rng.IntN(1<<uint(4+n%16)))
		packed := deflate(t, want, []int{0, 1, 5, 9, flate.HuffmanOnly}[rng.IntN(5)], rng)
		segment := int64(1 + rng.IntN(len(want)))
		if n%4 == 0 {
			segment = 1 + segment/50
		}
		data := append(make([]byte, 7), packed...)
		m := npz.Member{Offset: 7, Size: int64(len(want)), Deflated: int64(len(packed)), CRC: crc32.ChecksumIEEE(want)}
		r := npz.NewSegments(m, readerOf(data), segment)
		for k := range 8 {
			off := rng.IntN(len(want))
			if k == 7 {
				off = 0
			}
			p := make([]byte, len(want)-off)
			if k < 7 {
				p = p[:rng.IntN(len(p)+1)]
			}
			if _, err := r.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:][:len(p)]) {
				t.Fatalf("%d: %d bytes at %d of %d in segments of %d: got %v or other bytes", n, len(p), off, len(want), segment, err)
			}
		}
		if k, err := r.ReadAt(make([]byte, 2), m.Size-1); k != 1 || !errors.Is(err, io.EOF) {
			t.Errorf("at the end: got %d, %v, want 1, EOF", k, err)
		}
		// Damage of any byte is noticed when all is read.
		data[7+rng.IntN(len(packed))] ^= 1 << rng.IntN(8)
		got := make([]byte, len(want))
		if _, err := npz.NewSegments(m, readerOf(data), segment).ReadAt(got, 0); !errors.Is(err, npz.ErrCorrupt) && !bytes.Equal(got, want) {
			t.Errorf("%d: damaged: got %v, want ErrCorrupt", n, err)
		}
		// So are other sizes than those of the directory, and data that is cut off.
		for _, more := range []int64{1, -1} {
			other := m
			if other.Size += more; other.Size == 0 {
				continue
			}
			if _, err := npz.NewSegments(other, readerOf(append(data[:7], packed...)), segment).ReadAt(make([]byte, other.Size), 0); !errors.Is(err, npz.ErrCorrupt) {
				t.Errorf("%d: %+d bytes: got %v, want ErrCorrupt", n, more, err)
			}
		}
	}
}

// Readers at the same time get the same bytes.
func TestConcurrentReaders(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 10))
	want := texture(rng, 3<<20)
	packed := deflate(t, want, 6, rng)
	m := npz.Member{Size: int64(len(want)), Deflated: int64(len(packed)), CRC: crc32.ChecksumIEEE(want)}
	r := npz.NewSegments(m, readerOf(packed), 100_000)
	failed := make(chan error, 8)
	for w := range 8 {
		go func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			for range 30 {
				p := make([]byte, 1+rng.IntN(200_000))
				off := rng.IntN(len(want) - len(p))
				if _, err := r.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:][:len(p)]) {
					failed <- fmt.Errorf("%d bytes at %d: got %w or other bytes", len(p), off, err)
					return
				}
			}
			failed <- nil
		}()
	}
	for range 8 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := npz.NewReader(m, readerOf(packed), npz.NewCache()).ReadAtContext(ctx, make([]byte, 1), m.Size-1); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: got %v, want context.Canceled", err)
	}
}

// Data is deflated as the standard library has it, and nothing else.
func FuzzInflate(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 11))
	for _, level := range []int{0, 1, 9, flate.HuffmanOnly} {
		for _, n := range []int{0, 1, 100, 5000} {
			f.Add(deflate(f, texture(rng, n), level, rng), uint16(n/3+1))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte, segment uint16) {
		if len(packed) == 0 || segment == 0 {
			return
		}
		want, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), 1<<20))
		if len(want) == 1<<20 {
			return
		}
		size := int64(len(want))
		if err != nil {
			size += 300
		}
		m := npz.Member{Size: size, Deflated: int64(len(packed)), CRC: crc32.ChecksumIEEE(want)}
		got := make([]byte, size)
		_, failed := npz.NewSegments(m, readerOf(packed), max(int64(segment), size/100)).ReadAt(got, 0)
		if size == 0 {
			return
		}
		if (failed == nil) != (err == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("got %v, want %v and the same bytes", failed, err)
		}
		if failed != nil && !errors.Is(failed, npz.ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt", failed)
		}
	})
}

// The files that NumPy wrote have their members, by both names.
func TestFilesOfNumPy(t *testing.T) {
	for _, file := range []string{"stored.npz", "deflated.npz", "streamed.npz"} {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile("testdata/" + file)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"days", "days.npy", "temperature"} {
				m, err := npz.Find(t.Context(), readerOf(data), int64(len(data)), name)
				if err != nil {
					t.Fatal(err)
				}
				if (m.Deflated > 0) != (file != "stored.npz") {
					t.Errorf("%s: got %+v", name, m)
				}
				file := make([]byte, m.Size)
				if m.Deflated > 0 {
					_, err = npz.NewReader(m, readerOf(data), npz.NewCache()).ReadAt(file, 0)
				} else {
					err = readerOf(data)(t.Context(), file, m.Offset)
				}
				if err != nil || crc32.ChecksumIEEE(file) != m.CRC {
					t.Errorf("%s: got %v, or another checksum", name, err)
				}
				h, err := npy.ParseHeader(bytes.NewReader(file))
				if err != nil || h.CheckSize(m.Size) != nil {
					t.Errorf("%s: got %+v, %v", name, h, err)
				}
			}
		})
	}
}

// archive returns a ZIP archive.
func archive(tb testing.TB, method uint16, names ...string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = io.WriteString(f, strings.Repeat(name, 10))
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(w.SetComment("PK\x05\x06 is not here"), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestFind(t *testing.T) {
	good := archive(t, zip.Store, "a.npy", "b/c.npy", "a.npy.npy", "text")
	deflated := archive(t, zip.Deflate, "a.npy")
	change := func(data []byte, signature string, at int, to ...byte) []byte {
		data = slices.Clone(data)
		i := bytes.LastIndex(data, []byte(signature))
		if signature == "PK\x01\x02" {
			i = bytes.Index(data, []byte(signature))
		}
		copy(data[i+at:], to)
		return data
	}
	full := []byte{255, 255, 255, 255}
	for _, tt := range []struct {
		name   string
		data   []byte
		member string
		want   string // an error
	}{
		{"by name", good, "a", ""},
		{"by the whole name", good, "a.npy", ""},
		{"in a directory", good, "b/c", ""},
		{"the only one", deflated, "", ""},
		{"one of several", good, "", "set member: its arrays are a, b/c, a.npy"},
		{"another", good, "d", `it has no member "d": its arrays are a, b/c, a.npy`},
		{"no array", good, "text", `it has no member "text"`},
		{"no arrays", archive(t, zip.Store, "x"), "x", "it has no arrays"},
		{"empty", nil, "a", "it has no directory at its end"},
		{"cut off", good[:len(good)-1], "a", "it has no directory at its end"},
		{"a directory beyond the end", change(good, "PK\x05\x06\x00", 16, full...), "a", "its directory is beyond its end"},
		{"a long directory", change(good, "PK\x05\x06\x00", 12, full...), "a", "its directory is beyond its end"},
		{"a damaged directory", change(good, "PK\x01\x02", 0, 9), "a", "entry 0 of its directory is damaged"},
		{"a long name", change(good, "PK\x01\x02", 28, 255, 255), "a", "entry 0 of its directory is damaged"},
		{"encrypted", change(deflated, "PK\x01\x02", 8, 1), "a", `member "a.npy" is encrypted`},
		{"another method", change(deflated, "PK\x01\x02", 10, 12), "a", `member "a.npy" has compression method 12`},
		{"stored in part", change(good, "PK\x01\x02", 20, 9), "a.npy", `member "a.npy" is stored with 9 bytes, but has 50`},
		{"deflated to nothing", change(deflated, "PK\x01\x02", 20, 0, 0, 0, 0), "a", `member "a.npy" is deflated to nothing`},
		{"beyond the end", change(good, "PK\x01\x02", 42, full...), "a.npy", `member "a.npy" is beyond its end`},
		{"not there", change(good, "PK\x01\x02", 42, 1), "a.npy", `member "a.npy" is not where its directory has it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := npz.Find(t.Context(), readerOf(tt.data), int64(len(tt.data)), tt.member)
			if tt.want == "" {
				if err != nil || !strings.HasPrefix(m.Name, tt.member) || m.CRC != crc32.ChecksumIEEE([]byte(strings.Repeat(m.Name, 10))) {
					t.Errorf("got %+v, %v", m, err)
				}
				return
			}
			if !errors.Is(err, npz.ErrFormat) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// An archive beyond 4 GiB has its sizes in fields of 8 bytes. The sizes are checked before anything is allocated for them.
func TestZIP64(t *testing.T) {
	const size = 20 << 30
	at := int64(5 << 30)
	local := append([]byte("PK\x03\x04"), make([]byte, 26)...)
	entry := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	for i := 20; i < 28; i++ {
		entry[i] = 255
	}
	copy(entry[42:], []byte{255, 255, 255, 255})
	binary.LittleEndian.PutUint16(entry[28:], 5)
	binary.LittleEndian.PutUint16(entry[30:], 28)
	entry = append(entry, "x.npy\x01\x00\x18\x00"...)
	for _, v := range []int64{6 << 30, 6 << 30, at} {
		entry = binary.LittleEndian.AppendUint64(entry, uint64(v))
	}
	end64 := append([]byte("PK\x06\x06"), make([]byte, 52)...)
	locator := append([]byte("PK\x06\x07"), make([]byte, 16)...)
	end := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	where := int64(size - len(end) - len(locator) - len(end64))
	put := binary.LittleEndian.PutUint64
	put(end64[32:], 1)
	put(end64[40:], uint64(len(entry)))
	put(end64[48:], uint64(where)-uint64(len(entry)))
	put(locator[8:], uint64(where))
	tail := slices.Concat(entry, end64, locator, end)
	read := func(_ context.Context, p []byte, off int64) error {
		clear(p)
		if off <= at && at < off+int64(len(p)) {
			copy(p[at-off:], local)
		}
		if k := off - (size - int64(len(tail))); k >= 0 {
			copy(p, tail[k:])
		} else if -k < int64(len(p)) {
			copy(p[-k:], tail)
		}
		return nil
	}
	m, err := npz.Find(t.Context(), read, size, "x")
	if want := (npz.Member{Name: "x.npy", Offset: at + 30, Size: 6 << 30}); err != nil || m != want {
		t.Errorf("got %+v, %v, want %+v", m, err, want)
	}
	for i, v := range map[int]int64{32: npz.MaxMembers + 1, 40: npz.MaxDirectory + 1} {
		put(tail[len(entry)+i:], uint64(v))
		if i == 40 {
			put(tail[len(entry)+48:], 0)
		}
		if _, err := npz.Find(t.Context(), read, size, "x"); !errors.Is(err, npz.ErrFormat) || !strings.Contains(err.Error(), "the limits are") {
			t.Errorf("got %v, want an error about the limits", err)
		}
	}
}

// A member that is found is one that archive/zip finds, with the same sizes.
func FuzzFind(f *testing.F) {
	f.Add(archive(f, zip.Store, "a.npy", "b.npy"))
	f.Add(archive(f, zip.Deflate, "a.npy"))
	for _, name := range []string{"stored", "deflated", "streamed"} {
		data, err := os.ReadFile("testdata/" + name + ".npz")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"", "a", "days"} {
			m, err := npz.Find(t.Context(), readerOf(data), int64(len(data)), name)
			if err != nil {
				if !errors.Is(err, npz.ErrFormat) {
					t.Errorf("got %v, want ErrFormat", err)
				}
				continue
			}
			packed := max(m.Deflated, 0)
			if packed == 0 {
				packed = m.Size
			}
			if m.Offset < 0 || m.Offset+packed > int64(len(data)) || m.Size < 0 {
				t.Fatalf("got %+v in %d bytes", m, len(data))
			}
			z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				continue // it checks more of the other members
			}
			for _, file := range slices.Backward(z.File) {
				if file.Name == m.Name {
					off, err := file.DataOffset()
					if err == nil && (off != m.Offset || int64(file.UncompressedSize64) != m.Size || file.CRC32 != m.CRC) {
						t.Errorf("got %+v, want %+v at %d", m, file.FileHeader, off)
					}
					break
				}
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 12))
	data := make([]byte, 0, 16<<20)
	for len(data) < 16<<20 {
		data = binary.LittleEndian.AppendUint32(data, uint32(2000+rng.NormFloat64()*50)<<8)
	}
	packed := deflate(b, data, 6, rng)
	m := npz.Member{Size: int64(len(data)), Deflated: int64(len(packed)), CRC: crc32.ChecksumIEEE(data)}
	b.Run("npz", func(b *testing.B) {
		b.SetBytes(m.Size)
		for b.Loop() {
			if _, err := npz.NewReader(m, readerOf(packed), npz.NewCache()).ReadAt(data, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("compress/flate", func(b *testing.B) {
		b.SetBytes(m.Size)
		for b.Loop() {
			if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(packed)), data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
