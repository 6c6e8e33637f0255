package exactsum

// The products and the errors of a block of squares are added in one pass, to four levels. Products go to the first
// level and their remainders down to the third, where nothing may be lost. The error of a product is at most half of
// its last bit, so it is added to the second level as another remainder, and nothing of it may be lost in the fourth.

const (
	squareLevels = 4
	// squareBits is the binary logarithm of the additions per lane to a lower level in a block, two for each element:
	// the assembly has at least 8 lanes.
	squareBits = 10

	// From the first scale minSquareScale on, the unit of the third level is at least 2^-970. So a product below, of a
	// value with an exponent below minSquare, loses a remainder there. Up to maxSquareScale, the square of a value with
	// an exponent above maxSquare leaves the first level.
	minSquareScale = 2*minSquare + 2*(52-squareBits) + mantissaBits
	maxSquareScale = 2*maxSquare - 20
)

// squareFold is the scale of the last block of squares and the sums of its levels, which are 0 between calls.
type squareFold struct {
	scale int
	sums  [squareLevels]int128
}

// squareScaleFor returns the first scale for squares of x.
func squareScaleFor(x []float64) int {
	_, exp := exponentSpan(x)
	return 2*(exp-1023) + 2 + squareBits
}

// drain moves the sums to a.
func (q *squareFold) drain(a *Accumulator) {
	for i, s := range q.sums {
		a.addInt128(s.hi, s.lo, unitPos(levelScale(q.scale, i, squareBits)))
	}
	q.sums = [squareLevels]int128{}
}

// foldSquares adds the squares of a block with a kernel. If it is not exact at any scale it adds nothing and returns
// false. Sums of another scale are moved to a. wide returns the block as float64.
func foldSquares[T any](
	q *squareFold, a *Accumulator, x []T, kernel func([]T, int) ([squareLevels]int64, bool), wide func([]T) []float64,
) bool {
	if !squareKernels {
		return false
	}
	levels, ok := kernel(x, q.scale)
	if !ok {
		k := squareScaleFor(wide(x))
		if k == q.scale || k < minSquareScale || k > maxSquareScale {
			return false
		}
		if levels, ok = kernel(x, k); !ok {
			return false
		}
		q.drain(a)
		q.scale = k
	}
	for i, v := range levels {
		q.sums[i].add(v)
	}
	return true
}

// squarePos are the positions of the sums of halves of l*l, l*h and h*h in the sum of squares of integers with lower
// halves l and upper halves h: the square is l*l + 2^33*l*h + 2^64*h*h.
var squarePos = [6]int{0, 32, 33, 65, 64, 96}

// squareRun bounds the number of integers whose squares are added by one call of a kernel: those of bytes are added in
// 32 bits.
const squareRun = 1 << 19
