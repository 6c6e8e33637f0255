package npz

import (
	"context"
	"encoding/binary"
	"fmt"
)

const (
	windowBytes = 32 << 10
	inputBytes  = 256 << 10
	// Within these distances of the ends of the input and the output, symbols are decoded with care.
	nearIn, nearOut = 24, 300
)

// point is a place in deflated data from which it can be decoded. The zero value is the beginning.
type point struct {
	bit     int64 // of the next symbol or header
	header  int64 // of the header of the block
	inside  bool  // a block with codes, whose header is before
	stored  int   // bytes left of a block that is not compressed
	final   bool  // the block is the last
	pending int   // bytes left of a copy from distance
	dist    int
	window  []byte // decoded before, at most windowBytes
}

// inflater decodes deflated data. It belongs to one goroutine at a time.
type inflater struct {
	point
	read func(ctx context.Context, p []byte, off int64) error
	size int64 // of the input

	buf  []byte // input from byte off on; 8 zeros follow
	off  int64
	pos  int    // of the next byte in buf
	hold uint64 // bits that were read, and perhaps some of the byte at pos
	bits uint

	lit, distances []entry
	memory         [inputBytes + 8]byte
}

// corruptf returns an error about deflated data.
func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// reset prepares the decoding from a point.
func (d *inflater) reset(ctx context.Context, p point, size int64, read func(context.Context, []byte, int64) error) error {
	d.point, d.read, d.size = p, read, size
	d.buf, d.off, d.pos = nil, 0, 0
	if !p.inside {
		return d.seek(ctx, p.bit)
	}
	if err := d.seek(ctx, p.header); err != nil {
		return err
	}
	if err := d.readHeader(ctx); err != nil {
		return err
	}
	return d.seek(ctx, p.bit)
}

// seek continues at a bit of the input.
func (d *inflater) seek(ctx context.Context, bit int64) error {
	if at := bit/8 - d.off; at >= 0 && at <= int64(len(d.buf)) {
		d.pos = int(at)
	} else {
		d.buf, d.off, d.pos = nil, bit/8, 0
	}
	d.hold, d.bits = 0, 0
	if err := d.fill(ctx); err != nil {
		return err
	}
	_, err := d.take(ctx, uint(bit%8))
	return err
}

// fill reads more input if little is left.
func (d *inflater) fill(ctx context.Context) error {
	if len(d.buf)-d.pos >= nearIn || d.off+int64(len(d.buf)) >= d.size {
		return nil
	}
	d.unread()
	rest := copy(d.memory[:], d.buf[d.pos:])
	d.off += int64(d.pos)
	n := int(min(inputBytes-int64(rest), d.size-d.off-int64(rest)))
	if err := d.read(ctx, d.memory[rest:rest+n], d.off+int64(rest)); err != nil {
		d.buf, d.pos = nil, 0
		return err
	}
	d.buf, d.pos = d.memory[:rest+n], 0
	clear(d.memory[rest+n : rest+n+8])
	return nil
}

// unread returns whole bytes to the input.
func (d *inflater) unread() {
	n := d.bits / 8
	d.pos -= int(n)
	d.bits -= 8 * n
	d.hold &= 1<<d.bits - 1
}

// need makes n bits available, at most 32. Errors: the input ends.
func (d *inflater) need(ctx context.Context, n uint) error {
	for d.bits < n {
		if d.pos >= len(d.buf) {
			if err := d.fill(ctx); err != nil {
				return err
			}
			if d.pos >= len(d.buf) {
				return corruptf("the deflated data ends early")
			}
		}
		d.hold |= uint64(d.buf[d.pos]) << d.bits
		d.pos++
		d.bits += 8
	}
	return nil
}

// take returns the next n bits.
func (d *inflater) take(ctx context.Context, n uint) (int, error) {
	if err := d.need(ctx, n); err != nil {
		return 0, err
	}
	v := int(d.hold & (1<<n - 1))
	d.drop(n)
	return v, nil
}

func (d *inflater) drop(n uint) {
	d.hold >>= n
	d.bits -= n
}

// at returns the current bit of the input.
func (d *inflater) at() int64 { return (d.off+int64(d.pos))*8 - int64(d.bits) }

// symbol returns the next symbol of a code, bit by bit near the end of the input.
func (d *inflater) symbol(ctx context.Context, table []entry, root uint) (entry, error) {
	for n := uint(1); ; n++ {
		e := table[d.hold&(1<<root-1)]
		used := uint(0)
		if e.is(more) {
			used = root
			e = table[e.value()+int(d.hold>>root&(1<<e.extra()-1))]
		}
		// The bits beyond those that are available are zeros.
		if used += e.code(); e != 0 && used <= d.bits {
			d.drop(used)
			return e, nil
		}
		if d.bits > maxCode {
			return 0, corruptf("no symbol has the code at bit %d", d.at())
		}
		if err := d.need(ctx, d.bits+1); err != nil {
			return 0, err
		}
	}
}

