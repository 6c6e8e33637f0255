// Package exactsum adds numbers without rounding.
//
// An [Accumulator] holds the exact sum of everything added to it, as one fixed-point number wide enough for the whole
// float64 range. Rounding happens once, when a result is read, so a sum is the correctly rounded exact sum: the same bits
// for any order, any cut into blocks, and any tree of merges. Sums of integers are exact beyond 64 bits.
//
// A [Folder] adds whole slices at memory speed. Per block of 4096 elements it runs a two-level error-free fold that checks
// itself; a block that fails the check is folded again with another scale, then with four levels, and at last through a
// table of exponent buckets, which cannot fail. A block after one that left the second level empty, such as most of
// integers or of float32 values, is tried with one level: a plain addition, of which the CPU tells whether it was exact. The kernels are AVX-512 or AVX2 assembly, chosen at start, or pure Go on
// every other CPU and under the purego build tag; all of them leave the same state behind.
//
// Special values follow IEEE 754: any NaN, or +Inf with -Inf, makes the sum NaN; else an infinity wins; an empty sum is
// +0; a sum of -0 alone is -0. A finite sum becomes infinite only when the rounded exact sum does.
//
// Adding and merging never fail. They are exact for up to 2^76 float64 values of the largest magnitude, which no process
// can reach. Only decoding returns an error: see [Accumulator.UnmarshalBinary]. Nothing here is safe for concurrent use;
// give each worker its own Folder and each partial sum its own Accumulator.
//
// The scalar representation is the superaccumulator of R. Neal, "Fast exact summation using small and large
// superaccumulators" (2015); the fold is the binned summation of J. Demmel and H. D. Nguyen, "Parallel reproducible
// summation" (2015), with S. Rump's error-free extraction, and a check that turns reproducible into exact.
package exactsum
