package concat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"gather/internal/chunked"
	"gather/internal/concat"
	"gather/internal/fields"
	"gather/internal/npy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a file in memory that counts the bytes that are read.
type memory struct {
	data    []byte
	inPlace bool
	read    atomic.Int64
	fails   error
}

func (m *memory) ReadAtContext(_ context.Context, p []byte, off int64) (int, error) {
	if m.fails != nil {
		return 0, m.fails
	}
	n, err := bytes.NewReader(m.data).ReadAt(p, off)
	m.read.Add(int64(n))
	return n, err
}

func (m *memory) View(_ context.Context, lo, hi int64, use func(p []byte) error) error {
	if !m.inPlace {
		return errors.ErrUnsupported
	}
	if m.fails != nil {
		return m.fails
	}
	m.read.Add(hi - lo)
	return use(m.data[lo:hi:hi])
}

func (m *memory) Range(ctx context.Context, off, n int64) ([]byte, error) {
	p := make([]byte, n)
	_, err := m.ReadAtContext(ctx, p, off)
	return p, err
}

func (m *memory) ReadAheadRange(off, n int64) {
	if off < 0 || off+n > int64(len(m.data)) || n <= 0 {
		panic(fmt.Sprintf("bytes %d to %d of %d are read ahead", off, off+n, len(m.data)))
	}
}

// joined is an array in parts, and as one.
type joined struct {
	array *concat.Array
	files []*memory
	whole []byte // an .npy file in C order
}

// random returns an array of random elements that is cut along an axis into parts of random lengths.
func random(t *testing.T, rng *rand.Rand) joined {
	t.Helper()
	types := []npy.Type{{Kind: 'u', Size: 1}, {Kind: 'i', Size: 2}, {Kind: 'i', Size: 4}, {Kind: 'u', Size: 8}, {Kind: 'i', Size: 8}}
	h := npy.Header{Type: types[rng.IntN(len(types))], BigEndian: rng.IntN(3) == 0, Fortran: rng.IntN(2) == 0}
	h.BigEndian = h.BigEndian && h.Type.Size > 1
	for range 1 + rng.IntN(4) {
		h.Shape = append(h.Shape, 1+rng.Int64N(5))
	}
	axis := rng.IntN(len(h.Shape))
	h.Shape[axis] = 0
	inPlace, unaligned := rng.IntN(2) == 0, rng.IntN(4) == 0
	var j joined
	var parts []concat.Part
	for i := range 1 + rng.IntN(5) {
		p := h
		p.Shape = slices.Clone(h.Shape)
		p.Shape[axis] = rng.Int64N(6)
		p.Offset = 64 + int64(rng.IntN(2))*8
		if unaligned {
			p.Offset++
		}
		f := &memory{data: make([]byte, p.FileSize()), inPlace: inPlace}
		for k := range f.data {
			f.data[k] = byte(rng.Uint32())
		}
		j.files = append(j.files, f)
		parts = append(parts, concat.Part{Name: fmt.Sprint("part ", i), Header: p, Reader: f})
	}
	at := int64(axis)
	if rng.IntN(2) == 0 {
		at -= int64(len(h.Shape))
	}
	var err error
	if j.array, err = concat.New(parts, at); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := npy.WriteHeader(&b, h.Type, j.array.Header.Shape); err != nil {
		t.Fatal(err)
	}
	each(j.array.Header.Shape, func(index []int64) {
		i := slices.Clone(index)
		k := 0
		for ; i[axis] >= parts[k].Header.Shape[axis]; k++ {
			i[axis] -= parts[k].Header.Shape[axis]
		}
		p := parts[k].Header
		off, weight := int64(0), int64(1)
		for n := range i {
			x := len(i) - 1 - n
			if p.Fortran {
				x = n
			}
			off += i[x] * weight
			weight *= p.Shape[x]
		}
		element := slices.Clone(j.files[k].data[p.Offset+off*int64(p.Type.Size):][:p.Type.Size])
		if p.BigEndian {
			slices.Reverse(element)
		}
		b.Write(element)
	})
	j.whole = b.Bytes()
	return j
}

// each calls use with the indices of an array, in C order.
func each(shape []int64, use func(index []int64)) {
	if slices.Contains(shape, 0) {
		return
	}
	index := make([]int64, len(shape))
	for {
		use(index)
		k := len(shape) - 1
		for ; k >= 0; k-- {
			if index[k]++; index[k] < shape[k] {
				break
			}
			index[k] = 0
		}
		if k < 0 {
			return
		}
	}
}

