//go:build !amd64 || purego

package extrema

// vectorLen returns 0: all elements are read in Go.
func vectorLen(_, _ int) int { return 0 }

func scan[T Number](*T, int, *vectorResult)   {}
func scanFloat16(*uint16, int, *vectorResult) {}
func index[T Number](*T, int, T) int          { return 0 }
func indexFloat16(*uint16, int, float32) int  { return 0 }

// vectorColumns returns 0: all columns are read in Go.
func vectorColumns(_, _ int) int { return 0 }

func limits[T Number](*T, int, *rangeResult)                    {}
func limitsFloat16(*uint16, int, *rangeResult)                  {}
func columnLimits[T Number](_ *T, _, _, _ int, _, _ *T)         {}
func columnLimitsFloat16(_ *uint16, _, _, _ int, _, _ *float32) {}
