package npy_test

import (
	"bytes"
	"fmt"

	"gather/internal/npy"
)

// Writing a header and parsing it.
func Example() {
	var file bytes.Buffer
	if _, err := npy.WriteHeader(&file, npy.Type{Kind: 'f', Size: 4}, []int64{1000, 3}); err != nil {
		fmt.Println(err)
		return
	}
	h, err := npy.ParseHeader(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.Type, h.Shape, h.Elements(), h.FileSize())
	// Output: f4 [1000 3] 3000 12128
}
