package zarr_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"gather/internal/zarr"
)

// codecCase has bytes as numcodecs encodes them: testdata/codecs.py.
type codecCase struct {
	Name          string
	Data, Encoded []byte
}

func readCases(tb testing.TB) (cases []codecCase) {
	tb.Helper()
	f, err := os.Open("testdata/codecs.json.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err == nil {
		err = json.NewDecoder(z).Decode(&cases)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return cases
}

func TestCodecs(t *testing.T) {
	var s zarr.Scratch
	cases := readCases(t)
	for i, c := range cases {
		name, _, _ := strings.Cut(c.Name, " ")
		got, err := zarr.DecodeAs(name, make([]byte, len(c.Data), len(c.Data)+i%2*16), c.Encoded, &s)
		if err != nil || !bytes.Equal(got, c.Data) {
			t.Errorf("%s: got %d bytes, %v, want the %d bytes that were encoded", c.Name, len(got), err, len(c.Data))
		}
		if len(c.Data) == 0 {
			continue
		}
		// One byte less: too long, and never written beyond the end.
		memory := make([]byte, len(c.Data))
		memory[len(memory)-1] = 0xa5
		got, err = zarr.DecodeAs(name, memory[:len(memory)-1:len(memory)-1], c.Encoded, &s)
		if !errors.Is(err, zarr.ErrCorrupt) || memory[len(memory)-1] != 0xa5 {
			t.Errorf("%s: into too little memory: got %d bytes, %v, want ErrCorrupt", c.Name, len(got), err)
		}
		if got, err = zarr.DecodeAs(name, memory, c.Encoded[:len(c.Encoded)/2], &s); !errors.Is(err, zarr.ErrCorrupt) && len(got) >= len(c.Data) {
			t.Errorf("%s: cut off: got %d bytes, %v, want ErrCorrupt", c.Name, len(got), err)
		}
	}
	if len(cases) < 500 {
		t.Errorf("got %d cases, want at least 500", len(cases))
	}
}

func TestCRC(t *testing.T) {
	// The check value of the algorithm, little endian.
	encoded := append([]byte("123456789"), 0x83, 0x92, 0x06, 0xe3)
	got, err := zarr.DecodeAs("crc32c", make([]byte, 9), encoded, nil)
	if string(got) != "123456789" || err != nil {
		t.Errorf("got %q, %v, want the digits", got, err)
	}
	for i := range encoded {
		damaged := bytes.Clone(encoded)
		damaged[i] ^= 4
		if _, err := zarr.DecodeAs("crc32c", make([]byte, 9), damaged, nil); !errors.Is(err, zarr.ErrCorrupt) {
			t.Errorf("byte %d flipped: got %v, want ErrCorrupt", i, err)
		}
	}
}

// FuzzCodecs decodes arbitrary bytes with every codec: the error is ErrCorrupt, and the result fits.
func FuzzCodecs(f *testing.F) {
	names := zarr.CodecNames()
	slices.Sort(names)
	for i, c := range readCases(f) {
		if len(c.Encoded) < 600 && i%5 == 0 {
			name, _, _ := strings.Cut(c.Name, " ")
			f.Add(byte(slices.Index(names, name)), uint16(len(c.Data)), c.Encoded)
		}
	}
	f.Add(byte(slices.Index(names, "crc32c")), uint16(9), append([]byte("123456789"), 0x83, 0x92, 0x06, 0xe3))
	f.Fuzz(func(t *testing.T, codec byte, size uint16, src []byte) {
		var s zarr.Scratch
		const slack = 16
		dst := make([]byte, int(size)+slack+1)
		dst[int(size)+slack] = 0xa5
		got, err := zarr.DecodeAs(names[int(codec)%len(names)], dst[:size:int(size)+slack], src, &s)
		if err != nil && !errors.Is(err, zarr.ErrCorrupt) || len(got) > int(size) {
			t.Errorf("got %d bytes of at most %d, %v, want ErrCorrupt", len(got), size, err)
		}
		if dst[int(size)+slack] != 0xa5 {
			t.Errorf("wrote beyond the capacity of %d bytes", int(size)+slack)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range readCases(b) {
		if !strings.HasSuffix(c.Name, "f8 20000 smooth") {
			continue
		}
		b.Run(strings.ReplaceAll(c.Name, " ", "/"), func(b *testing.B) {
			name, _, _ := strings.Cut(c.Name, " ")
			dst := make([]byte, len(c.Data), len(c.Data)+16)
			var s zarr.Scratch
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				if _, err := zarr.DecodeAs(name, dst, c.Encoded, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
