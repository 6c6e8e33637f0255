// Package mapping reads local files in place, by mapping them into memory.
//
// Guarantees.
//   - [File.View] calls a function with bytes of the file, without copying them. Pages that are not in memory are read
//     before, in a system call that blocks only its thread, so an error of the disk is an error and not a signal.
//   - A file that is truncated during a view is [ErrTruncated]. The memory is unmapped after the last view.
//   - Only files of local file systems are mapped: a page fault on a network mount whose server is down would stop the
//     whole process, because the garbage collector waits for it. Others are [ErrUnsupported], as is every file on
//     systems other than Linux.
//
// A [Pool] keeps the mappings of recently used files, because mapping a file again costs about as much as adding its
// elements. It is bounded in files and in time; its only
// goroutine is a timer's.
package mapping

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// Errors of this package.
var (
	// ErrUnsupported is returned for a file that cannot be mapped: read it instead. It wraps errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("the file cannot be mapped: %w", errors.ErrUnsupported)
	// ErrTruncated is returned when the file is shorter than when it was mapped.
	ErrTruncated = errors.New("the file was truncated while it was read")
	// ErrDisk is returned when a page of the file cannot be read.
	ErrDisk = errors.New("the disk cannot read the file")
)

// File is a mapped file. It is safe for concurrent use.
type File struct {
	file  *os.File
	mem   []byte
	pages residency

	mu     sync.Mutex
	users  int // views in progress, and one until Close
	closed bool
}

// New maps the first size bytes of f, and owns f if there is no error. Errors: ErrUnsupported.
func New(f *os.File, size int64) (*File, error) {
	mem, err := mapFile(f, size)
	if err != nil {
		return nil, err
	}
	return &File{file: f, mem: mem, pages: newResidency(f, size), users: 1}, nil
}

// Size returns the number of mapped bytes.
func (f *File) Size() int64 { return int64(len(f.mem)) }

// Stat returns the current state of the file.
func (f *File) Stat() (os.FileInfo, error) { return f.file.Stat() }

// View calls use with bytes lo to hi of the file, which it must not modify or keep. Errors: ErrTruncated, os.ErrClosed,
// ErrDisk,
// other errors of the system, and the error of use.
func (f *File) View(lo, hi int64, use func(p []byte) error) error {
	if !f.acquire() {
		return os.ErrClosed
	}
	defer func() { _ = f.release() }() // the file was only read
	err := f.pages.load(f.mem, lo, hi)
	if err == nil {
		err = guard(f.mem[lo:hi:hi], use)
	}
	if errors.Is(err, errFault) {
		return f.faultError()
	}
	return err
}

// errFault is returned for a page that is not in the file or cannot be read: the kernel does not distinguish them.
var errFault = errors.New("a page cannot be read")

// faultError returns the cause of an errFault.
func (f *File) faultError() error {
	info, err := f.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDisk, err)
	case info.Size() < int64(len(f.mem)):
		return fmt.Errorf("%w: it has %d of %d bytes", ErrTruncated, info.Size(), len(f.mem))
	}
	return ErrDisk
}

// guard calls use and returns errFault if a page of p cannot be read.
func guard(p []byte, use func(p []byte) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if at, ok := fault.(interface {
			runtime.Error
			Addr() uintptr
		}); ok && contains(p, at.Addr()) {
			err = errFault
			return
		}
		panic(fault)
	}()
	return use(p)
}

// Close unmaps the file when no view is in progress.
func (f *File) Close() error {
	f.mu.Lock()
	closed := f.closed
	f.closed = true
	f.mu.Unlock()
	if closed {
		return os.ErrClosed
	}
	return f.release()
}

func (f *File) acquire() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.users++
	return true
}

func (f *File) release() error {
	f.mu.Lock()
	f.users--
	last := f.users == 0
	f.mu.Unlock()
	if !last {
		return nil
	}
	return errors.Join(unmap(f.mem), f.file.Close())
}
