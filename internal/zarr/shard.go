package zarr

import (
	"encoding/binary"
	"math"
	"slices"
)

// shard describes the objects of an array with sharding_indexed. Each has many chunks, and an index of them.
type shard struct {
	shape     []int64
	atStart   bool // the index is at the start of the object
	checked   bool // a checksum follows the index
	bigEndian bool // the numbers of the index
}

// check checks the shape of the shards against the checked chunks of a.
func (s *shard) check(a *Array) error {
	if len(s.shape) != len(a.Chunk) {
		return formatf("shards of %d dimensions with chunks of %d", len(s.shape), len(a.Chunk))
	}
	n := int64(1)
	for i, d := range s.shape {
		if d < 1 || d%a.Chunk[i] != 0 {
			return formatf("shards of length %d in chunks of %d along axis %d", d, a.Chunk[i], i)
		}
		if d/a.Chunk[i] > maxIndex/n {
			return formatf("shards of more than %d chunks", maxIndex)
		}
		n *= d / a.Chunk[i]
	}
	return nil
}

// chunks returns the number of chunks in a shard.
func (a *Array) shardChunks() int64 {
	n := int64(1)
	for i, d := range a.shard.shape {
		n *= d / a.Chunk[i]
	}
	return n
}

// IndexRange returns the bytes of the index of a shard of size bytes. Errors: ErrCorrupt.
func (a *Array) IndexRange(size int64) (off, n int64, err error) {
	n = 16 * a.shardChunks()
	if a.shard.checked {
		n += 4
	}
	if size < n {
		return 0, 0, corruptf("a shard of %d bytes, whose index has %d", size, n)
	}
	if a.shard.atStart {
		return 0, n, nil
	}
	return size - n, n, nil
}

// Range is a range of bytes of a shard; an N of -1 is a missing chunk.
type Range struct{ Off, N int64 }

// DecodeIndex returns the ranges of the chunks of a shard of size bytes from its index. Errors: ErrCorrupt.
func (a *Array) DecodeIndex(index []byte, size int64) ([]Range, error) {
	body := index
	if a.shard.checked {
		var err error
		if body, err = decodeCRC(make([]byte, len(index)), index, nil); err != nil {
			return nil, err
		}
	}
	n := a.shardChunks()
	if int64(len(body)) != 16*n {
		return nil, corruptf("a shard index of %d bytes for %d chunks", len(body), n)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if a.shard.bigEndian {
		order = binary.BigEndian
	}
	ranges := make([]Range, n)
	for i := range ranges {
		off, length := order.Uint64(body[16*i:]), order.Uint64(body[16*i+8:])
		switch {
		case off == math.MaxUint64 && length == math.MaxUint64:
			ranges[i] = Range{0, -1}
		case off > uint64(size) || length > uint64(size)-off:
			return nil, corruptf("chunk %d of a shard of %d bytes is at byte %d with %d bytes", i, size, off, length)
		default:
			ranges[i] = Range{int64(off), int64(length)}
		}
	}
	return ranges, nil
}

// parseCodecs parses the codecs of version 3. Errors: ErrFormat.
func (a *Array) parseCodecs(list []named) error {
	if len(list) == 1 && list[0].Name == "sharding_indexed" {
		return a.parseSharding(list[0])
	}
	big := false
	seen := false // the codec from elements to bytes
	for _, n := range list {
		switch n.Name {
		case "transpose":
			if seen || a.chain.order != nil {
				return formatf("codec transpose after another")
			}
			var err error
			if a.chain.order, err = parseOrder(n, len(a.Header.Shape)); err != nil {
				return err
			}
		case "bytes":
			if seen {
				return formatf("two codecs bytes")
			}
			var err error
			if big, err = parseEndian(n, a.Header.Type.Size); err != nil {
				return err
			}
			seen = true
		case "sharding_indexed":
			return formatf("codec sharding_indexed among others or in a shard; it is read as the only codec of an array")
		default:
			var err error
			if a.chain.codecs, err = appendCodec(a.chain.codecs, n); err != nil {
				return err
			}
			if !seen {
				return formatf("codec %.40q before the codec bytes", n.Name)
			}
		}
	}
	if !seen {
		return formatf("no codec bytes")
	}
	a.bigEndian = big
	return nil
}

func parseEndian(n named, size int) (big bool, err error) {
	var c struct {
		Endian string `json:"endian"`
	}
	if err := n.configure(&c); err != nil {
		return false, err
	}
	switch {
	case c.Endian == "little" || c.Endian == "" && size == 1:
		return false, nil
	case c.Endian == "big":
		return true, nil
	}
	return false, formatf("codec bytes with endian %.20q; little and big are read", c.Endian)
}

// parseOrder parses the permutation of a codec transpose.
func parseOrder(n named, dims int) ([]int, error) {
	var c struct {
		Order []int `json:"order"`
	}
	if err := n.configure(&c); err != nil {
		return nil, err
	}
	sorted := slices.Sorted(slices.Values(c.Order))
	if len(sorted) != dims {
		return nil, formatf("codec transpose with %d axes for %d", len(sorted), dims)
	}
	for i, axis := range sorted {
		if axis != i {
			return nil, formatf("codec transpose with an order that is no permutation")
		}
	}
	return c.Order, nil
}

func (a *Array) parseSharding(n named) error {
	var c struct {
		Chunk    []int64 `json:"chunk_shape"`
		Codecs   []named `json:"codecs"`
		Index    []named `json:"index_codecs"`
		Location string  `json:"index_location"`
	}
	if err := n.configure(&c); err != nil {
		return err
	}
	a.shard = &shard{shape: a.Chunk}
	a.Chunk = c.Chunk
	switch c.Location {
	case "", "end":
	case "start":
		a.shard.atStart = true
	default:
		return formatf("a shard index at %.20q; start and end are read", c.Location)
	}
	for i, x := range c.Index {
		switch {
		case x.Name == "bytes" && i == 0:
			var err error
			if a.shard.bigEndian, err = parseEndian(x, 8); err != nil {
				return err
			}
		case x.Name == "crc32c" && i == 1:
			a.shard.checked = true
		default:
			return formatf("codec %.40q of a shard index; bytes, and then crc32c, are read", x.Name)
		}
	}
	if len(c.Index) == 0 {
		return formatf("no codecs of the shard index")
	}
	for _, x := range c.Codecs {
		if x.Name == "sharding_indexed" {
			return formatf("codec sharding_indexed in a shard")
		}
	}
	return a.parseCodecs(c.Codecs)
}
