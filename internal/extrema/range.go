package extrema

import "unsafe"

// Range returns the smallest and the largest element of x, which has elements but no NaN. Of zeros of both signs they
// are any.
func Range[T Number](x []T) (lo, hi T) {
	lo, hi = x[0], x[0]
	if n := vectorLen(len(x), perIteration[T]()); n > 0 {
		var v rangeResult
		limits(&x[0], n, &v)
		lo, hi = extend(&v, lo, hi)
		x = x[n:]
	}
	return goRange(lo, hi, x)
}

// RangeOfFloat16s is Range for binary16.
func RangeOfFloat16s(x []uint16) (lo, hi float32) {
	eachWide(x[:1], func(x []float32) { lo, hi = x[0], x[0] })
	if n := vectorLen(len(x), perIterationFloat16); n > 0 {
		var v rangeResult
		limitsFloat16(&x[0], n, &v)
		lo, hi = extend(&v, lo, hi)
		x = x[n:]
	}
	eachWide(x, func(x []float32) { lo, hi = goRange(lo, hi, x) })
	return lo, hi
}

// goRange extends a range by the elements of x.
func goRange[T Number](lo, hi T, x []T) (T, T) {
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}

// rangeResult has two vectors of 32 bytes, the smallest and the largest elements of each lane.
type rangeResult [8]uint64

// Columns sets lo[j] and hi[j] to the smallest and the largest element of column j of x, which has at least one row of
// len(lo) columns but no NaN. Its rows begin stride elements apart. Of zeros of both signs they are any.
func Columns[T Number](lo, hi, x []T, rows, stride int) {
	cols := len(lo)
	copy(lo, x[:cols])
	copy(hi, x[:cols])
	// Several rows of a narrow matrix without gaps are side by side.
	if side := vectorBytes / int(unsafe.Sizeof(x[0])); stride == cols && cols < maxSide && rows >= 2*side {
		var lows, highs [maxSide * vectorBytes / 8]uint64
		l, h := elements[T](lows[:])[:side*cols], elements[T](highs[:])[:side*cols]
		n := rows / side
		copy(l, x)
		copy(h, x)
		columns(l, h, x, n, side*cols)
		for first := 0; first < len(l); first += cols {
			for j := range cols {
				lo[j], hi[j] = min(lo[j], l[first+j]), max(hi[j], h[first+j])
			}
		}
		x, rows = x[n*side*cols:], rows-n*side
		if rows == 0 {
			return
		}
	}
	columns(lo, hi, x, rows, stride)
}

const (
	// vectorBytes is the size of a vector.
	vectorBytes = 32
	// maxSide is the number of columns from which rows are not put side by side.
	maxSide = 64
)

// columns extends the ranges of columns by all rows.
func columns[T Number](lo, hi, x []T, rows, stride int) {
	n := vectorColumns(len(lo), vectorBytes/int(unsafe.Sizeof(x[0])))
	if n > 0 {
		columnLimits(&x[0], stride, n, rows, &lo[0], &hi[0])
	}
	goColumns(lo[n:], hi[n:], x[min(n, len(x)):], rows, stride)
}

func goColumns[T Number](lo, hi, x []T, rows, stride int) {
	if len(lo) == 0 {
		return
	}
	for i := range rows {
		row := x[i*stride:][:len(lo)]
		for j, v := range row {
			if v < lo[j] {
				lo[j] = v
			}
			if v > hi[j] {
				hi[j] = v
			}
		}
	}
}

// ColumnsOfFloat16s is Columns for binary16.
func ColumnsOfFloat16s(lo, hi []float32, x []uint16, rows, stride int) {
	row := 0
	eachWide(x[:len(lo)], func(wide []float32) {
		copy(hi[row:], wide)
		row += copy(lo[row:], wide)
	})
	n := vectorColumns(len(lo), vectorBytes/4)
	if n > 0 {
		columnLimitsFloat16(&x[0], stride, n, rows, &lo[0], &hi[0])
	}
	if n == len(lo) {
		return
	}
	for i := range rows {
		j := n
		eachWide(x[i*stride+n:i*stride+len(lo)], func(wide []float32) {
			goColumns(lo[j:j+len(wide)], hi[j:j+len(wide)], wide, 1, len(wide))
			j += len(wide)
		})
	}
}

// extend extends a range by the lanes.
func extend[T Number](v *rangeResult, lo, hi T) (T, T) {
	for _, x := range elements[T](v[:4]) {
		lo = min(lo, x)
	}
	for _, x := range elements[T](v[4:]) {
		hi = max(hi, x)
	}
	return lo, hi
}
