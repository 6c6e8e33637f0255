// Package exactsum adds numbers without rounding.
//
// An [Accumulator] holds the exact sum of all added numbers, as one fixed-point number wide enough for the whole
// float64 range. Rounding happens once, when a result is read, so the result is the correctly rounded exact sum: the
// same bits for any order, any partition into blocks, and any tree of merges. Sums of integers are exact beyond 64
// bits.
//
// An [Adder] adds whole slices at memory speed. For each block of 4096 elements it runs a two-level error-free fold
// that verifies its own exactness; a block that fails is folded again with another scale, then with four levels, and
// finally through a table of exponent buckets, which cannot fail. After a block with an empty second level, as for most
// integers and float32 values, the next block is tried with one level: a plain addition whose exactness the CPU
// reports. The kernels are AVX-512 or AVX2 assembly, selected at startup, or pure Go on other CPUs and under the purego
// build tag; all of them produce the same state.
//
// Special values follow IEEE 754: any NaN, or +Inf with -Inf, makes the sum NaN; otherwise an infinity dominates; an
// empty sum is +0; a sum of -0 alone is -0. A finite sum becomes infinite only when the rounded exact sum does.
//
// Adding and merging never fail. They are exact for up to 2^76 float64 values of the largest magnitude, which no
// process can reach. Only decoding returns an error: see [Accumulator.UnmarshalBinary]. Nothing in this package is safe
// for concurrent use; each worker needs its own Adder and each partial sum its own Accumulator.
//
// The scalar representation is the superaccumulator of R. Neal, "Fast exact summation using small and large
// superaccumulators" (2015); the fold is the binned summation of J. Demmel and H. D. Nguyen, "Parallel reproducible
// summation" (2015), with S. Rump's error-free extraction, and a check that makes the reproducible sum exact.
package exactsum