// decode fills dst. The data must end with it if last is true.
func (d *inflater) decode(ctx context.Context, dst []byte, last bool) error {
	n := 0
	for n < len(dst) || last {
		switch {
		case d.pending > 0 && n < len(dst):
			k := d.copyMatch(dst, n, min(d.pending, len(dst)-n))
			n += k
			d.pending -= k
		case d.stored > 0 && n < len(dst):
			k, err := d.copyStored(ctx, dst[n:])
			if err != nil {
				return err
			}
			n += k
		case d.pending > 0 || d.stored > 0:
			return corruptf("more than the declared bytes")
		case d.inside:
			var err error
			if n, err = d.decodeSymbols(ctx, dst, n); err != nil {
				return err
			}
		case d.final && n < len(dst):
			return corruptf("the data ends %d bytes early", len(dst)-n)
		case d.final:
			return d.save(dst)
		default:
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := d.nextBlock(ctx); err != nil {
				return err
			}
		}
	}
	return d.save(dst)
}

// save updates the point after dst was decoded.
func (d *inflater) save(dst []byte) error {
	d.bit = d.at()
	if len(dst) >= windowBytes {
		d.window = append([]byte(nil), dst[len(dst)-windowBytes:]...)
		return nil
	}
	keep := min(len(d.window), windowBytes-len(dst))
	d.window = append(append([]byte(nil), d.window[len(d.window)-keep:]...), dst...)
	return nil
}

// copyMatch copies n bytes from d.dist before dst[at], and returns n. The distance was checked.
func (d *inflater) copyMatch(dst []byte, at, n int) int {
	from := at - d.dist
	for i := range n {
		if k := from + i; k < 0 {
			dst[at+i] = d.window[len(d.window)+k]
		} else {
			dst[at+i] = dst[k]
		}
	}
	return n
}

// copyStored copies bytes of a block that is not compressed.
func (d *inflater) copyStored(ctx context.Context, dst []byte) (int, error) {
	d.unread()
	if err := d.fill(ctx); err != nil {
		return 0, err
	}
	n := copy(dst[:min(len(dst), d.stored)], d.buf[d.pos:])
	if n == 0 {
		return 0, corruptf("the deflated data ends early")
	}
	d.pos += n
	d.stored -= n
	return n, nil
}

// nextBlock begins a block.
func (d *inflater) nextBlock(ctx context.Context) error {
	d.header = d.at()
	return d.readHeader(ctx)
}

// readHeader reads the header of a block.
func (d *inflater) readHeader(ctx context.Context) error {
	head, err := d.take(ctx, 3)
	if err != nil {
		return err
	}
	d.final = head&1 == 1
	switch head >> 1 {
	case 0:
		d.drop(d.bits % 8)
		n, err := d.take(ctx, 32)
		if err == nil && n&0xffff != ^n>>16&0xffff {
			err = corruptf("a block has two lengths")
		}
		d.stored = n & 0xffff
		return err
	case 1:
		d.inside = true
		var lengths [numLit]uint8
		for i := range lengths {
			switch {
			case i < 144, i >= 280:
				lengths[i] = 8
			case i < 256:
				lengths[i] = 9
			default:
				lengths[i] = 7
			}
		}
		var dist [numDist]uint8
		for i := range dist {
			dist[i] = 5
		}
		build(&d.lit, lengths[:], litSymbols[:], litBits)
		build(&d.distances, dist[:], distSymbols[:], distBits)
		return nil
	case 2:
		d.inside = true
		return d.readCodes(ctx)
	}
	return corruptf("a block of type 3")
}

