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
	"time"

	"gather/internal/array/arraytest"
	"gather/internal/cluster/arrays"
	"gather/internal/cluster/natstest"
	"gather/internal/job"
)

// flipBit inverts one bit in the file of a stream below dir that has the piece. The log of its Raft group, elsewhere, may have it too.
func flipBit(t *testing.T, dir string, piece []byte) {
	t.Helper()
	flipped := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".blk") || !strings.Contains(path, "/streams/") {
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
// replica reads from the leader of the stream; only when the leader's replica is damaged as well the read fails.
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
			servers.StartAll()

			for i, url := range strings.Split(servers.URL, ",") {
				at := *p
				at.url = url
				store := at.store(t)
				err := readBack(t, store, data)
				switch {
				case n == 1 && !errors.Is(err, job.ErrCorrupt):
					t.Errorf("got %v, want %v", err, job.ErrCorrupt)
				// Another server may lead at the time of the read: then the damaged replica is read around.
				case n > 1 && i == 0 && err != nil && !errors.Is(err, job.ErrCorrupt):
					t.Errorf("server %d: got %v, want the bytes or %v", i, err, job.ErrCorrupt)
				}
				// Until its own server's replica is current, a node may read another server's replica, and the leader's.
				for deadline := time.Now().Add(2 * time.Minute); i > 0 && err != nil; err = readBack(t, store, data) {
					if !errors.Is(err, job.ErrCorrupt) || time.Now().After(deadline) {
						t.Fatalf("server %d: got %v, want the bytes", i, err)
					}
				}
			}
		})
	}
}

// readBack reads the array x, and compares it with data unless it cannot be read.
func readBack(t *testing.T, s *arrays.Store, data []byte) error {
	t.Helper()
	h, end := arraytest.Acquire(t, s, "acme", "x")
	defer end()
	got := make([]byte, len(data))
	_, err := h.ReadAtContext(t.Context(), got, 0)
	if err == nil && !bytes.Equal(got, data) {
		t.Error("read other bytes than were uploaded, without an error")
	}
	return err
}
