//go:build !amd64 || purego

package exactsum

const laneBits = goLaneBits

func fold2x64(x []float64, k int) (upper, lower int64, ok bool) { return goFold2(x, k) }

func fold1x64(x []float64, k int) (level int64, ok bool) { return goFold1(x, k) }
func fold1x32(x []float32, k int) (level int64, ok bool) { return goFold1(x, k) }

func extract(rest, x []float64, k int) (level int64, inRange, more bool) {
	return goExtract(rest, x, k)
}

func fold2x32(x []float32, k int) (upper, lower int64, ok bool) { return goFold2(x, k) }
func sum16(x []uint16) (units int64, ok bool)                   { return goSum16(x) }

func sumInt64(x []int64) (sum uint64, high int64)    { return goSumWide(x) }
func sumUint64(x []uint64) (sum uint64, high uint64) { return goSumWide(x) }
func sumInt32(x []int32) int64                       { return goSumNarrow(x) }
func sumInt16(x []int16) int64                       { return goSumNarrow(x) }
func sumInt8(x []int8) int64                         { return goSumNarrow(x) }
func sumUint32(x []uint32) int64                     { return goSumNarrow(x) }
func sumUint16(x []uint16) int64                     { return goSumNarrow(x) }
func sumUint8(x []uint8) int64                       { return goSumNarrow(x) }
func sumBool(x []byte) int64                         { return goSumBool(x) }

func swap64(x []uint64) { goSwap64(x) }
func swap32(x []uint32) { goSwap32(x) }
func swap16(x []uint16) { goSwap16(x) }

func foldColumns64(c *columnLevels, t tile[float64]) bool {
	c.begin(t.width)
	return goFoldColumns(c, t, 0)
}

func foldColumns32(c *columnLevels, t tile[float32]) bool {
	c.begin(t.width)
	return goFoldColumns(c, t, 0)
}

func columnsFloat16(c *columnScratch, t tile[uint16]) bool { return goColumnsFloat16(c, t, 0) }
func columnsInt64(c *columnScratch, t tile[int64])         { goColumnsWide(c, t, 0) }
func columnsUint64(c *columnScratch, t tile[uint64])       { goColumnsWide(c, t, 0) }
func columnsInt32(c *columnScratch, t tile[int32])         { goColumnsNarrow(c, t, 0) }
func columnsInt16(c *columnScratch, t tile[int16])         { goColumnsNarrow(c, t, 0) }
func columnsInt8(c *columnScratch, t tile[int8])           { goColumnsNarrow(c, t, 0) }
func columnsUint32(c *columnScratch, t tile[uint32])       { goColumnsNarrow(c, t, 0) }
func columnsUint16(c *columnScratch, t tile[uint16])       { goColumnsNarrow(c, t, 0) }
func columnsUint8(c *columnScratch, t tile[uint8])         { goColumnsNarrow(c, t, 0) }
func columnsBool(c *columnScratch, t tile[byte])           { goColumnsBool(c, t, 0) }

const squareKernels = false

func squares64([]float64, int) (levels [squareLevels]int64, ok bool) { return levels, false }
func squares32([]float32, int) (levels [squareLevels]int64, ok bool) { return levels, false }

func squareInts[T integer]([]T) (sums [6]uint64, n int) { return sums, 0 }

func foldSquareColumns64(c *columnLevels, t tile[float64]) bool {
	c.begin(t.width)
	return goFoldSquareColumns(c, t, 0)
}

func foldSquareColumns32(c *columnLevels, t tile[float32]) bool {
	c.begin(t.width)
	return goFoldSquareColumns(c, t, 0)
}

func squareIntColumns[T integer](halves *[len(squarePos)][tileLen]uint64, t tile[T]) {
	goSquareIntColumns(halves, t, 0)
}
