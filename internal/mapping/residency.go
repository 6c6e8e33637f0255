package mapping

import (
	"os"
	"sync/atomic"
	"time"
)

const (
	// blockBytes is the size of the blocks whose pages are loaded together.
	blockBytes = 2 << 20
	// aheadBytes is how much the kernel reads ahead of a block that is not in memory.
	aheadBytes = 8 << 20
	// recheck is how long the pages of a block are assumed to stay in memory. A page that is evicted earlier is read by
	// a page fault.
	recheck = time.Second
)

// residency loads the pages of a mapping. It remembers when each block was in memory, because to find that out takes a
// system call.
type residency struct {
	visible bool // the kernel reports which pages are in memory
	began   time.Time
	seen    []atomic.Int64 // by block: the time since began when it was last found in memory, plus recheck; 0 if never
}

func newResidency(f *os.File, size int64) residency {
	return residency{visible: seesPages(f), began: time.Now(), seen: make([]atomic.Int64, (size+blockBytes-1)/blockBytes)}
}

// load returns when the pages of bytes lo to hi are in memory. Errors: errFault, other errors of the system.
func (r *residency) load(mem []byte, lo, hi int64) error {
	if lo >= hi {
		return nil
	}
	now := int64(time.Since(r.began))
	for i := lo / blockBytes; i*blockBytes < hi; i++ {
		if r.seen[i].Load() > now {
			continue
		}
		block := mem[i*blockBytes : min((i+1)*blockBytes, int64(len(mem)))]
		if !r.visible || !resident(block) {
			next := i*blockBytes + int64(len(block))
			readAhead(mem[next:min(next+aheadBytes, int64(len(mem)))])
			if err := populate(block); err != nil {
				return err
			}
		}
		r.seen[i].Store(now + int64(recheck))
	}
	return nil
}
