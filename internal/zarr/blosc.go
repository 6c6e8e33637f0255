package zarr

import (
	"encoding/binary"
)

// bloscNames are the compressors within blosc that are read.
var bloscNames = []string{"blosclz", "lz4", "lz4hc", "zlib", "zstd"}

// The header of blosc, format version 2: version, version of the compressor's format, flags, element size, decoded size,
// block size, and encoded size, the last three in four bytes, little endian.
const (
	bloscHeader     = 16
	bloscShuffle    = 1 << 0 // bytes
	bloscCopied     = 1 << 1 // the data follows the header, not compressed
	bloscBitShuffle = 1 << 2
	bloscWhole      = 1 << 4 // blocks are not split into a stream for each byte of an element
	bloscMaxSplits  = 16
	bloscMinStream  = 128 // elements of a block that is split
)

// bloscCodecs are the compressors by the number in the upper three bits of the flags; lz4hc is lz4 when it is decoded.
var bloscCodecs = []codec{0: decodeBloscLZ, 1: decodeLZ4Exact, 3: decodeZlib, 4: decodeZstd}

func decodeLZ4Exact(dst, src []byte, _ *Scratch) ([]byte, error) {
	return dst, decodeLZ4Block(dst, src)
}

// decodeBlosc decodes a container of c-blosc: blocks that are shuffled and then compressed.
func decodeBlosc(dst, src []byte, s *Scratch) ([]byte, error) {
	if len(src) < bloscHeader {
		return nil, corruptf("%d bytes of blosc data", len(src))
	}
	version, flags, elem := src[0], src[2], int(src[3])
	total, blockSize, encoded := u32(src[4:]), u32(src[8:]), u32(src[12:])
	switch {
	case version < 1 || version > 2:
		return nil, corruptf("blosc data of format version %d; 1 and 2 are read", version)
	case total > int64(len(dst)):
		return nil, corruptf("blosc data of %d decoded bytes, but it has at most %d", total, len(dst))
	case encoded != int64(len(src)):
		return nil, corruptf("%d bytes of blosc data, but its header declares %d", len(src), encoded)
	case total == 0:
		return dst[:0], nil
	}
	dst = dst[:total]
	if flags&bloscCopied != 0 {
		if encoded != total+bloscHeader {
			return nil, corruptf("%d bytes of blosc data for %d that are not compressed", encoded, total)
		}
		copy(dst, src[bloscHeader:])
		return dst, nil
	}
	kind := int(flags >> 5)
	if kind >= len(bloscCodecs) || bloscCodecs[kind] == nil {
		return nil, corruptf("blosc data of compressor %d, which is not read", kind)
	}
	if blockSize < 1 || blockSize > total || elem == 0 {
		return nil, corruptf("blosc data in blocks of %d bytes, of elements of %d", blockSize, elem)
	}
	b := blosc{src: src, flags: flags, elem: elem, blockSize: int(blockSize), codec: bloscCodecs[kind]}
	blocks := ceilDiv(total, blockSize)
	if bloscHeader+4*blocks > encoded {
		return nil, corruptf("%d bytes of blosc data with %d blocks", encoded, blocks)
	}
	for i := range int(blocks) {
		start := u32(src[bloscHeader+4*i:])
		if start < bloscHeader+4*blocks || start > encoded {
			return nil, corruptf("block %d of blosc data at byte %d of %d", i, start, encoded)
		}
		block := dst[i*b.blockSize:]
		if err := b.decode(block[:min(b.blockSize, len(block))], src[start:], s); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

type blosc struct {
	src       []byte
	flags     byte
	elem      int // size of an element
	blockSize int
	codec     codec
}

// decode decodes a block, whose streams begin at src. The last block may be shorter than the others.
func (b *blosc) decode(dst, src []byte, s *Scratch) error {
	to := dst
	bytes := b.flags&bloscShuffle != 0 && b.elem > 1
	bits := !bytes && b.flags&bloscBitShuffle != 0 && len(dst) >= b.elem
	if bytes || bits {
		to = grow(&s.block[0], len(dst)+zstdSlack)[:len(dst)]
	}
	streams := 1
	if b.flags&bloscWhole == 0 && b.elem <= bloscMaxSplits && b.blockSize/b.elem >= bloscMinStream && len(dst) == b.blockSize {
		streams = b.elem
	}
	size := len(dst) / streams
	if size*streams != len(dst) {
		return corruptf("a blosc block of %d bytes in %d streams", len(dst), streams)
	}
	for i := range streams {
		if len(src) < 4 || u32(src) > int64(len(src)-4) {
			return corruptf("a stream of blosc data is cut off")
		}
		n := int(u32(src))
		part, stream := to[i*size:(i+1)*size], src[4:4+n]
		src = src[4+n:]
		if n == size { // not compressed
			copy(part, stream)
			continue
		}
		out, err := b.codec(part, stream, s)
		if err != nil {
			return err
		}
		if len(out) != size {
			return corruptf("%d decoded bytes of a blosc stream, but it has %d", len(out), size)
		}
	}
	switch {
	case bytes:
		unshuffle(dst, to, b.elem)
	case bits:
		unshuffleBits(dst, to, b.elem, s)
	}
	return nil
}

func u32(p []byte) int64 { return int64(binary.LittleEndian.Uint32(p)) }

// decodeBloscLZ decodes blosclz, a variant of FastLZ: literals, and copies of earlier bytes at a distance of up to 8191
// or, in the far form, 65535 bytes more.
func decodeBloscLZ(dst, src []byte, _ *Scratch) ([]byte, error) {
	const far = 8191
	fail := func() ([]byte, error) { return nil, corruptf("not blosclz data of %d bytes", len(dst)) }
	if len(src) == 0 {
		return fail()
	}
	in, at := 1, 0
	control := int(src[0]) & 31
	for {
		if control < 32 { // literals
			n := control + 1
			if n > len(dst)-at || n > len(src)-in {
				return fail()
			}
			copy(dst[at:], src[in:in+n])
			at, in = at+n, in+n
		} else {
			n, distance := control>>5-1, control&31<<8
			if n == 6 {
				for more := 255; more == 255; in++ {
					if in >= len(src) {
						return fail()
					}
					more = int(src[in])
					n += more
					if n > len(dst) {
						return fail()
					}
				}
			}
			n += 3
			if in >= len(src) {
				return fail()
			}
			low := int(src[in])
			in++
			if low == 255 && distance == 31<<8 {
				if len(src)-in < 2 {
					return fail()
				}
				distance = int(src[in])<<8 + int(src[in+1]) + far
				in += 2
			} else {
				distance += low
			}
			distance++
			if distance > at || n > len(dst)-at {
				return fail()
			}
			if distance >= n {
				copy(dst[at:at+n], dst[at-distance:])
			} else {
				for i := range n { // the copy repeats itself
					dst[at+i] = dst[at+i-distance]
				}
			}
			at += n
		}
		if in == len(src) {
			return dst[:at], nil
		}
		control = int(src[in])
		in++
	}
}
