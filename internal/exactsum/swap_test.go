package exactsum_test

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"gather/internal/exactsum"
)

func TestSwap(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for n := range 300 {
		x64, x32, x16 := make([]uint64, n+1)[1:], make([]uint32, n+1)[1:], make([]uint16, n+1)[1:]
		var w64 []uint64
		var w32 []uint32
		var w16 []uint16
		for i := range n {
			b := rng.Uint64()
			x64[i], x32[i], x16[i] = b, uint32(b), uint16(b)
			w64 = append(w64, bits.ReverseBytes64(b))
			w32 = append(w32, bits.ReverseBytes32(uint32(b)))
			w16 = append(w16, bits.ReverseBytes16(uint16(b)))
		}
		exactsum.Swap64(x64)
		exactsum.Swap32(x32)
		exactsum.Swap16(x16)
		if !slices.Equal(x64, w64) || !slices.Equal(x32, w32) || !slices.Equal(x16, w16) {
			t.Fatalf("%d elements", n)
		}
	}
}
