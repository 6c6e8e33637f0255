package npy_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"gather/internal/npy"
)

// raw returns a version 1.0 file with a header text.
func raw(text string) []byte {
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(text)))
	return append(b, text...)
}

// The files in testdata were written by numpy.save and numpy.lib.format.write_array.
func TestParseHeaderOfNumPyFiles(t *testing.T) {
	tests := map[string]npy.Header{
		"f8_2d.npy":      {Type: npy.Type{Kind: 'f', Size: 8}, Shape: []int64{2, 3}, Offset: 128},
		"f8_fortran.npy": {Type: npy.Type{Kind: 'f', Size: 8}, Fortran: true, Shape: []int64{2, 3}, Offset: 128},
		"i4_big.npy":     {Type: npy.Type{Kind: 'i', Size: 4}, BigEndian: true, Shape: []int64{5}, Offset: 128},
		"b1_0d.npy":      {Type: npy.Type{Kind: 'b', Size: 1}, Offset: 128},
		"f2_empty.npy":   {Type: npy.Type{Kind: 'f', Size: 2}, Shape: []int64{3, 0, 2}, Offset: 128},
		"u8_v2.npy":      {Type: npy.Type{Kind: 'u', Size: 8}, Shape: []int64{1}, Offset: 128},
		"u1_v3.npy":      {Type: npy.Type{Kind: 'u', Size: 1}, Shape: []int64{7}, Offset: 128},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			r := bytes.NewReader(file)
			got, err := npy.ParseHeader(iotest.OneByteReader(r))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if int64(len(file))-int64(r.Len()) != got.Offset {
				t.Errorf("read %d bytes, want the header's %d alone", len(file)-r.Len(), got.Offset)
			}
			if err := got.CheckSize(int64(len(file))); err != nil {
				t.Error(err)
			}
			for _, delta := range []int64{-1, 1} {
				if err := got.CheckSize(int64(len(file)) + delta); !errors.Is(err, npy.ErrFormat) {
					t.Errorf("a size off by %d: got %v", delta, err)
				}
			}
		})
	}
}

