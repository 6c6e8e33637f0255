//go:build measure

package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"gather/internal/cluster/natstest"
)

// TestLogCompression measures how well the messages of the log compress, for jobs of several kinds and sizes. It
// compresses each message alone, like a node before it publishes. ADR 19 has the results.
//
//	go test -tags measure ./cmd/server -run TestLogCompression -v
func TestLogCompression(t *testing.T) {
	servers := natstest.Start(t, 1)
	f := newTestCluster(t, build(t), "measured", &servers.Files, longNodeTimeout, "--nats-replicas=1")
	f.grow(1)
	ctx := f.contextOf(5 * time.Minute)
	wide := wideOrder(1).body
	rows := "[" + strings.TrimSuffix(strings.Repeat("0.1,1e16,-7.25,", 3000), ",") + "]"
	for _, tt := range []struct {
		name, body string
		jobs       int
	}{
		{"squares, 5 numbers", `{"kind":"squares","numbers":[1,2,3,4,5]}`, 300},
		{"squares, 1 000 of a range", `{"kind":"squares","range":{"start":123456,"stop":124456}}`, 20},
		{"squares, 100 000 of a range", `{"kind":"squares","range":{"start":0,"stop":100000}}`, 3},
		{"squares, 20 of 3 000 digits", wide, 20},
		{"sleep_batch, 5", `{"kind":"sleep_batch","count":5,"duration":"1ms"}`, 300},
		{"sleep_batch, 10 000", `{"kind":"sleep_batch","count":10000,"duration":"10ms"}`, 3},
		{"array_sum, 100 chunks", `{"kind":"array_sum","array":{"source":"ones","shape":[1000,1000],"chunks":[100,100]}}`, 20},
		{"array_sum, 9 000 inline values", `{"kind":"array_sum","array":{"values":` + rows + `}}`, 20},
		{"array_sum, axis, 1 000 x 1 000 random", `{"kind":"array_sum","array":{"source":"random","seed":7,"shape":[1000,1000]},"axis":0}`, 10},
	} {
		after := servers.Streams(t, "MEASURED_LOG")[0].Last
		c := f.client(0)
		for range tt.jobs {
			o := order{body: tt.body}
			v, _, err := c.submit(ctx, &o, tt.body, "")
			if err == nil {
				_, err = c.wait(ctx, v.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		report(ctx, t, tt.name, servers.Messages(t, "MEASURED_LOG", after))
	}
}

// report logs for each size class: the number of messages, their mean size in bytes, ratio and compression time of zstd
// (fastest, default) and S2, and the decompression time of zstd.
func report(_ context.Context, t *testing.T, name string, messages [][]byte) {
	t.Helper()
	fast, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	usual, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	back, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	for _, class := range []struct {
		name     string
		from, to int
	}{{"up to 1 KiB", 0, 1 << 10}, {"1 to 16 KiB", 1<<10 + 1, 16 << 10}, {"above 16 KiB", 16<<10 + 1, 1 << 30}} {
		var in [][]byte
		size := 0
		for _, m := range messages {
			if len(m) >= class.from && len(m) <= class.to {
				in, size = append(in, m), size+len(m)
			}
		}
		if size == 0 {
			continue
		}
		var packed [][]byte
		measure := func(do func(m []byte) int) string {
			out := 0
			began := time.Now()
			for _, m := range in {
				out += do(m)
			}
			return fmt.Sprintf("%.2f at %.1f ns/B", float64(size)/float64(out), float64(time.Since(began).Nanoseconds())/float64(size))
		}
		measure(func(m []byte) int { return len(fast.EncodeAll(m, nil)) + len(usual.EncodeAll(m, nil)) }) // the first call allocates tables
		a := measure(func(m []byte) int { packed = append(packed, fast.EncodeAll(m, nil)); return len(packed[len(packed)-1]) })
		b := measure(func(m []byte) int { return len(usual.EncodeAll(m, nil)) })
		c := measure(func(m []byte) int { return len(s2.Encode(nil, m)) })
		i := 0
		d := measure(func(m []byte) int {
			plain, err := back.DecodeAll(packed[i], nil)
			if i++; err != nil || len(plain) != len(m) {
				t.Fatalf("decoded %d bytes, %v, want %d", len(plain), err, len(m))
			}
			return len(m)
		})
		t.Logf("| %s | %s | %d | %d | %s | %s | %s | %s |", name, class.name, len(in), size/len(in), a, b, c, strings.TrimPrefix(d, "1.00 at "))
	}
}
