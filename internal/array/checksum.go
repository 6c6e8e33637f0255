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

// checkBytes is the size of the checksummed blocks of a file: checksums take 1/16384 of its size, and a mapped file can
// be checked by any larger power of two.
const checkBytes = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksums are the CRC-32C of the blocks of a file. Each block is checked on its first read. Safe for concurrent use.
type checksums struct {
	sums  []byte // four bytes for each block, little endian
	bytes int64  // of the file
	good  []atomic.Uint64
	left  atomic.Int64 // blocks that are not verified yet
}

// newChecksums returns nil if sums do not match a file of that size; nothing is checked then.
func newChecksums(sums []byte, bytes int64) *checksums {
	blocks := (bytes + checkBytes - 1) / checkBytes
	if int64(len(sums)) != 4*blocks {
		return nil
	}
	c := &checksums{sums: sums, bytes: bytes, good: make([]atomic.Uint64, (blocks+63)/64)}
	c.left.Store(blocks)
	return c
}

// checkBuffers are for partially read blocks.
var checkBuffers = sync.Pool{New: func() any { return new([checkBytes]byte) }}

// check verifies the unverified blocks of p, which was read at off of the file, and reads the rest of partial blocks.
// Errors: job.ErrCorrupt, errors of f.
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
			copy(p, block[off-lo:]) // replace p by the verified bytes
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

// verifyAll verifies the unverified blocks of p, which has whole blocks of the file from off. Errors: job.ErrCorrupt.
func (c *checksums) verifyAll(p []byte, off int64) error {
	if c.left.Load() == 0 {
		return nil
	}
	for i := off / checkBytes; len(p) > 0; i++ {
		block := p[:min(checkBytes, len(p))]
		p = p[len(block):]
		if c.good[i/64].Load()&(1<<(i%64)) != 0 {
			continue
		}
		if err := c.verify(i, block); err != nil {
			return err
		}
	}
	return nil
}

// verify verifies block i.
func (c *checksums) verify(i int64, block []byte) error {
	if crc32.Checksum(block, castagnoli) != binary.LittleEndian.Uint32(c.sums[4*i:]) {
		return fmt.Errorf("%w: bytes %d to %d of the stored file do not match their checksum", job.ErrCorrupt, i*checkBytes, i*checkBytes+int64(len(block))-1)
	}
	if bit := uint64(1) << (i % 64); c.good[i/64].Or(bit)&bit == 0 {
		c.left.Add(-1)
	}
	return nil
}

// summer computes the checksums of the bytes written to it.
type summer struct {
	sums []byte
	crc  uint32
	n    int // bytes in the current block
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

// close ends a partial block and returns all checksums.
func (s *summer) close() []byte {
	if s.n > 0 {
		s.sums = binary.LittleEndian.AppendUint32(s.sums, s.crc)
		s.crc, s.n = 0, 0
	}
	return s.sums
}
