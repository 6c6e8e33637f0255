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
		a, b := src[:n], src[n:2*n]
		for ; i+4 <= n; i += 4 {
			binary.LittleEndian.PutUint64(dst[2*i:], spread2(u4(a[i:]))|spread2(u4(b[i:]))<<8)
		}
	case 4:
		for ; i+4 <= n; i += 4 {
			x := u4(src[i:]) | u4(src[n+i:])<<32
			y := u4(src[2*n+i:]) | u4(src[3*n+i:])<<32
			interleave4(dst[4*i:4*i+16], x, y)
		}
	case 8:
		for ; i+8 <= n; i += 8 {
			var rows [8]uint64
			for k := range rows {
				rows[k] = binary.LittleEndian.Uint64(src[k*n+i:])
			}
			transposeBytes(&rows)
			to := dst[8*i : 8*i+64]
			for k, r := range rows {
				binary.LittleEndian.PutUint64(to[8*k:], r)
			}
		}
	}
	for ; i < n; i++ {
		for k := range size {
			dst[i*size+k] = src[k*n+i]
		}
	}
}

func u4(p []byte) uint64 { return uint64(binary.LittleEndian.Uint32(p)) }

// spread2 moves byte i of four to byte 2*i.
func spread2(x uint64) uint64 {
	x = (x | x<<16) & 0x0000ffff0000ffff
	return (x | x<<8) & 0x00ff00ff00ff00ff
}

// interleave4 writes four elements of four bytes. x has the first bytes of all, then the second ones; y the third and
// the fourth.
func interleave4(to []byte, x, y uint64) {
	ab := spread2(x&0xffffffff) | spread2(x>>32)<<8 // pairs of the first two bytes
	cd := spread2(y&0xffffffff) | spread2(y>>32)<<8
	binary.LittleEndian.PutUint64(to, ab&0xffff|cd&0xffff<<16|ab&0xffff0000<<16|cd&0xffff0000<<32)
	ab >>= 32
	cd >>= 32
	binary.LittleEndian.PutUint64(to[8:], ab&0xffff|cd&0xffff<<16|ab&0xffff0000<<16|cd&0xffff0000<<32)
}

// transposeBytes transposes a matrix of eight rows of eight bytes.
func transposeBytes(r *[8]uint64) {
	const low1, low2, low4 = 0x00ff00ff00ff00ff, 0x0000ffff0000ffff, 0x00000000ffffffff
	for i := 0; i < 8; i += 2 {
		a, b := r[i], r[i+1]
		r[i], r[i+1] = a&low1|b&low1<<8, a>>8&low1|b&^low1
	}
	for _, i := range [4]int{0, 1, 4, 5} {
		a, b := r[i], r[i+2]
		r[i], r[i+2] = a&low2|b&low2<<16, a>>16&low2|b&^low2
	}
	for i := range 4 {
		a, b := r[i], r[i+4]
		r[i], r[i+4] = a&low4|b<<32, a>>32|b&^low4
	}
}

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
			var rows [8]uint64
			for j := range rows {
				rows[j] = binary.LittleEndian.Uint64(from[j*row+i:])
			}
			transposeBytes(&rows)
			out := to[8*i : 8*i+64]
			for j, r := range rows {
				binary.LittleEndian.PutUint64(out[8*j:], transposeBits(r))
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
