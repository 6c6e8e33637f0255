package cluster_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/cluster/natstest"
)

// TestCompressedMove follows docs/cluster.md#compressed-streams: compression off, then a rolling restart of the servers.
// After that a server may be killed at any time without losing messages.
func TestCompressedMove(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	servers := natstest.Start(t, 3, natstest.SyncAlways())
	servers.CreateCompressed(t, "MOVED_LOG", "moved.log.*", nil)
	nc, err := servers.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	digits := rand.New(rand.NewPCG(1, 2))
	publish := func(n int) { // 100 KB each, which compress to about half the size
		t.Helper()
		for range n {
			m := make([]byte, 100_000)
			for i := range m {
				m[i] = '0' + byte(digits.IntN(10))
			}
			for {
				if _, err := js.Publish(t.Context(), "moved.log.a", m, jetstream.WithMsgID(fmt.Sprint(len(want)))); err == nil {
					break
				} else if t.Context().Err() != nil {
					t.Fatal(err)
				}
			}
			want = append(want, m)
		}
	}
	publish(200)
	servers.Compress(t, "MOVED_LOG", jetstream.NoCompression)
	publish(100)
	for i := range 3 {
		servers.Stop(i)
		publish(5)
		servers.Restart(i)
	}
	publish(100)
	for i := range 6 {
		servers.Lead(t, "MOVED_LOG", i%3)
		servers.Kill(i % 3)
		publish(90) // more than a block
		servers.Restart(i % 3)
	}
	got := servers.Messages(t, "MOVED_LOG", 0)
	if len(got) != len(want) {
		t.Fatalf("got %d messages, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("message %d differs", i)
		}
	}
}
