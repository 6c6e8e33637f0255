package exactsum

type integer interface {
	~int64 | ~int32 | ~int16 | ~int8 | ~uint64 | ~uint32 | ~uint16 | ~uint8
}

// goSumNarrow adds fewer than 2^31 integers of at most 32 bits.
func goSumNarrow[T integer](x []T) int64 {
	var s0, s1, s2, s3 int64
	for ; len(x) >= 4; x = x[4:] {
		s0 += int64(x[0])
		s1 += int64(x[1])
		s2 += int64(x[2])
		s3 += int64(x[3])
	}
	for _, v := range x {
		s0 += int64(v)
	}
	return s0 + s1 + s2 + s3
}

// goSumWide returns the sum of x modulo 2^64 and the sum of the upper halves with the sign of T.
func goSumWide[T int64 | uint64](x []T) (sum uint64, high T) {
	var s0, s1, s2, s3 uint64
	var h0, h1, h2, h3 T
	for ; len(x) >= 4; x = x[4:] {
		x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
		s0, s1, s2, s3 = s0+uint64(x0), s1+uint64(x1), s2+uint64(x2), s3+uint64(x3)
		h0, h1, h2, h3 = h0+x0>>32, h1+x1>>32, h2+x2>>32, h3+x3>>32
	}
	for _, v := range x {
		s0 += uint64(v)
		h0 += v >> 32
	}
	return s0 + s1 + s2 + s3, h0 + h1 + h2 + h3
}

// goSumBool returns the number of non-zero bytes.
func goSumBool(x []byte) int64 {
	var n int64
	for _, v := range x {
		n += truth(v)
	}
	return n
}

// truth returns 1 for a non-zero byte, without a branch.
func truth(v byte) int64 { return (int64(v) + 255) >> 8 }
