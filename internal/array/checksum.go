package array

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"

	"gather/internal/job"
)

// checkBytes is the size of the blocks of a file that have checksums, counted from its start: 1/16384 of the file is
// checksums, and a mapped file can be checked by any larger power of two.
const checkBytes = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksums are the CRC-32C of the blocks of a file. Each block is checked when it is read for the first time. They are safe
// for concurrent use.
type checksums struct {
	sums  []byte // four bytes for each block, the lowest first
	bytes int64  // of the file
	good  []atomic.Uint64
}

// newChecksums returns nil when sums are not the checksums of a file of that size: nothing can be checked then.
func newChecksums(sums []byte, bytes int64) *checksums {
	blocks := (bytes + checkBytes - 1) / checkBytes
	if int64(len(sums)) != 4*blocks {
		return nil
	}
	return &checksums{sums: sums, bytes: bytes, good: make([]atomic.Uint64, (blocks+63)/64)}
}

// checkBuffers are for blocks that were read in part.
var checkBuffers = sync.Pool{New: func() any { return new([checkBytes]byte) }}

// check checks the blocks of p, which was read at off of the file, unless they were checked before. It reads the rest of
// blocks that p has in part. Errors: job.ErrCorrupt, those of f.
func (c *checksums) check(f io.ReaderAt, p []byte, off int64) error {
	for i, end := off/checkBytes, off+int64(len(p)); i*checkBytes < end; i++ {
		if c.good[i/64].Load()&(1<<(i%64)) != 0 {
			continue
		}
		lo, hi := i*checkBytes, min((i+1)*checkBytes, c.bytes)
		if lo >= off && hi <= end {
			if err := c.verify(i, p[lo-off:hi-off]); err != nil {
				return err
			}
			continue
		}
		buffer := checkBuffers.Get().(*[checkBytes]byte)
		block := buffer[:hi-lo]
		_, err := f.ReadAt(block, lo)
		if err == nil {
			err = c.verify(i, block)
		}
		if lo < off {
			copy(p, block[off-lo:]) // the checked bytes, not the bytes that were read before
		} else {
			copy(p[lo-off:], block)
		}
		checkBuffers.Put(buffer)
		if err != nil {
			return err
		}
	}
	return nil
}

// verify checks block i.
func (c *checksums) verify(i int64, block []byte) error {
	if crc32.Checksum(block, castagnoli) != binary.LittleEndian.Uint32(c.sums[4*i:]) {
		return fmt.Errorf("%w: bytes %d to %d of the stored file do not match their checksum", job.ErrCorrupt, i*checkBytes, i*checkBytes+int64(len(block))-1)
	}
	c.good[i/64].Or(1 << (i % 64))
	return nil
}

// summer computes the checksums of the bytes that are written to it.
type summer struct {
	sums []byte
	crc  uint32
	n    int // bytes of the block that crc is of
}

// Write implements io.Writer; it does not fail.
func (s *summer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		k := min(len(rest), checkBytes-s.n)
		s.crc = crc32.Update(s.crc, castagnoli, rest[:k])
		rest = rest[k:]
		if s.n += k; s.n == checkBytes {
			s.close()
		}
	}
	return len(p), nil
}

// close ends the block, if there is any of it, and returns all checksums.
func (s *summer) close() []byte {
	if s.n > 0 {
		s.sums = binary.LittleEndian.AppendUint32(s.sums, s.crc)
		s.crc, s.n = 0, 0
	}
	return s.sums
}
