package zarr

import "encoding/binary"

// unshuffle interleaves the bytes of elements of size bytes: src has the first byte of each element, then the second
// byte of each, and so on. Bytes behind the last whole element are copied.
func unshuffle(dst, src []byte, size int) {
	n := len(dst) / size
	copy(dst[n*size:], src[n*size:])
	i := 0
	switch size {
	case 2:
		for ; i+8 <= n; i += 8 {
			interleave2(dst[2*i:2*i+16], src[i:], n)
		}
	case 4:
		for ; i+8 <= n; i += 8 {
			interleave4(dst[4*i:4*i+32], src[i:], n)
		}
	case 8:
		for ; i+8 <= n; i += 8 {
			transposeBytes(dst[8*i:8*i+64], src[i:], n)
		}
	}
	for ; i < n; i++ {
		for k := range size {
			dst[i*size+k] = src[k*n+i]
		}
	}
}

// Masks of every second byte, pair and quadruple of bytes.
const low1, low2, low4 = 0x00ff00ff00ff00ff, 0x0000ffff0000ffff, 0x00000000ffffffff

// interleave2 writes eight elements of two bytes, whose rows are stride bytes apart in from.
func interleave2(to, from []byte, stride int) {
	a, b := u8(from), u8(from[stride:])
	a, b = a&low1|b&low1<<8, a>>8&low1|b&^low1
	a, b = a&low2|b&low2<<16, a>>16&low2|b&^low2
	to = to[:16]
	binary.LittleEndian.PutUint64(to, a&low4|b<<32)
	binary.LittleEndian.PutUint64(to[8:], a>>32|b&^low4)
}

// interleave4 is interleave2 for elements of four bytes.
func interleave4(to, from []byte, stride int) {
	a, b := u8(from), u8(from[stride:])
	c, d := u8(from[2*stride:]), u8(from[3*stride:])
	a, b = a&low1|b&low1<<8, a>>8&low1|b&^low1
	c, d = c&low1|d&low1<<8, c>>8&low1|d&^low1
	a, c = a&low2|c&low2<<16, a>>16&low2|c&^low2
	b, d = b&low2|d&low2<<16, b>>16&low2|d&^low2
	to = to[:32]
	binary.LittleEndian.PutUint64(to, a&low4|b<<32)
	binary.LittleEndian.PutUint64(to[8:], c&low4|d<<32)
	binary.LittleEndian.PutUint64(to[16:], a>>32|b&^low4)
	binary.LittleEndian.PutUint64(to[24:], c>>32|d&^low4)
}

// transposeBytes transposes a matrix of eight rows of eight bytes, which are stride bytes apart in from.
func transposeBytes(to, from []byte, stride int) {
	a, b := u8(from), u8(from[stride:])
	c, d := u8(from[2*stride:]), u8(from[3*stride:])
	a, b = a&low1|b&low1<<8, a>>8&low1|b&^low1
	c, d = c&low1|d&low1<<8, c>>8&low1|d&^low1
	a, c = a&low2|c&low2<<16, a>>16&low2|c&^low2
	b, d = b&low2|d&low2<<16, b>>16&low2|d&^low2
	e, f := u8(from[4*stride:]), u8(from[5*stride:])
	g, h := u8(from[6*stride:]), u8(from[7*stride:])
	e, f = e&low1|f&low1<<8, e>>8&low1|f&^low1
	g, h = g&low1|h&low1<<8, g>>8&low1|h&^low1
	e, g = e&low2|g&low2<<16, e>>16&low2|g&^low2
	f, h = f&low2|h&low2<<16, f>>16&low2|h&^low2
	to = to[:64]
	binary.LittleEndian.PutUint64(to, a&low4|e<<32)
	binary.LittleEndian.PutUint64(to[8:], b&low4|f<<32)
	binary.LittleEndian.PutUint64(to[16:], c&low4|g<<32)
	binary.LittleEndian.PutUint64(to[24:], d&low4|h<<32)
	binary.LittleEndian.PutUint64(to[32:], a>>32|e&^low4)
	binary.LittleEndian.PutUint64(to[40:], b>>32|f&^low4)
	binary.LittleEndian.PutUint64(to[48:], c>>32|g&^low4)
	binary.LittleEndian.PutUint64(to[56:], d>>32|h&^low4)
}

func u8(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// transposeBits transposes a matrix of eight rows of eight bits, each row a byte.
func transposeBits(x uint64) uint64 {
	t := (x ^ x>>7) & 0x00aa00aa00aa00aa
	x ^= t ^ t<<7
	t = (x ^ x>>14) & 0x0000cccc0000cccc
	x ^= t ^ t<<14
	t = (x ^ x>>28) & 0x00000000f0f0f0f0
	return x ^ t ^ t<<28
}

// unshuffleBits is unshuffle for bits: src has the first bit of each element, then the second bit of each, and so on.
// Like c-blosc, it copies a block whose number of elements is not a multiple of eight.
func unshuffleBits(dst, src []byte, size int, s *Scratch) {
	n := len(dst) / size
	if n%8 != 0 {
		copy(dst, src)
		return
	}
	row := n / 8 // bytes of one bit of all elements
	planes := grow(&s.block[1], len(dst))
	copy(planes[n*size:], src[n*size:])
	for k := range size {
		from, to := src[8*k*row:(8*k+8)*row], planes[k*n:(k+1)*n]
		i := 0
		for ; i+8 <= row; i += 8 {
			out := to[8*i : 8*i+64]
			transposeBytes(out, from[i:], row)
			for ; len(out) > 0; out = out[8:] {
				binary.LittleEndian.PutUint64(out, transposeBits(u8(out)))
			}
		}
		for ; i < row; i++ {
			var x uint64
			for j := range 8 {
				x |= uint64(from[j*row+i]) << (8 * j)
			}
			binary.LittleEndian.PutUint64(to[8*i:], transposeBits(x))
		}
	}
	if size == 1 {
		copy(dst, planes)
		return
	}
	unshuffle(dst, planes, size)
}