// codeOrder is the order in which the lengths of the code of code lengths are stored.
var codeOrder = [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthSymbols are the entries of the code of code lengths: a length, or a repetition.
var lengthSymbols = func() (s [numDist]entry) {
	for i := range 19 {
		s[i] = entry(i)<<16 | literal
	}
	return s
}()

// readCodes reads the codes of a block.
func (d *inflater) readCodes(ctx context.Context) error {
	sizes, err := d.take(ctx, 14)
	if err != nil {
		return err
	}
	lit, dist, codes := sizes&31+257, sizes>>5&31+1, sizes>>10+4
	if lit > 286 || dist > 30 {
		return corruptf("a block with %d and %d codes", lit, dist)
	}
	var lengths [numLit + numDist]uint8
	for _, i := range codeOrder[:codes] {
		n, err := d.take(ctx, 3)
		if err != nil {
			return err
		}
		lengths[i] = uint8(n)
	}
	if !build(&d.lit, lengths[:19], lengthSymbols[:], litBits) {
		return corruptf("a block with impossible codes")
	}
	clear(lengths[:19])
	for i := 0; i < lit+dist; {
		e, err := d.symbol(ctx, d.lit, litBits)
		if err != nil {
			return err
		}
		n, times := uint8(e.value()), 1
		if n >= 16 {
			bits, least := uint(2), 3
			switch n {
			case 16:
				if i == 0 {
					return corruptf("a block repeats no length")
				}
				n = lengths[i-1]
			case 17:
				n, bits = 0, 3
			case 18:
				n, bits, least = 0, 7, 11
			}
			if times, err = d.take(ctx, bits); err != nil {
				return err
			}
			if times += least; i+times > lit+dist {
				return corruptf("a block with too many lengths")
			}
		}
		for range times {
			lengths[i] = n
			i++
		}
	}
	if !build(&d.lit, lengths[:lit], litSymbols[:], litBits) || !build(&d.distances, lengths[lit:lit+dist], distSymbols[:], distBits) {
		return corruptf("a block with impossible codes")
	}
	return nil
}

// decodeSymbols decodes symbols until the block or dst ends, and returns how much of dst is decoded.
func (d *inflater) decodeSymbols(ctx context.Context, dst []byte, n int) (int, error) {
	for {
		if err := d.fill(ctx); err != nil {
			return n, err
		}
		var err error
		if n, err = d.fast(dst, n); err != nil || !d.inside {
			return n, err
		}
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		e, err := d.symbol(ctx, d.lit, litBits)
		switch {
		case err != nil:
			return n, err
		case e.is(literal):
			if n == len(dst) {
				return n, corruptf("more than the declared bytes")
			}
			dst[n] = byte(e.value())
			n++
		case !e.is(distance):
			d.inside = false
			return n, nil
		default:
			length, err := d.take(ctx, e.extra())
			if err != nil {
				return n, err
			}
			d.pending = length + e.value()
			if e, err = d.symbol(ctx, d.distances, distBits); err != nil {
				return n, err
			}
			if d.dist, err = d.take(ctx, e.extra()); err != nil {
				return n, err
			}
			if d.dist += e.value(); d.dist > n+len(d.window) {
				return n, corruptf("a copy of what is before the data")
			}
			return n, nil
		}
		if n == len(dst) && n > 0 {
			return n, nil
		}
	}
}

// fast decodes symbols while neither the input nor dst nearly end.
func (d *inflater) fast(dst []byte, n int) (int, error) {
	buf, pos, hold, bits := d.buf, d.pos, d.hold, d.bits
	lit, distances := d.lit, d.distances
	if len(lit) < 1<<litBits || len(distances) < 1<<distBits {
		return n, nil
	}
	defer func() { d.pos, d.hold, d.bits = pos, hold&(1<<bits-1), bits }()
	for n+nearOut <= len(dst) && pos+nearIn <= len(buf) {
		// At least 56 bits, with which three literals, or one copy, are decoded.
		hold |= binary.LittleEndian.Uint64(buf[pos:]) << bits
		pos += int((63 - bits) >> 3)
		bits |= 56
		var e entry
		for range 3 {
			e = lit[hold&(1<<litBits-1)]
			if e.is(more) {
				hold >>= litBits
				bits -= litBits
				e = lit[e.value()+int(hold&(1<<e.extra()-1))]
			}
			hold >>= e.code()
			bits -= e.code()
			if !e.is(literal) {
				break
			}
			dst[n] = byte(e >> 16)
			n++
		}
		if e.is(literal) {
			continue
		}
		if !e.is(distance) {
			if e == 0 {
				return n, corruptf("no symbol has a code")
			}
			d.inside = false
			return n, nil
		}
		hold |= binary.LittleEndian.Uint64(buf[pos:]) << bits
		pos += int((63 - bits) >> 3)
		bits |= 56
		length := e.value() + int(hold&(1<<e.extra()-1))
		hold >>= e.extra()
		bits -= e.extra()
		e = distances[hold&(1<<distBits-1)]
		if e.is(more) {
			hold >>= distBits
			bits -= distBits
			e = distances[e.value()+int(hold&(1<<e.extra()-1))]
		}
		hold >>= e.code()
		bits -= e.code()
		dist := e.value() + int(hold&(1<<e.extra()-1))
		hold >>= e.extra()
		bits -= e.extra()
		if dist == 0 {
			return n, corruptf("no distance has a code")
		}
		switch {
		case dist > n:
			if dist > n+len(d.window) {
				return n, corruptf("a copy of what is before the data")
			}
			d.dist = dist
			d.copyMatch(dst, n, length)
		case dist >= 8: // what is written beyond the copy is overwritten
			for i := 0; i < length; i += 8 {
				binary.LittleEndian.PutUint64(dst[n+i:], binary.LittleEndian.Uint64(dst[n+i-dist:]))
			}
		default:
			for i := n; i < n+length; i++ {
				dst[i] = dst[i-dist]
			}
		}
		n += length
	}
	return n, nil
}
