package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// writeZarr writes an array of version 2 of rows times columns equal chunks of 512 times 1024 int32, and returns the sum of
// each column of a chunk.
func writeZarr(t *testing.T, dir string, rows, columns int) (sums [1024]int64) {
	t.Helper()
	var chunk []byte
	for r := range 512 {
		for c := range 1024 {
			v := (r*31+c*17)%2003 - 1000
			sums[c] += int64(v)
			chunk = binary.LittleEndian.AppendUint32(chunk, uint32(int32(v)))
		}
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(chunk)
	if err = errors.Join(err, z.Close(), os.MkdirAll(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	meta := fmt.Sprintf(`{"zarr_format":2,"shape":[%d,%d],"chunks":[512,1024],"dtype":"<i4","compressor":{"id":"gzip","level":6},"fill_value":0,"order":"C","filters":null}`,
		rows*512, columns*1024)
	if err := os.WriteFile(filepath.Join(dir, ".zarray"), []byte(meta), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range rows * columns {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.%d", i/columns, i%columns)), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return sums
}

// zarr tests that all nodes of a cluster sum chunks of a Zarr array, with the exact result.
func (s *suite) zarr(t *testing.T) {
	const rows, columns = 40, 20 // 1.6 GiB when they are decoded
	bucket := t.TempDir()
	sums := writeZarr(t, filepath.Join(bucket, "a.zarr", "x"), rows, columns)
	f := s.cluster(t, 3, longNodeTimeout, "--workers=1", "--array-bucket=file://"+bucket)
	ctx := f.context()
	total := int64(0)
	for _, v := range sums {
		total += v * rows * columns
	}
	column := make([]int64, 0, columns*1024)
	for range columns {
		for _, v := range sums {
			column = append(column, v*rows)
		}
	}
	summed := func(i int) float64 {
		n, err := f.metric(ctx, i, "gather_array_summed_bytes_total")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	url := fmt.Sprintf(`"array":{"source":"zarr","url":"file://%s/a.zarr/x"}`, bucket)
	for name, o := range map[string]order{
		"whole": {body: `{"kind":"array_sum",` + url + `}`, items: rows * columns, result: fmt.Sprint(total)},
		"along axis 0": {
			body: `{"kind":"array_sum","axis":0,` + url + `}`, items: len(column), result: "null",
			check: func(index int, value string) string {
				if want := fmt.Sprint(column[index]); value != want {
					return "want " + want
				}
				return ""
			},
		},
	} {
		var before [3]float64
		for i := range before {
			before[i] = summed(i)
		}
		v := f.accept(ctx, 0, &o, o.body, "")
		if _, _, err := f.client(1).results(ctx, v.ID); err != nil {
			t.Fatal(err)
		}
		all := 0.0
		for i := range before {
			n := summed(i) - before[i]
			t.Logf("%s: node %d summed %.0f MiB", name, i, n/(1<<20))
			if all += n; n == 0 {
				t.Errorf("%s: node %d summed nothing", name, i)
			}
		}
		if want := float64(rows * columns * 512 * 1024 * 4); all < want {
			t.Errorf("%s: the nodes summed %.0f bytes, want at least %.0f", name, all, want)
		}
	}
	f.verify(ctx)
}
