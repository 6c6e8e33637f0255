package number_test

import (
	"fmt"
	"math"

	"gather/internal/number"
)

// Floats stay floats, and every value is JSON.
func ExampleAppendFloat() {
	for _, v := range []float64{1, 0.1, 1e16, math.Copysign(0, -1), math.Inf(-1), math.NaN()} {
		fmt.Println(string(number.AppendFloat(nil, v)))
	}
	// Output:
	// 1.0
	// 0.1
	// 1e+16
	// -0.0
	// "-Infinity"
	// "NaN"
}
