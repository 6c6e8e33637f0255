package job

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"gather/internal/number"
)

// An Item is the result of one element of a batch.
type Item struct {
	// Seq is the item's place in the job's log; 0 until the item is in a log.
	Seq   uint64
	Index int64
	// Value is a JSON literal; nil for an item that failed, unless its kind describes the failure. It is valid as long as the block it came from.
	Value    []byte
	Err      string
	Duration time.Duration
}

// Bytes is about how many bytes the item holds.
func (it *Item) Bytes() int { return 64 + len(it.Value) + len(it.Err) }

// Items is a block of item results in the order of their completion, held by column. A column whose values are all the
// same, or an index that increases by one, takes no space per item: a million equal sleeps are a few bytes. Numbers that
// were added as such take eight bytes, and become literals when they are read. The zero value is an empty block. It is
// filled by one goroutine; after that it may be read by many.
type Items struct {
	n     int
	first int64
	// grown is the number of items for which columns are allocated, if it is more than they need.
	grown int
	// indexes is nil while the indexes increase by one from first.
	indexes []int64
	// ends is nil while all values are equal to values.
	values []byte
	ends   []uint32
	// kind is the kind of the values if all of them are numbers: then they are number, or numbers if they differ. Floats
	// are their bits.
	kind    numberKind
	number  uint64
	numbers []uint64
	// durations is nil while all are equal to duration.
	duration  time.Duration
	durations []time.Duration
	// errs has the items that failed, by position.
	errs map[int]string
}

type numberKind byte

const (
	literals numberKind = iota
	floats
	integers
)

// Len returns the number of items.
func (b *Items) Len() int { return b.n }

// Size is about how many bytes the block holds, for bounds.
func (b *Items) Size() int {
	return len(b.values) + 4*len(b.ends) + 8*len(b.numbers) + 8*len(b.indexes) + 8*len(b.durations) + 64*len(b.errs)
}

// Grow makes columns that are not there yet large enough for n items in all. A block that grows item by item allocates several times its size.
func (b *Items) Grow(n int) { b.grown = n }

// room returns the capacity of a new column.
func (b *Items) room() int { return max(2*b.n+8, b.grown) }

// AddFloat appends a float, with the literal of number.AppendFloat.
func (b *Items) AddFloat(index int64, v float64, d time.Duration) {
	b.addNumber(floats, index, math.Float64bits(v), d)
}

// AddInt appends an integer.
func (b *Items) AddInt(index, v int64, d time.Duration) { b.addNumber(integers, index, uint64(v), d) }

func (b *Items) addNumber(kind numberKind, index int64, bits uint64, d time.Duration) {
	switch {
	case b.n == 0:
		b.kind, b.number = kind, bits
	case b.kind != kind:
		b.Add(index, appendNumber(nil, kind, bits), d)
		return
	case b.numbers != nil:
		b.numbers = append(b.numbers, bits)
	case b.number != bits:
		b.numbers = make([]uint64, b.n, b.room())
		for i := range b.numbers {
			b.numbers[i] = b.number
		}
		b.numbers = append(b.numbers, bits)
	}
	b.add(index, d)
}

// appendNumber appends the literal of a number.
func appendNumber(dst []byte, kind numberKind, bits uint64) []byte {
	if kind == floats {
		return number.AppendFloat(dst, math.Float64frombits(bits))
	}
	return strconv.AppendInt(dst, int64(bits), 10)
}

// numberAt returns number i.
func (b *Items) numberAt(i int) uint64 {
	if b.numbers == nil {
		return b.number
	}
	return b.numbers[i]
}

// spillNumbers turns the numbers into literals.
func (b *Items) spillNumbers() {
	b.values, b.ends = nil, make([]uint32, 0, b.room())
	for i := range b.n {
		b.values = appendNumber(b.values, b.kind, b.numberAt(i))
		b.ends = append(b.ends, uint32(len(b.values)))
	}
	b.kind, b.numbers = literals, nil
}

// Add appends the result of one item: a JSON literal, which is copied.
func (b *Items) Add(index int64, value []byte, d time.Duration) {
	if b.kind != literals {
		b.spillNumbers()
	}
	switch {
	case b.ends != nil:
		b.values = append(b.values, value...)
		b.ends = append(b.ends, uint32(len(b.values)))
	case b.n == 0:
		b.values = append(b.values[:0], value...)
	case !bytes.Equal(b.values, value):
		b.spillValues()
		b.values = append(b.values, value...)
		b.ends = append(b.ends, uint32(len(b.values)))
	}
	b.add(index, d)
}

