package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"gather/internal/npy"
)

// file is an array that all contenders read.
type file struct {
	name   string
	path   string
	offset int64 // of the elements
	shape  []int64
	bytes  int64
}

// spec describes the array to the server.
func (f file) spec(chunks any) string {
	return `"array":{"source":"npy","name":"` + f.name + `","chunks":` + asJSON(chunks) + `}`
}

// at is a request about the array.
func (f file) at(op string, times int) request {
	return request{Op: op, Path: f.path, Offset: f.offset, Times: times}
}

// array writes an .npy file of floats of size bytes that next returns.
func (l *lab) array(name string, size int, shape []int64, next func() float64) (file, error) {
	return l.arrayOf(name, storedArray{dtype: "f" + strconv.Itoa(size), shape: shape}, next)
}

// arrayOf writes an .npy file of the elements that next returns, in the order of memory.
func (l *lab) arrayOf(name string, s storedArray, next func() float64) (f file, err error) {
	size, shape := int(s.dtype[1]-'0'), s.shape
	f = file{name: name, path: filepath.Join(l.dir, name+".npy"), shape: shape, bytes: int64(size)}
	for _, n := range shape {
		f.bytes *= n
	}
	out, err := os.Create(f.path)
	if err != nil {
		return f, err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	var head bytes.Buffer
	header, err := npy.WriteHeader(&head, npy.Type{Kind: s.dtype[0], Size: size}, shape)
	if err == nil {
		text := head.Bytes()
		if s.fortran { // the header is padded, and one letter shorter
			text = bytes.Replace(text, []byte("'fortran_order': False,"), []byte("'fortran_order': True, "), 1)
		}
		_, err = w.Write(text)
	}
	f.offset = int64(header)
	var word []byte
	for n := f.bytes / int64(size); n > 0 && err == nil; n-- {
		switch s.dtype {
		case "i2":
			word = binary.LittleEndian.AppendUint16(word[:0], uint16(int16(next())))
		case "f4":
			word = binary.LittleEndian.AppendUint32(word[:0], math.Float32bits(float32(next())))
		default:
			word = binary.LittleEndian.AppendUint64(word[:0], math.Float64bits(next()))
		}
		_, err = w.Write(word)
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = out.Sync() // the disk should be idle when the sums begin
	}
	if err = closing(out, err); err != nil {
		return f, fmt.Errorf("write %s: %w", name, err)
	}
	return f, nil
}

func closing(f *os.File, err error) error {
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// normals are the ordinary data.
func normals() func() float64 { return rand.New(rand.NewPCG(1, 1)).NormFloat64 }

// wide are normals of very different magnitudes, whose sum shows the order of the additions.
func wide() func() float64 {
	rng := rand.New(rand.NewPCG(2, 2))
	return func() float64 { return math.Ldexp(rng.NormFloat64(), rng.IntN(60)-30) }
}
