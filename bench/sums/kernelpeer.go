package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"gather/internal/exactsum"
)

// servePeer serves requests to sum with the kernel or with a plain loop.
func servePeer(in io.Reader, out io.Writer) error {
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	mem := make(memory)
	for {
		var r request
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := mem.handle(r)
		if err != nil {
			a.Error = err.Error()
		}
		if err := e.Encode(a); err != nil {
			return err
		}
	}
}

// memory holds resident arrays by path.
type memory map[string][]byte

func (m memory) handle(r request) (response, error) {
	if r.Op == "drop" {
		for path, data := range m {
			if err := syscall.Munmap(data); err != nil {
				return response{}, err
			}
			delete(m, path)
		}
		return response{}, nil
	}
	if r.Op == "bandwidth" {
		return bandwidth(r.Path)
	}
	data, ok := m[r.Path]
	if !ok {
		var err error
		if data, err = load(r.Path, r.Offset); err != nil {
			return response{}, err
		}
		m[r.Path] = data
	}
	sum, ok := sums[r.Op]
	if !ok && r.Op != "load" {
		return response{}, fmt.Errorf("unknown op %q", r.Op)
	} else if !ok {
		return response{}, nil
	}
	var value float64
	began := time.Now()
	for range r.Times {
		value = sum(data)
	}
	return response{Seconds: time.Since(began).Seconds() / float64(r.Times), Hex: hex(value)}, nil
}

// sums has the functions by op. Like a worker of the server they keep one Adder.
var sums = map[string]func(data []byte) float64{
	"exact": func(data []byte) float64 {
		var a exactsum.Accumulator
		adder.Float64s(&a, view[float64](data))
		return a.Float64()
	},
	"exact32": func(data []byte) float64 {
		var a exactsum.Accumulator
		adder.Float32s(&a, view[float32](data))
		return float64(a.Float32())
	},
	"naive": func(data []byte) float64 {
		s := 0.0
		for _, v := range view[float64](data) {
			s += v
		}
		return s
	},
}

var adder = exactsum.NewAdder()

func view[T any](mem []byte) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/int(unsafe.Sizeof(zero)))
}

// bandwidth sums a mapped file of any type on all cores, as integers, and returns the shortest of several times.
func bandwidth(path string) (response, error) {
	f, err := os.Open(path)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return response{}, err
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return response{}, err
	}
	words := view[uint64](mem[:len(mem)&^7])
	const piece = 1 << 18
	best := time.Duration(math.MaxInt64)
	for range 10 {
		var next atomic.Int64
		var wg sync.WaitGroup
		began := time.Now()
		for range runtime.GOMAXPROCS(0) {
			wg.Go(func() {
				var a exactsum.Accumulator
				adder := exactsum.NewAdder()
				for {
					lo := int(next.Add(piece)) - piece
					if lo >= len(words) {
						return
					}
					adder.Uint64s(&a, words[lo:min(lo+piece, len(words))])
				}
			})
		}
		wg.Wait()
		best = min(best, time.Since(began))
	}
	return response{Seconds: best.Seconds()}, syscall.Munmap(mem)
}

// load reads the elements from offset into memory allocated as in NumPy, with huge pages if possible.
func load(path string, offset int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mem, err := syscall.Mmap(-1, 0, int(info.Size()-offset), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	_ = syscall.Madvise(mem, syscall.MADV_HUGEPAGE) // optional
	_, err = io.ReadFull(io.NewSectionReader(f, offset, int64(len(mem))), mem)
	return mem, err
}
