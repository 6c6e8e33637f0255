// Command gonum is the contender floats.Sum. It is a separate module, so that gather does not depend on gonum, and like all
// contenders a separate process that answers requests, one JSON object a line.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"gonum.org/v1/gonum/floats"
)

type request struct {
	Op     string `json:"op"`
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
	Times  int    `json:"times"`
}

type response struct {
	Seconds float64 `json:"seconds"`
	Hex     string  `json:"hex,omitempty"`
	Error   string  `json:"error,omitempty"`
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "gonum:", err)
		os.Exit(1) //nolint:forbidigo // the process ends where it began
	}
}

func serve(in io.Reader, out io.Writer) error {
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	var arrays arrays
	for {
		var r request
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := arrays.handle(r)
		if err != nil {
			a.Error = err.Error()
		}
		if err := e.Encode(a); err != nil {
			return err
		}
	}
}

// arrays holds resident arrays by path.
type arrays map[string][]float64

func (a *arrays) handle(r request) (response, error) {
	if r.Op == "drop" { // munmap needs the byte slice
		for _, x := range *a {
			mem := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 8*len(x))
			if err := syscall.Munmap(mem); err != nil {
				return response{}, err
			}
		}
		*a = nil
		return response{}, nil
	}
	if *a == nil {
		*a = make(arrays)
	}
	x, ok := (*a)[r.Path]
	if !ok {
		var err error
		if x, err = load(r.Path, r.Offset); err != nil {
			return response{}, err
		}
		(*a)[r.Path] = x
	}
	if r.Op == "load" {
		return response{}, nil
	}
	var sum float64
	began := time.Now()
	for range r.Times {
		sum = floats.Sum(x)
	}
	took := time.Since(began).Seconds() / float64(r.Times)
	return response{Seconds: took, Hex: strconv.FormatFloat(sum, 'x', -1, 64)}, nil
}

// load reads the elements behind offset into memory as NumPy allocates it: of huge pages where the system has them.
func load(path string, offset int64) ([]float64, error) {
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
	_ = syscall.Madvise(mem, syscall.MADV_HUGEPAGE)
	if _, err := io.ReadFull(io.NewSectionReader(f, offset, int64(len(mem))), mem); err != nil {
		return nil, err
	}
	return unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/8), nil
}
