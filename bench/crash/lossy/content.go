package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// A content is the content of a file, of which a part may not be on disk. Its methods may be called concurrently.
type content struct {
	disk *os.File

	mu sync.Mutex
	// size is the length of the file, and kept how much of the file on disk is still part of it: a cut that was not forced makes it less.
	size, kept int64
	// pages has, by number, the pages that were written and not forced. Bytes behind size are 0.
	pages map[int64][]byte
}

// newContent returns the content of a file that is as on disk.
func newContent(disk *os.File) (*content, error) {
	st, err := disk.Stat()
	if err != nil {
		return nil, err
	}
	return &content{disk: disk, size: st.Size(), kept: st.Size(), pages: make(map[int64][]byte)}, nil
}

func (c *content) length() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// read reads from an offset as far as the file goes.
func (c *content) read(p []byte, off int64) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = int(max(0, min(int64(len(p)), c.size-off)))
	for done := 0; done < n; {
		at := off + int64(done)
		page, err := c.page(at / pageSize)
		if err != nil {
			return done, err
		}
		done += copy(p[done:n], page[at%pageSize:])
	}
	return n, nil
}

// write writes at an offset, beyond the end too.
func (c *content) write(p []byte, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for done := 0; done < len(p); {
		at := off + int64(done)
		page, err := c.page(at / pageSize)
		if err != nil {
			return err
		}
		c.pages[at/pageSize] = page
		done += copy(page[at%pageSize:], p[done:])
	}
	c.size = max(c.size, off+int64(len(p)))
	return nil
}

// page returns a page of the file: the one that is not forced, or a copy of that on disk. c.mu is held.
func (c *content) page(number int64) ([]byte, error) {
	if page, ok := c.pages[number]; ok {
		return page, nil
	}
	page := make([]byte, pageSize)
	start := number * pageSize
	if n := min(pageSize, c.kept-start); n > 0 {
		if _, err := c.disk.ReadAt(page[:n], start); err != nil && err != io.EOF {
			return nil, err
		}
	}
	return page, nil
}

// resize cuts the file or makes it longer by zeros.
func (c *content) resize(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, err := c.page(size / pageSize)
	if err != nil {
		return err
	}
	if size < c.size && size%pageSize > 0 {
		clear(last[size%pageSize:])
		c.pages[size/pageSize] = last
	}
	maps.DeleteFunc(c.pages, func(number int64, _ []byte) bool { return number*pageSize >= size })
	c.size, c.kept = size, min(c.kept, size)
	return nil
}

// force writes everything to disk.
func (c *content) force() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settle(c.numbers(), c.size)
}

// numbers are those of the pages that are not forced, in order.
func (c *content) numbers() []int64 { return slices.Sorted(maps.Keys(c.pages)) }

// settle writes some pages to disk and forgets the others; the file is as on disk then, and has a size at least.
func (c *content) settle(numbers []int64, size int64) error {
	st, err := c.disk.Stat()
	if err != nil {
		return err
	}
	if c.kept < st.Size() {
		if err := c.disk.Truncate(c.kept); err != nil {
			return err
		}
	}
	for _, number := range numbers {
		start := number * pageSize
		if _, err := c.disk.WriteAt(c.pages[number][:min(pageSize, c.size-start)], start); err != nil {
			return err
		}
		size = max(size, min(start+pageSize, c.size))
	}
	size = max(size, c.kept)
	c.size, c.kept = size, size
	clear(c.pages)
	return c.disk.Truncate(size)
}

// cutPower loses what was not forced, or a part of it, and returns how many of how many pages are not on disk.
func (c *content) cutPower(rng *rand.Rand) (lost, all int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	numbers := c.numbers()
	all = len(numbers)
	switch rng.IntN(3) {
	case 0: // nothing was written, nor was the file cut
		st, err := c.disk.Stat()
		if err != nil {
			return 0, 0, err
		}
		clear(c.pages)
		c.size, c.kept = st.Size(), st.Size()
		return all, all, nil
	case 1: // some pages, in any order
		numbers = slices.DeleteFunc(numbers, func(int64) bool { return rng.IntN(2) == 0 })
	default: // up to a point, where a page is torn
		n := rng.IntN(all + 1)
		if n < all {
			if err := c.tear(numbers[n], rng.IntN(pageSize/sectorSize)*sectorSize); err != nil {
				return 0, 0, err
			}
			n++
		}
		numbers = numbers[:n]
	}
	lost = all - len(numbers)
	if err := c.settle(numbers, c.kept); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", c.disk.Name(), err)
	}
	return lost, all, nil
}

// tear replaces the end of a page that is not forced by what is on disk.
func (c *content) tear(number int64, at int) error {
	torn := c.pages[number]
	delete(c.pages, number)
	page, err := c.page(number)
	c.pages[number] = append(torn[:at:at], page[at:]...)
	return err
}
