package main

import (
	"context"
	"fmt"
	"strings"

	"gather/bench/render"
)

// size is a size of array that is measured.
type size struct {
	name   string
	shape  []int64 // of float64
	chunks []any
	times  int // sums of a resident array in one measurement, so that it is long enough
	rounds int
}

// whole is one chunk.
const whole = -1

func (l *lab) sizes() []size {
	small := size{"1 MiB", []int64{256, 512}, []any{[]int64{100, 100}, whole}, 200, 15}
	if l.short {
		return []size{small, {"64 MiB", []int64{2048, 4096}, []any{[]int64{1000, 1000}, whole}, 1, 3}}
	}
	chunks := []any{[]int64{100, 100}, []int64{250, 250}, []int64{1000, 1000}, []int64{4000, 4000}, "auto", whole}
	sizes := []size{small, {"512 MiB", []int64{8192, 8192}, chunks, 1, 9}}
	if l.large {
		sizes = append(sizes, size{"4 GiB", []int64{16384, 32768}, chunks, 1, 5})
	}
	return sizes
}

func chunkName(chunks any) string {
	if chunks == whole {
		return "whole"
	}
	return strings.ReplaceAll(strings.Trim(asJSON(chunks), `"`), ",", ", ")
}

// oneCore compares the kernel with other ways to sum a resident array on one core.
func (l *lab) oneCore(r *report, s size, f file) error {
	kernel := peerContender("kernel", l.self, f.at("exact", s.times))
	naive := peerContender("Go loop", l.self, f.at("naive", s.times))
	gonum := peerContender("gonum `floats.Sum`", l.gonum, f.at("gonum", s.times))
	numpy := peerContender("`np.sum`", l.numpyAndDask, f.at("numpy", s.times))
	fsum := peerContender("`math.fsum`", l.numpyAndDask, f.at("fsum", 1))
	fsum.slow = f.bytes > 100<<20
	contenders := []contender{kernel, numpy, naive, gonum, fsum}
	if f.bytes <= 1<<30 { // one more copy of 4 GiB would be too much
		contenders = append(contenders, peerContender("kernel without AVX-512", l.avx2, f.at("exact", s.times)))
	}
	if l.short {
		contenders[4].slow = true
	}
	figures, err := l.rounds(2*s.rounds, contenders...)
	if err != nil {
		return err
	}
	for i, c := range contenders {
		note := "rounded at every step"
		if figures[i].hex == figures[0].hex {
			note = "the exact sum, rounded once"
		}
		r.kernels.Row(s.name, c.name, gbps(f.bytes, figures[i].seconds), render.Ratio(figures[1].seconds, figures[i].seconds), figures[i].hex, note)
		if c.name != fsum.name {
			r.bars.Add(s.name+" of float64, one core, GB/s", c.name, float64(f.bytes)/figures[i].seconds, gbps(f.bytes, figures[i].seconds))
		}
	}
	if figures[4].hex != figures[0].hex {
		return fmt.Errorf("%s: the kernel's sum is %s, that of math.fsum %s", s.name, figures[0].hex, figures[4].hex)
	}
	want := 1.0
	where := "out of cache"
	if s.times > 1 {
		where = "in cache"
	}
	got := figures[1].seconds / figures[0].seconds
	r.target(fmt.Sprintf("kernel against `np.sum`, %s (%s)", where, s.name), figures[0], figures[1], got, want)
	if s.times > 1 {
		got := figures[1].seconds / figures[5].seconds
		r.target(fmt.Sprintf("kernel without AVX-512 against `np.sum`, in cache (%s)", s.name), figures[5], figures[1], got, 0.8)
	}
	return nil
}

// singles compares float32.
func (l *lab) singles(r *report, s size) error {
	shape := []int64{s.shape[0], 2 * s.shape[1]}
	f, err := l.array("singles", 4, shape, normals())
	if err != nil {
		return err
	}
	contenders := []contender{
		peerContender("kernel", l.self, f.at("exact32", s.times)),
		peerContender("`np.sum`", l.numpyAndDask, f.at("numpy", s.times)),
		peerContender("kernel without AVX-512", l.avx2, f.at("exact32", s.times)),
	}
	figures, err := l.rounds(2*s.rounds, contenders...)
	if err != nil {
		return err
	}
	for i, c := range contenders {
		r.singles.Row(s.name, c.name, gbps(f.bytes, figures[i].seconds), render.Ratio(figures[1].seconds, figures[i].seconds), figures[i].hex)
	}
	return drop(l.self, l.avx2, l.numpyAndDask)
}

// byChunks compares the whole service with Dask's compute() alone.
func (l *lab) byChunks(ctx context.Context, r *report, s size, f file) error {
	if err := l.gather.store(ctx, f); err != nil {
		return err
	}
	times := min(s.times, 10)
	for _, chunks := range s.chunks {
		fromFile, inMemory := l.dask("file", f, chunks, times), l.dask("memory", f, chunks, times)
		many := count(s.shape, chunks) > 20_000
		fromFile.slow, inMemory.slow = many, many
		figures, err := l.rounds(s.rounds, l.service(ctx, f.spec(chunks), times), fromFile, inMemory)
		if err != nil {
			return err
		}
		g, d, m := figures[0].seconds, figures[1].seconds, figures[2].seconds
		r.chunks.Row(s.name, chunkName(chunks), render.Seconds(g), render.Seconds(d), render.Seconds(m), render.Ratio(d, g), render.Ratio(m, g), gbps(f.bytes, g))
		if side := sideOf(s.shape, chunks); side > 0 {
			r.point(s, side, g, d, m)
		}
	}
	return nil
}

// sideOf is the length of square chunks, the longest side for whole arrays, 0 for others.
func sideOf(shape []int64, chunks any) float64 {
	switch c := chunks.(type) {
	case []int64:
		return float64(c[0])
	case int:
		return float64(shape[0])
	}
	return 0
}

// count is how many chunks of one size there are.
func count(shape []int64, chunks any) int64 {
	c, ok := chunks.([]int64)
	if !ok {
		return 1
	}
	n := int64(1)
	for i := range shape {
		n *= (shape[i] + c[i] - 1) / c[i]
	}
	return n
}
