package zarr

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"gather/internal/npy"
)

// chain is what a chunk went through: a permutation of its axes, and codecs from bytes to bytes.
type chain struct {
	order  []int // nil for none; reversed for Fortran order
	codecs []codec
}

// codec decodes src and returns the decoded bytes, at most len(dst), which are in dst or in src. It may overwrite dst up
// to its capacity. Errors: ErrCorrupt.
type codec func(dst, src []byte, s *Scratch) ([]byte, error)

// Scratch is the memory that decoding reuses. Its zero value is ready to use.
type Scratch struct {
	zstd  *zstd.Decoder
	gzip  *gzip.Reader
	zlib  io.ReadCloser
	parts [2][]byte // results of codecs before the last
	other []byte    // a chunk in another order of its axes
	block [2][]byte // a block of blosc, and its bytes before the bits are shuffled
}

// maxCodecs bounds the codecs of a chunk.
const maxCodecs = 8

// grow returns n bytes in the memory of b.
func grow(b *[]byte, n int) []byte {
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	return (*b)[:n]
}

// codecs from bytes to bytes, by name: the names of both versions, and those of numcodecs in version 3.
var codecs = map[string]codec{
	"gzip": decodeGzip, "zlib": decodeZlib, "zstd": decodeZstd, "lz4": decodeLZ4, "blosc": decodeBlosc, "crc32c": decodeCRC,
}

const codecNames = "gzip, zlib, zstd, lz4, blosc and crc32c"

// appendCodec appends the codec from bytes to bytes that n names. Errors: ErrFormat.
func appendCodec(list []codec, n named) ([]codec, error) {
	name := strings.TrimPrefix(n.Name, "numcodecs.")
	c := codecs[name]
	switch {
	case c == nil:
		return nil, formatf("codec %.40q; %s are read", n.Name, codecNames)
	case len(list) == maxCodecs:
		return nil, formatf("more than %d codecs", maxCodecs)
	}
	if name == "blosc" {
		var b struct {
			Name string `json:"cname"`
		}
		if err := n.configure(&b); err != nil {
			return nil, err
		}
		if b.Name != "" && !slices.Contains(bloscNames, b.Name) {
			return nil, formatf("codec blosc with %.40q; %s are read", b.Name, strings.Join(bloscNames, ", "))
		}
	}
	return append(list, c), nil
}

// Decode decodes a chunk into dst, which has [Array.ChunkBytes], as elements in the machine's byte order. The chunk is
// in C order, or in Fortran order if the Header is. Decode may overwrite dst up to its capacity, and is faster if that is
// 16 bytes more. Errors: ErrCorrupt.
func (a *Array) Decode(dst, src []byte, s *Scratch) error {
	size := a.ChunkBytes()
	if int64(len(dst)) != size {
		return corruptf("a chunk of %d bytes for %d", size, len(dst))
	}
	to := dst
	if a.chain.order != nil {
		to = grow(&s.other, len(dst))
	}
	if err := decodeChain(to, src, a.chain.codecs, s); err != nil {
		return err
	}
	if a.bigEndian != npy.BigMachine {
		npy.Swap(to, a.Header.Type.Size)
	}
	if a.chain.order != nil {
		permute(dst, to, a.Chunk, a.chain.order, a.Header.Type.Size)
	}
	return nil
}

// decodeChain fills dst from src, which went through codecs.
func decodeChain(dst, src []byte, codecs []codec, s *Scratch) error {
	for i, codec := range slices.Backward(codecs) {
		to := dst
		if i > 0 { // the size is unknown: at most what encoders add to data that they cannot compress
			to = grow(&s.parts[i%2], maxEncoded(len(dst)))
		}
		var err error
		if src, err = codec(to, src, s); err != nil {
			return err
		}
	}
	if len(src) != len(dst) {
		return corruptf("%d decoded bytes, but it has %d", len(src), len(dst))
	}
	if len(dst) > 0 && &src[0] != &dst[0] {
		copy(dst, src)
	}
	return nil
}

func maxEncoded(n int) int { return n + n/16 + 64<<10 }

// MaxEncoded returns the maximum size of an encoded chunk, in bytes.
func (a *Array) MaxEncoded() int64 { return int64(maxEncoded(int(a.ChunkBytes()))) }

