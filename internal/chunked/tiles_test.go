package chunked_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gather/internal/chunked"
	"gather/internal/npy"
)

// tileReader has an .npy file in tiles. Elements beyond the array are garbage.
type tileReader struct {
	header npy.Header
	data   []byte
	tile   []int64
	reads  *atomic.Int64
	fails  bool
}

// inTiles returns an array in tiles of a shape.
func inTiles(h npy.Header, file []byte, tile []int64) (chunked.Stored, *tileReader) {
	r := &tileReader{header: h, data: file[h.Offset:], tile: tile, reads: new(atomic.Int64)}
	h.BigEndian = false
	return chunked.Stored{Header: h, Tile: tile, Tiles: r, Remote: len(tile)%2 == 0}, r
}

var errTileTest = errors.New("no such tile")

func (r *tileReader) ReadAhead(i int64) {
	n := int64(1)
	for k, d := range r.header.Shape {
		n *= (d + r.tile[k] - 1) / r.tile[k]
	}
	if i < 0 || i >= n {
		panic(fmt.Sprintf("tile %d of %d is read ahead", i, n))
	}
}

func (r *tileReader) CachedTile(ctx context.Context, i int64) ([]byte, error) {
	n := int64(r.header.Type.Size)
	for _, d := range r.tile {
		n *= d
	}
	dst := make([]byte, n)
	return dst, r.ReadTile(ctx, i, dst)
}

func (r *tileReader) ReadTile(_ context.Context, i int64, dst []byte) error {
	if r.fails {
		return errTileTest
	}
	r.reads.Add(1)
	size := r.header.Type.Size
	n := len(r.tile)
	start := make([]int64, n)
	for k := n - 1; k >= 0; k-- {
		tiles := (r.header.Shape[k] + r.tile[k] - 1) / r.tile[k]
		start[k] = i % tiles * r.tile[k]
		i /= tiles
	}
	axes := make([]int, n) // from the slowest to the fastest
	for k := range axes {
		axes[k] = k
	}
	if r.header.Fortran {
		slices.Reverse(axes)
	}
	for at := range len(dst) / size {
		rest, index, inside, weight := int64(at), int64(0), true, int64(1)
		for _, k := range slices.Backward(axes) {
			x := start[k] + rest%r.tile[k]
			rest /= r.tile[k]
			inside = inside && x < r.header.Shape[k]
			index += x * weight
			weight *= r.header.Shape[k]
		}
		to := dst[at*size:][:size]
		if !inside {
			for b := range to {
				to[b] = 0xa5
			}
			continue
		}
		copy(to, r.data[index*int64(size):])
		if r.header.BigEndian {
			slices.Reverse(to)
		}
	}
	return nil
}

// Sums of arrays in tiles have the items and results of the same elements in a file, whatever the tiles, chunks and tasks.
func TestTiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 1))
	w := chunked.NewWorker()
	for range 3000 {
		shape := make([]int64, rng.IntN(5))
		tile := make([]int64, len(shape))
		n := int64(1)
		for k := range shape {
			shape[k] = int64(rng.IntN(7))
			if rng.IntN(20) > 0 {
				shape[k]++
			}
			tile[k] = 1 + int64(rng.IntN(5))
			n *= shape[k]
		}
		h := npy.Header{Type: npy.Type{Kind: 'f', Size: 8}, Shape: shape, Fortran: rng.IntN(2) == 0}
		data := make([]byte, 8*n)
		for i := range n {
			binary.LittleEndian.PutUint64(data[8*i:], 0x3ff0000000000000+rng.Uint64N(1<<54))
		}
		stored, reader := inTiles(h, data, tile)
		var chunks []string
		follows := rng.IntN(2) == 0
		for k := range tile {
			c := tile[k] * int64(1+rng.IntN(3))
			if !follows {
				c = 1 + int64(rng.IntN(5))
			}
			chunks = append(chunks, fmt.Sprint(c))
		}
		list := `[` + strings.Join(chunks, ",") + `]`
		open := func(s chunked.Stored, source string) *chunked.Array {
			a, errs := parseArray(fmt.Appendf(nil, `{"source":%q,"url":"u","chunks":%s}`, source, list),
				chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return s, nil }})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			return a
		}
		inFile := open(chunked.Stored{Header: h, Reader: bytes.NewReader(data)}, "npy")
		tiles := open(stored, "zarr")
		var axes []string
		for k := range shape {
			if rng.IntN(2) == 0 {
				axes = append(axes, fmt.Sprint(k))
			}
		}
		axis := `[` + strings.Join(axes, ",") + `]`
		if rng.IntN(3) == 0 {
			axis = ""
		}
		name := fmt.Sprintf("shape %v, Fortran %v, tiles %v, chunks %s, axis %s", shape, h.Fortran, tile, list, axis)
		size := int64(1 + rng.IntN(50))
		var got []outcome
		for _, a := range []*chunked.Array{inFile, tiles} {
			p, err := chunked.NewFinePlan(a, reduction(t, a, axis, "", ""), size, chunked.Limits{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got = append(got, sum(t, w, p, rng))
		}
		if got[0].result != got[1].result || !slices.Equal(got[0].items, got[1].items) {
			t.Fatalf("%s: got %v, want %v", name, got[1], got[0])
		}
		count := int64(1)
		for k := range shape {
			count *= (shape[k] + tile[k] - 1) / tile[k]
		}
		if reads := reader.reads.Load(); (follows || axis != "" && len(axes) < len(shape)) && reads != count {
			t.Errorf("%s: got %d reads of %d tiles, want one each", name, reads, count)
		}
	}
}

// By default the chunks are the tiles, and automatic ones are whole tiles.
func TestChunksOfTiles(t *testing.T) {
	stored, _ := inTiles(npy.Header{Type: npy.Type{Kind: 'f', Size: 8}, Shape: []int64{100, 1000}}, make([]byte, 800000), []int64{30, 70})
	for chunks, want := range map[string]string{
		``: "[4 15]", `,"chunks":"auto"`: "[1 1]", `,"chunks":"64KiB"`: "[2 15]", `,"chunks":["auto",-1]`: "[1 1]", `,"chunks":[7,-1]`: "[15 1]",
	} {
		a, errs := parseArray([]byte(`{"source":"zarr","url":"u"`+chunks+`}`),
			chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return stored, nil }})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if got := fmt.Sprint(a.Grid().NumBlocks()); got != want {
			t.Errorf("%s: got %s chunks, want %s", chunks, got, want)
		}
	}
}

// The error of a tile fails the task.
func TestTileFails(t *testing.T) {
	stored, reader := inTiles(npy.Header{Type: npy.Type{Kind: 'f', Size: 8}, Shape: []int64{6, 6}}, make([]byte, 288), []int64{2, 2})
	reader.fails = true
	for _, chunks := range []string{"2", "1", "6"} {
		for _, axis := range []string{"", "0"} {
			a, _ := parseArray([]byte(`{"source":"zarr","url":"u","chunks":`+chunks+`}`),
				chunked.Options{Open: func(chunked.Ref) (chunked.Stored, error) { return stored, nil }})
			p, err := chunked.NewPlan(a, reduction(t, a, axis, "", ""), chunked.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Run(t.Context(), chunked.NewWorker(), 0, nil, nil); !errors.Is(err, errTileTest) {
				t.Errorf("chunks %s, axis %q: got %v, want the error of the tile", chunks, axis, err)
			}
		}
	}
}
