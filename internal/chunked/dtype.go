package chunked

import (
	"fmt"
	"strings"

	"gather/internal/npy"
)

// DType is an element type with NumPy's name. The zero value is invalid.
type DType uint8

// The element types.
const (
	Bool DType = iota + 1
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	Float16
	Float32
	Float64
)

var dtypes = [...]struct {
	name string
	typ  npy.Type
}{
	Bool:  {"bool", npy.Type{Kind: 'b', Size: 1}},
	Int8:  {"int8", npy.Type{Kind: 'i', Size: 1}},
	Int16: {"int16", npy.Type{Kind: 'i', Size: 2}},
	Int32: {"int32", npy.Type{Kind: 'i', Size: 4}},
	Int64: {"int64", npy.Type{Kind: 'i', Size: 8}},

	Uint8:  {"uint8", npy.Type{Kind: 'u', Size: 1}},
	Uint16: {"uint16", npy.Type{Kind: 'u', Size: 2}},
	Uint32: {"uint32", npy.Type{Kind: 'u', Size: 4}},
	Uint64: {"uint64", npy.Type{Kind: 'u', Size: 8}},

	Float16: {"float16", npy.Type{Kind: 'f', Size: 2}},
	Float32: {"float32", npy.Type{Kind: 'f', Size: 4}},
	Float64: {"float64", npy.Type{Kind: 'f', Size: 8}},
}

// dtypeNames lists all names, for errors.
var dtypeNames = func() string {
	var names []string
	for _, d := range dtypes[Bool:] {
		names = append(names, d.name)
	}
	return strings.Join(names, ", ")
}()

// ParseDType returns the type with a NumPy name. The error lists the supported names.
func ParseDType(name string) (DType, error) {
	for t := Bool; t <= Float64; t++ {
		if dtypes[t].name == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("unknown dtype %.20q: use one of %s", name, dtypeNames)
}

// dtypeOf returns the DType for the type of an .npy file, or 0.
func dtypeOf(typ npy.Type) DType {
	for t := Bool; t <= Float64; t++ {
		if dtypes[t].typ == typ {
			return t
		}
	}
	return 0
}

// String returns NumPy's name.
func (t DType) String() string {
	if int(t) < len(dtypes) {
		return dtypes[t].name
	}
	return fmt.Sprintf("DType(%d)", uint8(t))
}

// Size returns the size of one element in bytes.
func (t DType) Size() int { return dtypes[t].typ.Size }

// IsFloat reports whether t is a floating-point type.
func (t DType) IsFloat() bool { return t >= Float16 }

// isUnsigned reports whether t is an unsigned integer.
func (t DType) isUnsigned() bool { return t >= Uint8 && t <= Uint64 }

// promote returns the type of a product of elements of types t and o, as numpy.result_type.
func (t DType) promote(o DType) DType {
	if t > o { // the order of the types is bool, signed, unsigned, float
		t, o = o, t
	}
	switch {
	case t == Bool || t == o:
		return o
	case t.IsFloat():
		return o
	case o.IsFloat():
		for o < Float64 && 2*t.Size() > o.Size() { // a float holds integers of half its size
			o++
		}
		return o
	case t.isUnsigned() == o.isUnsigned():
		return o
	case t.Size() > o.Size():
		return t
	case o == Uint64:
		return Float64
	}
	return o - Uint8 + Int16 // a signed type of twice the size
}

// Sum returns the type of a sum of elements of type t, with the promotion of numpy.sum on a 64-bit machine: bool and
// signed integers to int64, unsigned integers to uint64, floats to themselves.
func (t DType) Sum() DType {
	switch {
	case t.IsFloat():
		return t
	case t.isUnsigned():
		return Uint64
	}
	return Int64
}
