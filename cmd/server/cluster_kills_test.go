package main

import (
	"context"
	"flag"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
)

var (
	kills    = flag.Int("kills", 3, "number of times TestNATSLeaderKills kills the leader of the log")
	compress = flag.Bool("compress-log", false, "let the NATS servers of TestNATSLeaderKills compress the log, which loses it on 2.15.0 to 2.15.3")
)

// killBytes is the number of bytes written to the log before each kill. The bug that this test reproduced needed a full
// block of the file store, which has 8 MiB.
const killBytes = 9 << 20

// TestNATSLeaderKills repeatedly kills the NATS server that leads the log, under load. Between kills the log fills a
// block of the file store, and the killed server becomes healthy again. Afterwards every accepted job is read to its
// end. More kills: go test ./cmd/server -run TestNATSLeaderKills -timeout=30m -kills=20
func TestNATSLeaderKills(t *testing.T) {
	t.Parallel()
	binary := build(t)
	servers := natstest.Start(t, 3, natstest.SyncAlways())
	f := newTestCluster(t, binary, "kills", &servers.Files)
	if *compress {
		servers.CreateCompressed(t, "KILLS_LOG", "kills.log.*", map[string]string{"gather-log": "compressed"})
	}
	f.grow(3)
	ctx := f.contextOf(time.Minute + time.Duration(*kills)*time.Minute)
	l := &load{f: f, order: wideOrder}
	for i := range *kills {
		before := servers.Streams(t, "KILLS_LOG")[0].Bytes
		l.start(ctx, 8, math.MaxInt)
		f.until(ctx, time.Minute, "the log fills a block", func(context.Context) (bool, any) {
			now := servers.Streams(t, "KILLS_LOG")[0].Bytes
			return now > before+killBytes, now - before
		})
		leader := i % 3
		servers.Lead(t, "KILLS_LOG", leader)
		servers.Kill(leader)
		accepted := l.accepted.count()
		l.reach(ctx, accepted+8)
		l.stop() // under load a recovering server can take minutes to become healthy
		servers.Restart(leader)
		t.Logf("server %d was killed after %d jobs", leader, accepted)
	}
	f.verify(ctx)
}

// wideOrder returns job number i, which writes about 180 KB of digits to the log.
func wideOrder(i int) order {
	digits := rand.New(rand.NewPCG(uint64(i), 1))
	var numbers, squares []string
	for range 20 {
		b := make([]byte, 3000)
		for k := range b {
			b[k] = byte('1' + digits.IntN(9))
		}
		n, _ := new(big.Int).SetString(string(b), 10)
		numbers, squares = append(numbers, string(b)), append(squares, new(big.Int).Mul(n, n).String())
	}
	return order{
		body:  `{"kind":"squares","numbers":[` + strings.Join(numbers, ",") + `]}`,
		items: len(numbers), result: strconv.Itoa(len(numbers)),
		check: func(index int, value string) string { return differ(value, squares[index]) },
	}
}
