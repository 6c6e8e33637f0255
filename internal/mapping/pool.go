package mapping

import (
	"container/list"
	"errors"
	"sync"
	"time"
)

const (
	// poolFiles is the number of unused files that a Pool keeps mapped.
	poolFiles = 32
	// poolIdle is how long it keeps them. A deleted file takes space on its disk for as long.
	poolIdle = 10 * time.Second
)

// Pool keeps files mapped, by a key that identifies their content. It is safe for concurrent use; a nil Pool maps none.
type Pool struct {
	mu     sync.Mutex
	files  map[string]*pooled
	unused list.List // of *pooled, the most recently used first
	timer  *time.Timer
	closed bool
}

type pooled struct {
	key     string
	file    *File
	users   int
	since   time.Time // the end of the last use
	element *list.Element
}

// NewPool returns an empty Pool.
func NewPool() *Pool { return &Pool{files: make(map[string]*pooled)} }

// Use calls use with the file of a key, which open opens unless it is mapped already. Errors: those of open and use, and
// ErrUnsupported for a nil Pool.
func (p *Pool) Use(k string, open func() (*File, error), use func(f *File) error) error {
	if p == nil {
		return ErrUnsupported
	}
	e, err := p.get(k, open)
	if err != nil {
		return err
	}
	defer p.put(e)
	return use(e.file)
}

func (p *Pool) get(k string, open func() (*File, error)) (*pooled, error) {
	if e := p.find(k, nil); e != nil {
		return e, nil
	}
	f, err := open() // not under the lock, because it may take long
	if err != nil {
		return nil, err
	}
	e := p.find(k, f)
	if e.file != f { // another caller was faster
		_ = f.Close()
	}
	return e, nil
}

// find begins a use of the file of a key. Without one it adds f or, if f is nil, returns nil.
func (p *Pool) find(k string, f *File) *pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.files[k]
	switch {
	case e == nil && f == nil:
		return nil
	case e == nil:
		e = &pooled{key: k, file: f}
		p.files[k] = e
	case e.element != nil:
		p.unused.Remove(e.element)
		e.element = nil
	}
	e.users++
	return e
}

// put ends a use of e.
func (p *Pool) put(e *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.users--; e.users > 0 {
		return
	}
	e.since = time.Now()
	e.element = p.unused.PushFront(e)
	switch {
	case p.closed || p.files[e.key] != e:
		p.drop(e)
	case p.unused.Len() > poolFiles:
		p.drop(p.unused.Back().Value.(*pooled))
	}
	if p.timer == nil && p.unused.Len() > 0 {
		p.timer = time.AfterFunc(poolIdle, p.expire)
	}
}

// expire drops the files that were not used for poolIdle.
func (p *Pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	for e := p.unused.Back(); e != nil; e = p.unused.Back() {
		rest := poolIdle - time.Since(e.Value.(*pooled).since)
		if rest > 0 && !p.closed {
			p.timer = time.AfterFunc(rest, p.expire)
			return
		}
		p.drop(e.Value.(*pooled))
	}
}

// drop closes an unused file. p.mu is held. The error of closing a file that was only read means nothing.
func (p *Pool) drop(e *pooled) {
	if e.element != nil {
		p.unused.Remove(e.element)
		e.element = nil
	}
	if p.files[e.key] == e {
		delete(p.files, e.key)
	}
	_ = e.file.Close()
}

// Forget unmaps the file of a key, after the uses in progress.
func (p *Pool) Forget(k string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.files[k]
	if e == nil {
		return
	}
	delete(p.files, k)
	if e.users == 0 {
		p.drop(e)
	}
}

// Close unmaps all files, those in use after their use.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("mapping: the pool is closed")
	}
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for _, e := range p.files {
		if e.users == 0 {
			p.drop(e)
		}
	}
	return nil
}
