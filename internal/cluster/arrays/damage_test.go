package arrays_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gather/internal/array/arraytest"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// flipBit inverts one bit in the file of a stream below dir that has the piece.
func flipBit(t *testing.T, dir string, piece []byte) {
	t.Helper()
	flipped := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".blk") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.Index(data, piece)
		if at < 0 {
			return nil
		}
		flipped++
		data[at] ^= 1
		return os.WriteFile(path, data, 0o600)
	})
	if err != nil || flipped != 1 {
		t.Fatalf("%d files of streams in %s have the piece, want 1: %v", flipped, dir, err)
	}
}

// NATS servers check the checksum of a stored message when they read it. A node that is connected to a server with a damaged
// replica reads from the leader of the stream; only when the leader's replica is damaged as well is the array damaged to it.
func TestFlippedBits(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			servers := natstest.Start(t, n)
			p := newPlace(servers.URL, n)
			data := arraytest.File(t, 3<<17, 0) // 3 MiB
			_, _ = rand.NewChaCha8([32]byte{}).Read(data[128:])
			arraytest.MustPut(t, p.store(t), "acme", "x", data)
			servers.StopAll()
			flipBit(t, servers.StoreDir(0), data[1<<20:1<<20+64])
			servers.RestartAll()

			for i, url := range strings.Split(servers.URL, ",") {
				at := *p
				at.url = url
				h, end := arraytest.Acquire(t, at.store(t), "acme", "x")
				got := make([]byte, len(data))
				_, err := h.ReadAtContext(t.Context(), got, 0)
				end()
				// Which server leads can change between the read and any look at it, so a damaged replica of three may be read around.
				switch {
				case err == nil && !bytes.Equal(got, data):
					t.Errorf("server %d: read other bytes than were uploaded, without an error", i)
				case n == 1 && !errors.Is(err, job.ErrCorrupt):
					t.Errorf("server %d: got %v, want %v", i, err, job.ErrCorrupt)
				case i == 0 && err != nil && !errors.Is(err, job.ErrCorrupt):
					t.Errorf("server %d: got %v, want the bytes or %v", i, err, job.ErrCorrupt)
				case i > 0 && err != nil:
					t.Errorf("server %d: got %v, want no error", i, err)
				}
			}
		})
	}
}