func TestParseHeaderAcceptsOtherSpellings(t *testing.T) {
	for _, text := range []string{
		`{'descr':'<f8','fortran_order':False,'shape':(3,)}`,
		`{"shape": (3,), "fortran_order": False, "descr": "<f8",}` + "\n",
		`  { 'descr' : '<f8' , 'fortran_order' : False , 'shape' : ( 3L , ) , }   `,
	} {
		h, err := npy.ParseHeader(bytes.NewReader(raw(text)))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if h.Type.String() != "f8" || h.Elements() != 3 || h.FileSize() != h.Offset+24 {
			t.Errorf("%s: got %+v", text, h)
		}
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	dict := func(descr, shape string) []byte {
		return raw("{'descr': " + descr + ", 'fortran_order': False, 'shape': " + shape + ", }\n")
	}
	tests := map[string]struct {
		file   []byte
		detail string
	}{
		"nothing":          {nil, "ends within its header"},
		"fourteen bytes":   {raw("{'de")[:14], "byte"},
		"other magic":      {[]byte("PK\x03\x04\x00\x00\x00\x00\x00\x00"), "numpy.save"},
		"version 4":        {[]byte("\x93NUMPY\x04\x00\x00\x00"), "version 4.0"},
		"cut length":       {[]byte("\x93NUMPY\x02\x00\x01\x00"), "ends within"},
		"long header":      {[]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff"), "at most 65536"},
		"cut dict":         {append(raw("")[:8], 200, 0, '{'), "ends within"},
		"no dict":          {raw("hello"), "expected '{'"},
		"missing shape":    {raw("{'descr': '<f8', 'fortran_order': False}"), `lacks "shape"`},
		"unknown key":      {raw("{'descr': '<f8', 'order': 'C'}"), `unknown key "order"`},
		"key twice":        {raw("{'descr': '<f8', 'descr': '<f8'}"), `"descr" twice`},
		"no comma":         {raw("{'descr': '<f8' 'shape': ()}"), "expected ','"},
		"trailing text":    {raw("{'descr': '<f8', 'fortran_order': False, 'shape': ()} x"), "after '}'"},
		"trailing nul":     {raw("{'descr': '<f8', 'fortran_order': False, 'shape': ()}\x00"), "after '}'"},
		"open string":      {raw("{'descr"), "quoted key"},
		"object":           {dict("'|O'", "(3,)"), "a.astype"},
		"complex":          {dict("'<c8'", "(3,)"), "a.astype"},
		"float128":         {dict("'<f16'", "(3,)"), "a.astype"},
		"native order":     {dict("'=f8'", "(3,)"), "a.astype"},
		"no order":         {dict("'|f8'", "(3,)"), "a.astype"},
		"structured":       {dict("[('a', '<f8')]", "(3,)"), "structured"},
		"unquoted descr":   {dict("f8", "(3,)"), "quoted dtype"},
		"negative":         {dict("'<f8'", "(-3,)"), "expected a length"},
		"number as shape":  {dict("'<f8'", "(3)"), "expected ','"},
		"lonely comma":     {dict("'<f8'", "(,)"), "expected a length"},
		"length over 2^63": {dict("'<f8'", "(9223372036854775808,)"), "below 2^63"},
		"product overflow": {dict("'<f8'", "(4294967296, 4294967296)"), "than a file can hold"},
		"bytes overflow":   {dict("'<f8'", "(4611686018427387904,)"), "than a file can hold"},
		"hidden overflow":  {dict("'<f8'", "(0, 4294967296, 4294967296)"), "than a file can hold"},
		"65 dimensions":    {dict("'<f8'", "("+strings.Repeat("1,", 65)+")"), "64 dimensions"},
		"order not a bool": {raw("{'fortran_order': 0"), "True or False"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := npy.ParseHeader(bytes.NewReader(test.file))
			if !errors.Is(err, npy.ErrFormat) || !strings.Contains(err.Error(), test.detail) {
				t.Errorf("got %v, want one with %q", err, test.detail)
			}
		})
	}
}

func TestParseHeaderPassesReaderErrorsOn(t *testing.T) {
	broken := errors.New("disk on fire")
	_, err := npy.ParseHeader(io.MultiReader(strings.NewReader("\x93NUMPY"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errors.Is(err, npy.ErrFormat) {
		t.Errorf("got %v", err)
	}
}

// TestWriteHeaderIsNumPys compares with a file of NumPy's, byte for byte where both use the same padding.
func TestWriteHeaderIsNumPys(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("testdata", "f8_2d.npy"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	n, err := npy.WriteHeader(&b, npy.Type{Kind: 'f', Size: 8}, []int64{2, 3})
	if err != nil || n != b.Len() {
		t.Fatalf("wrote %d of %d: %v", n, b.Len(), err)
	}
	if b.Len()%64 != 0 {
		t.Errorf("the data would start at byte %d, not a multiple of 64", b.Len())
	}
	written, err := npy.ParseHeader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	want, err := npy.ParseHeader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	want.Offset = written.Offset
	if !reflect.DeepEqual(written, want) {
		t.Errorf("got %+v, want %+v", written, want)
	}
	if got, want := strings.TrimRight(b.String()[10:], " \n"), strings.TrimRight(string(file[10:128]), " \n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriteHeaderRefuses(t *testing.T) {
	f8 := npy.Type{Kind: 'f', Size: 8}
	for name, test := range map[string]struct {
		t     npy.Type
		shape []int64
	}{
		"no type":  {npy.Type{}, nil},
		"complex":  {npy.Type{Kind: 'c', Size: 8}, nil},
		"negative": {f8, []int64{-1}},
		"overflow": {f8, []int64{math.MaxInt64, 2}},
		"65 dims":  {f8, make([]int64, 65)},
	} {
		if n, err := npy.WriteHeader(io.Discard, test.t, test.shape); n != 0 || !errors.Is(err, npy.ErrFormat) {
			t.Errorf("%s: got %d, %v", name, n, err)
		}
	}
	r, w := io.Pipe()
	r.Close()
	if _, err := npy.WriteHeader(w, f8, nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

// FuzzParseHeader tests that no input panics, and that accepted headers are consistent and survive a round trip.
func FuzzParseHeader(f *testing.F) {
	files, err := filepath.Glob("testdata/*.npy")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(raw("{'descr': '>i2', 'fortran_order': True, 'shape': (0, 9223372036854775807), }"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := bytes.NewReader(file)
		h, err := npy.ParseHeader(r)
		if err != nil {
			return
		}
		if read := int64(len(file) - r.Len()); read != h.Offset {
			t.Fatalf("read %d bytes, offset %d", read, h.Offset)
		}
		if h.Elements() < 0 || h.FileSize() < h.Offset {
			t.Fatalf("%+v overflows", h)
		}
		var b bytes.Buffer
		if _, err := npy.WriteHeader(&b, h.Type, h.Shape); err != nil {
			t.Fatal(err)
		}
		again, err := npy.ParseHeader(&b)
		if err != nil {
			t.Fatal(err)
		}
		if again.Type != h.Type || len(again.Shape) != len(h.Shape) || again.Elements() != h.Elements() {
			t.Fatalf("wrote %+v, read %+v", h, again)
		}
	})
}
