package journal

import (
	"sync"
	"sync/atomic"
	"time"
)

// # When the disk fails
//
// Pebble treats an error of its write-ahead log or its manifest as the end of the process: a failed write panics while
// the commit pipeline is locked, a failed sync while a log is rotated ends in "unlock of unlocked mutex", which nothing
// can recover from. So these errors never reach it: patientFS stands between Pebble and the disk and tries a failed
// operation again until it works. To Pebble a broken disk is a slow one. What it has in memory stays in memory, in order,
// and goes on when the disk does: nothing needs to be reopened, replayed or reconciled.
//
// After a failed fsync the kernel may have dropped what was written, and a second fsync would say nothing. So a
// patientFile keeps a copy of what it wrote since the last fsync, and writes it again, through a new handle, before it
// believes another one.
//
// Errors of tables do reach Pebble, after a pause: it keeps the memtable or the inputs and tries the flush or the
// compaction again. Errors of reading reach whoever reads.
//
// Survived without a restart, with nothing accepted lost: a full disk or quota; errors of writing and of fsync that go
// away; a file system remounted read-only and back; a stale network handle whose file is there again. Not survived: a file
// system that forgets data which it has confirmed; a directory that is exchanged or whose files are removed while the
// server runs; and a disk that fails until the process ends loses what no answer has promised.
//
// When the journal must close while the disk fails, the file system is powered off: from then on every change is
// swallowed and reported as done, so that Pebble can take itself apart. What is on the disk then is what a power cut at
// that moment would have left, and the next start recovers from it. The writer looks at off after every sync, and
// takes none for granted that came later.

// patience is the state of the disk, shared by all files of a patientFS.
type patience struct {
	retry  time.Duration
	report func()
	off    atomic.Bool

	mu sync.Mutex
	// failing counts the operations that are being tried again; err is what the last of them said.
	failing int
	err     error
	// failures counts failed operations, for the metrics.
	failures atomic.Uint64
	// hurried is closed when nothing is to be tried again any more: while opening, and while closing.
	hurried chan struct{}
	opening bool
}

// newPatience begins without any: the first failure of opening is its answer.
func newPatience(retry time.Duration, report func()) *patience {
	p := &patience{retry: retry, report: report, hurried: make(chan struct{}), opening: true}
	close(p.hurried)
	return p
}

// fault returns why the disk does not work, or nil.
func (p *patience) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing == 0 {
		return nil
	}
	return p.err
}

// hurry makes every operation that fails, now or later, the last one: it is tried once more, then the power goes off.
func (p *patience) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.hurried:
	default:
		close(p.hurried)
	}
}

// opened begins the patience.
func (p *patience) opened() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opening, p.hurried = false, make(chan struct{})
}

// last returns the error of the operation that failed last, at any time.
func (p *patience) last() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// wait tries an operation that failed with err again until it works. It returns false when the power went off instead.
func (p *patience) wait(err error, again func() error) bool {
	p.failures.Add(1)
	p.mu.Lock()
	p.failing++
	p.err = err
	hurried := p.hurried
	p.mu.Unlock()
	p.report()
	defer func() {
		p.mu.Lock()
		p.failing--
		p.mu.Unlock()
		p.report()
	}()
	for {
		last := p.pause(hurried)
		if p.off.Load() {
			return false
		}
		if err = again(); err == nil {
			return true
		}
		p.failures.Add(1)
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		if last {
			p.off.Store(true)
			return false
		}
	}
}

// pause waits for the next try, and reports whether it is the last.
func (p *patience) pause(hurried <-chan struct{}) (last bool) {
	t := time.NewTimer(p.retry)
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-hurried:
		return true
	}
}

// do runs an operation until it works, and reports false when the power is off: then it may not have been run.
func (p *patience) do(op func() error) (on bool) {
	if p.off.Load() {
		return false
	}
	if err := op(); err != nil {
		return p.wait(err, op)
	}
	return true
}

// impatient notes an error that Pebble is to see, and holds it back for a while, because Pebble tries again at once. While
// the journal is opened or closed, where Pebble would try for ever, the power goes off instead, and there is nothing to see.
func (p *patience) impatient(err error) error {
	if err == nil {
		return nil
	}
	p.failures.Add(1)
	p.mu.Lock()
	hurried, opening := p.hurried, p.opening
	p.mu.Unlock()
	if !opening && !p.pause(hurried) {
		return err
	}
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	p.off.Store(true)
	return nil
}
