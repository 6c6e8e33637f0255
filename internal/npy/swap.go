package npy

import (
	"encoding/binary"
	"math/bits"
)

// BigMachine is whether this machine is big-endian.
var BigMachine = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// Swap reverses the bytes of each element of size bytes.
func Swap(p []byte, size int) {
	switch size {
	case 2:
		for ; len(p) >= 2; p = p[2:] {
			p[0], p[1] = p[1], p[0]
		}
	case 4:
		for ; len(p) >= 4; p = p[4:] {
			binary.LittleEndian.PutUint32(p, binary.BigEndian.Uint32(p))
		}
	case 8:
		for ; len(p) >= 8; p = p[8:] {
			binary.LittleEndian.PutUint64(p, bits.ReverseBytes64(binary.LittleEndian.Uint64(p)))
		}
	}
}
