package main

import (
	"errors"
	"io"
)

// zeros is a file with a header and then zeros.
type zeros struct {
	head string
	size int64
	at   int64
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.at >= z.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), z.size-z.at)]
	clear(p)
	if z.at < int64(len(z.head)) {
		copy(p, z.head[z.at:])
	}
	z.at += int64(len(p))
	return len(p), nil
}

func (z *zeros) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += z.at
	case io.SeekEnd:
		offset += z.size
	}
	if offset < 0 {
		return 0, errors.New("before the beginning")
	}
	z.at = offset
	return offset, nil
}