// AddError appends an item that failed.
func (b *Items) AddError(index int64, msg string, d time.Duration) { b.AddFailure(index, nil, msg, d) }

// AddFailure appends an item that failed, with a JSON literal that describes the failure; nil for none.
func (b *Items) AddFailure(index int64, value []byte, msg string, d time.Duration) {
	if b.errs == nil {
		b.errs = make(map[int]string)
	}
	b.errs[b.n] = msg
	b.Add(index, value, d)
}

func (b *Items) add(index int64, d time.Duration) {
	if b.n == 0 {
		b.first, b.duration = index, d
		b.n = 1
		return
	}
	if b.indexes == nil && index != b.first+int64(b.n) {
		b.indexes = make([]int64, b.n, b.room())
		for i := range b.indexes {
			b.indexes[i] = b.first + int64(i)
		}
	}
	if b.indexes != nil {
		b.indexes = append(b.indexes, index)
	}
	if b.durations == nil && d != b.duration {
		b.durations = make([]time.Duration, b.n, b.room())
		for i := range b.durations {
			b.durations[i] = b.duration
		}
	}
	if b.durations != nil {
		b.durations = append(b.durations, d)
	}
	b.n++
}

// DropValues removes the values and errors, of which only the indexes are needed.
func (b *Items) DropValues() {
	b.values, b.ends, b.errs = nil, nil, nil
	b.kind, b.number, b.numbers = literals, 0, nil
}

// SetDuration gives every item of the block the same duration.
func (b *Items) SetDuration(d time.Duration) { b.duration, b.durations = d, nil }

// spillValues turns the one shared value into a column.
func (b *Items) spillValues() {
	one := bytes.Clone(b.values)
	b.values = make([]byte, 0, (len(one)+1)*b.room())
	b.ends = make([]uint32, 0, b.room())
	for range b.n {
		b.values = append(b.values, one...)
		b.ends = append(b.ends, uint32(len(b.values)))
	}
}

// At returns item i, without its Seq.
func (b *Items) At(i int) Item {
	it := Item{Index: b.first + int64(i), Value: b.values, Duration: b.duration}
	if b.indexes != nil {
		it.Index = b.indexes[i]
	}
	if b.kind != literals {
		it.Value = appendNumber(nil, b.kind, b.numberAt(i))
	}
	if b.ends != nil {
		lo := uint32(0)
		if i > 0 {
			lo = b.ends[i-1]
		}
		it.Value = b.values[lo:b.ends[i]:b.ends[i]]
	}
	if b.durations != nil {
		it.Duration = b.durations[i]
	}
	if b.errs != nil {
		if msg, failed := b.errs[i]; failed {
			it.Err = msg
			if len(it.Value) == 0 {
				it.Value = nil
			}
		}
	}
	return it
}

// All yields the items in order, without their Seq.
func (b *Items) All() iter.Seq2[int, Item] {
	return func(yield func(int, Item) bool) {
		for i := range b.n {
			if !yield(i, b.At(i)) {
				return
			}
		}
	}
}

// Range returns the smallest and the largest index; (0, -1) for an empty block.
func (b *Items) Range() (lo, hi int64) {
	if b.n == 0 {
		return 0, -1
	}
	if b.indexes == nil {
		return b.first, b.first + int64(b.n) - 1
	}
	lo, hi = b.indexes[0], b.indexes[0]
	for _, i := range b.indexes {
		lo, hi = min(lo, i), max(hi, i)
	}
	return lo, hi
}

const (
	itemsIndexes = 1 << iota
	itemsValues
	itemsDurations
	itemsErrors
	itemsFloats
	itemsIntegers
)

// format returns the format that introduced the form of the block.
func (b *Items) format() Format {
	if b.kind != literals {
		return format3
	}
	return format1
}