func parse(t *testing.T, s chunked.Stored, more string) *chunked.Array {
	t.Helper()
	var errs fields.Errors
	a := chunked.ParseArray([]byte(`{"source":"npy","urls":["u"]`+more+`}`),
		chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return s, nil }}, &errs)
	if err := errs.Err(); err != nil {
		t.Fatal(err)
	}
	return a
}

func reduce(t *testing.T, a *chunked.Array, spec string) (items []string) {
	t.Helper()
	var errs fields.Errors
	o, _ := fields.Read(jsontext.Value(spec), &errs)
	r, _ := chunked.ParseReduction(o, a)
	p, err := chunked.NewPlan(a, r, chunked.Limits{})
	if err = errors.Join(errs.Err(), err); err != nil {
		t.Fatal(err)
	}
	items = make([]string, p.Items())
	item := func(i chunked.Item) error {
		items[i.Index] = string(i.Values[0].AppendJSON(nil))
		return nil
	}
	reducer := p.NewReducer()
	for task := range p.Tasks() {
		partial, err := p.Run(t.Context(), chunked.NewWorker(), task, nil, item)
		if err == nil {
			err = reducer.Add(task, partial)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := reducer.EachLateItem(item); err != nil {
		t.Fatal(err)
	}
	return items
}

// Sums of arrays in parts, and of selections of them, are those of the whole array, and read each byte at most once.
func TestConcatenations(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	tiles := 0
	for n := range 3000 {
		j := random(t, rng)
		s := chunked.Stored{Header: j.array.Header, Remote: rng.IntN(2) == 0}
		if f := j.array.File(); f != nil {
			s.Reader = f
		} else {
			size := int64(j.array.Header.Type.Size)
			in := j.array.SmallTiles((1+rng.Int64N(40))*size, 1+rng.Int64N(20), rng.Int64N(10*size), (20+rng.Int64N(20))*size)
			if rng.IntN(3) == 0 {
				in = j.array.Tiles(s.Remote, concat.NewCache())
			}
			s.Tile, s.Tiles = in.Shape(), in
			tiles++
		}
		h, err := npy.ParseHeader(bytes.NewReader(j.whole))
		if err != nil {
			t.Fatal(err)
		}
		whole := chunked.Stored{Header: h, Reader: bytes.NewReader(j.whole)}
		var axes []string
		for k := range h.Shape {
			if rng.IntN(2) == 0 {
				axes = append(axes, fmt.Sprint(k))
			}
		}
		spec := `{"axis":[` + strings.Join(axes, ",") + `]}`
		if rng.IntN(4) == 0 {
			spec = `{}`
		}
		chunks := ""
		if spec == `{}` {
			chunks = fmt.Sprint(`,"chunks":`, 1+rng.IntN(4))
		}
		if rng.IntN(3) == 0 {
			chunks += `,"select":[{"step":2}]`
		}
		want, got := reduce(t, parse(t, whole, chunks), spec), reduce(t, parse(t, s, chunks), spec)
		if !slices.Equal(got, want) {
			t.Fatalf("%d: %+v, %s %s: got %q, want %q", n, j.array.Header, spec, chunks, got, want)
		}
		if chunks != "" || s.Tiles != nil {
			continue
		}
		for i, f := range j.files {
			if n := f.read.Load(); n > int64(len(f.data)) {
				t.Errorf("%+v, %s: got %d bytes read of part %d, want at most %d", j.array.Header, spec, n, i, len(f.data))
			}
		}
	}
	if tiles < 500 {
		t.Errorf("got %d arrays in tiles, want at least 500", tiles)
	}
}

// Each tile is read from its parts once, with nothing else but the gaps between rows that are close together.
func TestTilesAreReadOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 2))
	for range 300 {
		j := random(t, rng)
		if j.array.File() != nil {
			continue
		}
		size := int64(j.array.Header.Type.Size)
		tiles := j.array.SmallTiles((1+rng.Int64N(40))*size, 1+rng.Int64N(20), 0, 1<<20)
		n, volume := int64(1), size
		for k, d := range tiles.Shape() {
			n *= (j.array.Header.Shape[k] + d - 1) / d
			volume *= d
		}
		for i := range n {
			tiles.ReadAhead(i)
			if err := tiles.ReadTile(t.Context(), i, make([]byte, volume)); err != nil {
				t.Fatal(err)
			}
		}
		read := int64(0)
		for _, f := range j.files {
			read += f.read.Load()
		}
		if want := j.array.Header.FileSize(); read != want {
			t.Errorf("%+v in tiles of %v: got %d bytes read, want %d", j.array.Header, tiles.Shape(), read, want)
		}
	}
}

