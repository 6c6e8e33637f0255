//go:build !amd64 || purego

package extrema

// vectorLen returns 0: all elements are read in Go.
func vectorLen(_, _ int) int { return 0 }

func scan[T number](*T, int, *vectorResult)   {}
func scanFloat16(*uint16, int, *vectorResult) {}
func index[T number](*T, int, T) int          { return 0 }
func indexFloat16(*uint16, int, float32) int  { return 0 }
