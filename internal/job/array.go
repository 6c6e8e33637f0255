package job

import "time"

// Array describes an uploaded array.
type Array struct {
	Name  string
	DType string // as NumPy names it
	Shape []int64
	// Fortran: the first axis varies fastest. BigEndian: the order of the bytes of an element.
	Fortran, BigEndian bool
	// Bytes is the size of the .npy file, SHA256 its checksum in hexadecimal.
	Bytes     int64
	SHA256    string
	CreatedAt time.Time
	// InUse: a job that is not finished uses it.
	InUse bool
}

// ArrayUpload is what is known of an upload before it is read.
type ArrayUpload struct {
	// Bytes is the announced size; -1 if there is none.
	Bytes int64
	// SHA256 is the announced checksum in hexadecimal; "" if there is none.
	SHA256 string
}
