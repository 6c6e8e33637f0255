package main

import (
	"context"
	"fmt"
	"io"

	"gather/bench/render"
)

// compareObjects compares sums of an .npy object on S3 with parallel reads of its ranges, which add nothing.
func (l *lab) compareObjects(ctx context.Context, out io.Writer) error {
	mib, rounds := int64(512), 5
	if l.short {
		mib, rounds = 64, 1
	}
	g, err := l.startOnBucket(ctx)
	if g != nil {
		defer g.stop()
	}
	if err != nil {
		return err
	}
	t := render.Table{
		Header: []string{"object", "sum", "gather", "8 MiB, 8 at a time", "8 MiB, 16 at a time", "1 MiB, 64 at a time", "fastest reads / gather"},
		Note:   fmt.Sprintf("Each request takes %s longer than without a network. Client, server and object store share the cores.", latency),
	}
	for _, s := range storedArrays(mib)[:3] {
		f, err := l.arrayOf("object", s, roundedIf(s.dtype == "i2", normals()))
		if err != nil {
			return err
		}
		key := s.dtype + ".npy"
		if err := g.put(ctx, f.path, key); err != nil {
			return err
		}
		for _, axis := range []any{nil, 0, 1} {
			contenders := []contender{l.service(ctx, fmt.Sprintf(`"axis":%s,"array":{"source":"npy","url":"s3://%s/%s"}`, asJSON(axis), bucketName, key), 1)}
			for _, r := range []struct{ mib, parallel int64 }{{8, 8}, {8, 16}, {1, 64}} {
				contenders = append(contenders, contender{name: "reads", run: func() (response, error) {
					return g.readRanges(ctx, key, f.offset+f.bytes, r.mib<<20, int(r.parallel))
				}})
			}
			f, err := l.rounds(rounds, contenders...)
			if err != nil {
				return err
			}
			name := sumName(axis)
			fastest := min(f[1].seconds, f[2].seconds, f[3].seconds)
			t.Row(fmt.Sprintf("%d MiB, %s", mib, s), name, render.Seconds(f[0].seconds), render.Seconds(f[1].seconds), render.Seconds(f[2].seconds),
				render.Seconds(f[3].seconds), render.Ratio(fastest, f[0].seconds))
		}
	}
	_, err = io.WriteString(out, t.String())
	return err
}