// AppendBinary appends the encoded block: count; flags for the columns that vary; then the columns.
func (b *Items) AppendBinary(dst []byte) []byte {
	dst = appendUint(dst, uint64(b.n))
	if b.n == 0 {
		return dst
	}
	var flags uint64
	if b.indexes != nil {
		flags |= itemsIndexes
	}
	if b.ends != nil || b.numbers != nil {
		flags |= itemsValues
	}
	if b.durations != nil {
		flags |= itemsDurations
	}
	if len(b.errs) > 0 {
		flags |= itemsErrors
	}
	switch b.kind {
	case floats:
		flags |= itemsFloats
	case integers:
		flags |= itemsIntegers
	}
	dst = appendUint(dst, flags)
	dst = appendInt(dst, b.first)
	prev := b.first
	for _, v := range b.indexes {
		dst = appendInt(dst, v-prev)
		prev = v
	}
	lo := uint32(0)
	for _, end := range b.ends {
		dst = appendUint(dst, uint64(end-lo))
		lo = end
	}
	if b.kind == literals {
		dst = appendBytes(dst, b.values)
	} else if b.numbers == nil {
		dst = b.kind.append(dst, b.number)
	}
	for _, v := range b.numbers {
		dst = b.kind.append(dst, v)
	}
	dst = appendInt(dst, int64(b.duration))
	last := b.duration
	for _, d := range b.durations {
		dst = appendInt(dst, int64(d-last))
		last = d
	}
	if len(b.errs) > 0 {
		dst = appendUint(dst, uint64(len(b.errs)))
		for i := range b.n {
			if msg, failed := b.errs[i]; failed {
				dst = appendUint(dst, uint64(i))
				dst = appendString(dst, msg)
			}
		}
	}
	return dst
}

// maxItems bounds a decoded block, so that a hostile count cannot allocate more memory than its bytes justify.
const maxItems = 1 << 24

func (r *reader) items() Items {
	var b Items
	n := r.uint()
	if n == 0 || r.err != nil {
		return b
	}
	flags := r.uint()
	if flags >= 2*itemsIntegers {
		r.unknown("form of items")
	}
	switch flags & (itemsFloats | itemsIntegers) {
	case itemsFloats:
		b.kind = floats
	case itemsIntegers:
		b.kind = integers
	case itemsFloats | itemsIntegers:
		r.fail("form of items")
	}
	if b.kind != literals && flags&itemsErrors != 0 {
		r.fail("form of items")
	}
	if n > maxItems {
		r.fail("items header")
		return b
	}
	b.n, b.first = int(n), r.int()
	if flags&itemsIndexes != 0 && r.enough(b.n) {
		b.indexes = make([]int64, b.n)
		prev := b.first
		for i := range b.indexes {
			prev += r.int()
			b.indexes[i] = prev
		}
	}
	total := uint64(0)
	if b.kind == literals && flags&itemsValues != 0 && r.enough(b.n) {
		b.ends = make([]uint32, b.n)
		for i := range b.ends {
			total += r.uint()
			if total > uint64(len(r.b)) {
				r.fail("item values")
				break
			}
			b.ends[i] = uint32(total)
		}
	}
	switch {
	case b.kind == literals:
		b.values = r.bytes()
	case flags&itemsValues == 0:
		b.number = b.kind.read(r)
	case r.enough(b.n):
		b.numbers = make([]uint64, b.n)
		for i := range b.numbers {
			b.numbers[i] = b.kind.read(r)
		}
	}
	if b.ends != nil && total != uint64(len(b.values)) {
		r.fail("item values")
	}
	b.duration = time.Duration(r.int())
	if flags&itemsDurations != 0 && r.enough(b.n) {
		b.durations = make([]time.Duration, b.n)
		last := b.duration
		for i := range b.durations {
			last += time.Duration(r.int())
			b.durations[i] = last
		}
	}
	if flags&itemsErrors != 0 {
		k := r.uint()
		if k == 0 || k > n || !r.enough(int(k)) {
			r.fail("item errors")
			return Items{}
		}
		b.errs = make(map[int]string, k)
		for range k {
			i := r.uint()
			if i >= n {
				r.fail("item errors")
				break
			}
			b.errs[int(i)] = r.string()
		}
	}
	if r.err != nil {
		return Items{}
	}
	return b
}

// append appends an encoded number: eight bytes of a float, a varint of an integer.
func (k numberKind) append(dst []byte, bits uint64) []byte {
	if k == floats {
		return binary.LittleEndian.AppendUint64(dst, bits)
	}
	return appendInt(dst, int64(bits))
}

// read reads an encoded number.
func (k numberKind) read(r *reader) uint64 {
	if k != floats {
		return uint64(r.int())
	}
	if !r.enough(8) {
		return 0
	}
	bits := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return bits
}

// DecodeItems reads one encoded block, which must be all of data. The block refers to data.
func DecodeItems(data []byte) (Items, error) {
	r := reader{b: data}
	b := r.items()
	return b, r.end("items")
}

// String describes the block, for tests and logs.
func (b *Items) String() string {
	lo, hi := b.Range()
	return fmt.Sprintf("%d items of indexes %d to %d", b.n, lo, hi)
}
