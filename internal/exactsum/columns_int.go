package exactsum

// ColumnsInt64 adds column j of x to accs[j]. x is a matrix with rows of len(accs) columns, which begin stride
// elements apart; it panics if len(x) differs.
func (f *Adder) ColumnsInt64(accs []Accumulator, x []int64, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsInt64, func(sum, high uint64) int128 {
		return joinHalves(sum, int128{hi: int64(high) >> 63, lo: high})
	})
}

// ColumnsUint64 is ColumnsInt64 for uint64.
func (f *Adder) ColumnsUint64(accs []Accumulator, x []uint64, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsUint64, func(sum, high uint64) int128 {
		return joinHalves(sum, int128{lo: high})
	})
}

// ColumnsInt32 is ColumnsInt64 for int32.
func (f *Adder) ColumnsInt32(accs []Accumulator, x []int32, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsInt32, signed)
}

// ColumnsInt16 is ColumnsInt64 for int16.
func (f *Adder) ColumnsInt16(accs []Accumulator, x []int16, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsInt16, signed)
}

// ColumnsInt8 is ColumnsInt64 for int8.
func (f *Adder) ColumnsInt8(accs []Accumulator, x []int8, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsInt8, signed)
}

// ColumnsUint32 is ColumnsInt64 for uint32.
func (f *Adder) ColumnsUint32(accs []Accumulator, x []uint32, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsUint32, signed)
}

// ColumnsUint16 is ColumnsInt64 for uint16.
func (f *Adder) ColumnsUint16(accs []Accumulator, x []uint16, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsUint16, signed)
}

// ColumnsUint8 is ColumnsInt64 for uint8.
func (f *Adder) ColumnsUint8(accs []Accumulator, x []uint8, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsUint8, signed)
}

// ColumnsBool adds the number of non-zero bytes of column j to accs[j]; otherwise it is ColumnsInt64.
func (f *Adder) ColumnsBool(accs []Accumulator, x []byte, rows, stride int) {
	sumColumns(f, accs, x, rows, stride, columnsBool, signed)
}

// ColumnsFloat16 is ColumnsFloat64 for IEEE 754 binary16 bits. Their sums are exact as integers of 2^-24.
func (f *Adder) ColumnsFloat16(accs []Accumulator, x []uint16, rows, stride int) {
	c := f.columnScratch()
	eachTile(x, len(accs), rows, stride, func(first, period int, t tile[uint16]) {
		accs := accs[first : first+period]
		openColumns(accs, t, isNegZero16)
		for t.rows > 0 {
			block := t.cut(columnRows)
			clear(c.sum[:])
			if !columnsFloat16(c, block) {
				addGathered(c, block, func(v int, column []uint16) { f.Float16s(&accs[v%period], column) })
				continue
			}
			c.drainInts(accs, block.width, point-24, signed)
		}
	})
}

// signed returns the value of a sum that fits 64 bits.
func signed(sum, _ uint64) int128 { return int128{hi: int64(sum) >> 63, lo: sum} }

// sumColumns adds a matrix of integers with the kernel add, whose sums value converts to integers.
func sumColumns[T any](
	f *Adder, accs []Accumulator, x []T, rows, stride int,
	add func(*columnScratch, tile[T]), value func(sum, high uint64) int128,
) {
	c := f.columnScratch()
	eachTile(x, len(accs), rows, stride, func(first, period int, t tile[T]) {
		accs := accs[first : first+period]
		for j := range accs {
			accs[j].join(finite)
		}
		for t.rows > 0 {
			clear(c.sum[:])
			clear(c.high[:])
			add(c, t.cut(drainRows))
			c.drainInts(accs, t.width, point, value)
		}
	})
}

// drainInts moves the sums of a tile into the accumulators, at position pos.
func (c *columnScratch) drainInts(accs []Accumulator, width, pos int, value func(sum, high uint64) int128) {
	for first := 0; first < width; first += len(accs) {
		for j := range accs {
			s := value(c.sum[first+j], c.high[first+j])
			accs[j].addInt128(s.hi, s.lo, pos)
		}
	}
}