// readAll reads a stream that has at most len(dst) bytes.
func readAll(dst []byte, r io.Reader) ([]byte, error) {
	n := 0
	for {
		var more [1]byte // of a stream that is too long
		to := dst[n:]
		if len(to) == 0 {
			to = more[:]
		}
		k, err := r.Read(to)
		if k > 0 && n == len(dst) {
			return nil, corruptf("more than %d decoded bytes", n)
		}
		n += k
		switch {
		case errors.Is(err, io.EOF):
			return dst[:n], nil
		case err != nil: // io.ErrUnexpectedEOF if the stream ends early
			return nil, corruptf("%.100v", err)
		}
	}
}

// source is an io.Reader and io.ByteReader of a slice.
type source struct{ rest []byte }

func (s *source) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *source) ReadByte() (byte, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b, nil
}

func decodeGzip(dst, src []byte, s *Scratch) ([]byte, error) {
	var err error
	if s.gzip == nil {
		s.gzip, err = gzip.NewReader(&source{src})
	} else {
		err = s.gzip.Reset(&source{src})
	}
	if err != nil {
		s.gzip = nil
		return nil, corruptf("not gzip data: %.100v", err)
	}
	return readAll(dst, s.gzip)
}

func decodeZlib(dst, src []byte, s *Scratch) ([]byte, error) {
	var err error
	if s.zlib == nil {
		s.zlib, err = zlib.NewReader(&source{src})
	} else {
		err = s.zlib.(zlib.Resetter).Reset(&source{src}, nil)
	}
	if err != nil {
		s.zlib = nil
		return nil, corruptf("not zlib data: %.100v", err)
	}
	return readAll(dst, s.zlib)
}

// zstdSlack is the memory behind the result with which the decoder takes half the time, because it copies 16 bytes at
// once.
const zstdSlack = 16

func decodeZstd(dst, src []byte, s *Scratch) ([]byte, error) {
	if s.zstd == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(2*MaxChunk))
		if err != nil {
			return nil, err
		}
		s.zstd = d
	}
	out, err := s.zstd.DecodeAll(src, dst[:0:min(cap(dst), len(dst)+zstdSlack)])
	if err != nil || len(out) > len(dst) {
		return nil, corruptf("not zstd data of at most %d bytes: %.100v", len(dst), err)
	}
	return out, nil
}

// decodeLZ4 decodes the format of numcodecs: the decoded size in four bytes, and a block.
func decodeLZ4(dst, src []byte, _ *Scratch) ([]byte, error) {
	if len(src) < 4 {
		return nil, corruptf("%d bytes of lz4 data", len(src))
	}
	size := int64(binary.LittleEndian.Uint32(src))
	if size > int64(len(dst)) {
		return nil, corruptf("lz4 data of %d decoded bytes, but it has %d", size, len(dst))
	}
	return dst[:size], decodeLZ4Block(dst[:size], src[4:])
}

// decodeLZ4Block decodes a block of exactly len(dst) bytes.
func decodeLZ4Block(dst, src []byte) error {
	if len(dst) == 0 && len(src) == 1 && src[0] == 0 {
		return nil
	}
	n, err := lz4.UncompressBlock(src, dst)
	if err != nil || n != len(dst) {
		return corruptf("not lz4 data of %d bytes", len(dst))
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// decodeCRC checks and removes the checksum at the end.
func decodeCRC(dst, src []byte, _ *Scratch) ([]byte, error) {
	body := len(src) - 4
	if body < 0 || body > len(dst) {
		return nil, corruptf("%d bytes with a checksum, but it has at most %d", len(src), len(dst)+4)
	}
	if crc32.Checksum(src[:body], castagnoli) != binary.LittleEndian.Uint32(src[body:]) {
		return nil, corruptf("its crc32c checksum does not match")
	}
	return src[:body], nil
}

// permute copies a chunk, whose axes are stored in an order, to C order.
func permute(dst, src []byte, shape []int64, order []int, size int) {
	n := len(shape)
	strides := make([]int, n) // in src, of the axes of the array
	stride := size
	for _, axis := range slices.Backward(order) {
		strides[axis] = stride
		stride *= int(shape[axis])
	}
	at := make([]int64, n)
	from := 0
	for to := 0; to < len(dst); to += size {
		copy(dst[to:to+size], src[from:from+size])
		for k := n - 1; k >= 0; k-- {
			from += strides[k]
			if at[k]++; at[k] < shape[k] {
				break
			}
			from -= strides[k] * int(shape[k])
			at[k] = 0
		}
	}
}