func TestPartsThatDoNotFit(t *testing.T) {
	h := func(more string, shape ...int64) npy.Header {
		return npy.Header{
			Type: npy.Type{Kind: 'f', Size: 8}, Shape: shape, Offset: 128,
			BigEndian: strings.Contains(more, ">"), Fortran: strings.Contains(more, "F"),
		}
	}
	narrow := h("", 2, 3)
	narrow.Type.Size = 4
	for _, tt := range []struct {
		name  string
		parts []npy.Header
		axis  int64
		want  string
	}{
		{"none", nil, 0, "there are none"},
		{"no axes", []npy.Header{h("")}, 0, "a has no axes"},
		{"no such axis", []npy.Header{h("", 2, 3)}, 2, "there is no axis 2 in 2 dimensions"},
		{"no such axis from the end", []npy.Header{h("", 2, 3)}, -3, "there is no axis -3 in 2 dimensions"},
		{"another type", []npy.Header{h("", 2, 3), narrow}, 0, "b has elements of type f4, but a has f8"},
		{"another byte order", []npy.Header{h("", 2, 3), h(">", 2, 3)}, 0, "b has byte order big, but a has little"},
		{"other dimensions", []npy.Header{h("", 2, 3), h("", 2)}, 0, "b has dimensions: 1, but a has 2"},
		{"another length", []npy.Header{h("", 2, 3), h("", 2, 4)}, 0, "b has length 4 along axis 1, but a has 3"},
		{"another order", []npy.Header{h("", 1, 3), h("", 2, 3), h("F", 2, 3)}, 0, "b and c differ in the order of memory"},
		{"too long", []npy.Header{h("", 1<<62, 0), h("", 1<<62, 0)}, 0, "together they are longer than 2^63"},
		{"too large", []npy.Header{h("", 1<<58, 1), h("", 1<<58, 1), h("", 1<<58, 1)}, 0, "together they have more than 2^62 bytes"},
		{"either order", []npy.Header{h("", 1, 3), h("F", 2, 3)}, 0, ""},
		{"without elements", []npy.Header{h("F", 2, 0), h("", 3, 0)}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var parts []concat.Part
			for i, h := range tt.parts {
				parts = append(parts, concat.Part{Name: string(rune('a' + i)), Header: h})
			}
			a, err := concat.New(parts, tt.axis)
			if tt.want == "" && (err != nil || a.Header.Shape[tt.axis] == 0) {
				t.Errorf("got %v, %v, want an array", a, err)
			}
			if tt.want != "" && (!errors.Is(err, concat.ErrParts) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// An error names its part.
func TestErrorsNameTheirPart(t *testing.T) {
	h := npy.Header{Type: npy.Type{Kind: 'u', Size: 1}, Shape: []int64{2, 3}, Offset: 64}
	fault := errors.New("fault")
	for _, inPlace := range []bool{false, true} {
		good := &memory{data: make([]byte, 70), inPlace: inPlace}
		bad := &memory{data: make([]byte, 70), inPlace: inPlace, fails: fault}
		for axis := range int64(2) {
			a, err := concat.New([]concat.Part{{"one", h, good}, {"two", h, bad}}, axis)
			if err != nil {
				t.Fatal(err)
			}
			if f := a.File(); f != nil {
				_, err = f.ReadAt(make([]byte, 12), 0)
			} else {
				err = a.Tiles(false, nil).ReadTile(t.Context(), 1, make([]byte, 6))
			}
			if !errors.Is(err, fault) || !strings.HasPrefix(err.Error(), "two: ") {
				t.Errorf("axis %d: got %v, want two: fault", axis, err)
			}
		}
	}
	a, err := concat.New([]concat.Part{{"cut", h, &memory{data: make([]byte, 69)}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.File().ReadAt(make([]byte, 6), 0); !errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), "cut: ") {
		t.Errorf("got %v, want cut: EOF", err)
	}
	if n, err := a.File().ReadAt(make([]byte, 9), 0); n > 6 || err == nil {
		t.Errorf("beyond the end: got %d, %v, want an error", n, err)
	}
}
