package chunked

import (
	"context"
	"errors"

	"gather/internal/exactsum"
)

const (
	// scratchBytes is the size of a worker's buffer: it fits the second-level cache, and is the size of reads of stored
	// arrays.
	scratchBytes = 256 << 10
	// remoteScratchBytes is the size of the buffer for rows of remote arrays, which are read in whole: scratchBytes would
	// have a few of them, and after each read the sums of all columns move to the states.
	remoteScratchBytes = 4 << 20
	// viewBytes is how much of a file is added at a time in place: some hundreds of microseconds of work.
	viewBytes = 4 << 20
	// constantBytes is the part of a constant that is reused: it fits the first-level cache.
	constantBytes = 32 << 10
	// maxColumns is the maximum number of outputs that a worker sums together.
	maxColumns = 1024
)

// Worker is the scratch of one worker: about 700 KiB after sums over some of the axes, with 4 MiB more if they were of a
// remote array, otherwise 300 KiB. It runs any
// number of tasks of any plans, one at a time, and allocates nothing after one task of each type.
type Worker struct {
	adder  *exactsum.Adder
	buf    []byte
	parts  []byte    // where short runs of elements are gathered, if there were any
	full   Source    // the constant that fills buf, or nil
	batch  states    // of a batch of outputs, or of the chunks of a strip
	chunk  states    // of one chunk
	total  states    // of one task
	wide   []float32 // binary16 values as float32
	limits [2][]byte // the smallest and the largest element of each column
	values []Number  // of an item
	block  blockScratch
	tile   []byte // of an array in tiles
}

// NewWorker returns a Worker that is ready to use.
func NewWorker() *Worker {
	return &Worker{adder: exactsum.NewAdder(), buf: alignedBytes(scratchBytes)}
}

// capacity returns the number of elements of size bytes that fit the scratch.
func capacity(size int) int64 { return int64(scratchBytes / size) }

// rowCapacity returns how many elements of rows of src fit the scratch, which it makes larger if it helps.
func (w *Worker) rowCapacity(src Source) int64 {
	size := src.DType().Size()
	if f, ok := src.(*file); !ok || !f.Remote {
		return capacity(size)
	}
	if len(w.buf) < remoteScratchBytes {
		w.buf, w.full = alignedBytes(remoteScratchBytes), nil
	}
	return int64(remoteScratchBytes / size)
}

// reset returns n empty states in the memory of s, which it replaces if it is too small.
func reset(s *states, n int64, more bool) states {
	if int64(len(s.sums)) < n || more && s.more == nil {
		*s = newStates(n, more)
	}
	t := s.cut(0, n)
	if !more {
		t.more = nil
	}
	t.clear()
	return t
}

// fill reads n elements of src from lo into the scratch, at element at. A constant is filled once and reused.
func (w *Worker) fill(ctx context.Context, src Source, at, lo, n int64) error {
	if src.Constant() {
		if w.full == nil || w.full != src {
			w.full = src
			return src.Fill(ctx, w.buf, 0)
		}
		return nil
	}
	w.full = nil
	size := int64(src.DType().Size())
	err := src.Fill(ctx, w.buf[at*size:(at+n)*size], lo)
	if err != nil {
		w.buf = alignedBytes(scratchBytes) // an interrupted read may still write to the old buffer
	}
	return err
}

// inPlace is a source whose elements can be used in place.
type inPlace interface {
	// view calls use with n elements from element lo. Errors: errors.ErrUnsupported if they must be copied.
	view(ctx context.Context, lo, n int64, use func(mem []byte) error) error
	// together returns how many elements from element lo on can be used at once.
	together(lo int64) int64
}

// viewer returns src if its elements can be used in place, or nil.
func (w *Worker) viewer(ctx context.Context, src Source) (inPlace, error) {
	switch s := src.(type) {
	case *tileMemory:
		return s, nil
	case *file:
		if ok, err := s.canView(ctx); !ok {
			return nil, err
		}
		return s, nil
	}
	return nil, nil
}

// view calls use with n elements of f from lo, in place.
func (w *Worker) view(ctx context.Context, f inPlace, lo, n int64, use func(mem []byte) error) error {
	err := f.view(ctx, lo, n, use)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		w.adder = exactsum.NewAdder() // a fault within a kernel leaves sums behind
	}
	return err
}

// eachRun calls use with n elements of src from lo, piece by piece, and where each piece begins. It checks ctx before
// each piece.
func (w *Worker) eachRun(ctx context.Context, src Source, lo, n int64, use func(mem []byte, at int64) error) error {
	f, err := w.viewer(ctx, src)
	if err != nil {
		return err
	}
	size := int64(src.DType().Size())
	most := capacity(int(size))
	switch {
	case f != nil:
		most = viewBytes / size
	case src.Constant():
		most = constantBytes / size
	}
	for n > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		piece := min(n, most)
		err := errors.ErrUnsupported
		if f != nil {
			piece = max(min(piece, f.together(lo)), 1)
			err = w.view(ctx, f, lo, piece, func(mem []byte) error { return use(mem, lo) })
		}
		if errors.Is(err, errors.ErrUnsupported) {
			piece = min(piece, capacity(int(size)))
			if err = w.fill(ctx, src, 0, lo, piece); err == nil {
				err = use(w.buf[:piece*size], lo)
			}
		}
		if err != nil {
			return err
		}
		lo += piece
		n -= piece
	}
	return nil
}

// matrix is n rows of width elements in memory, whose starts are stride elements apart. In memory order of the array the
// first element is at at, and the rows are step elements apart.
type matrix struct {
	mem              []byte
	width, stride, n int64
	at, step         int64
}

// eachRows calls use with n rows of width elements of src, as many at a time as is good for the caches, but at least
// one; a row must fit the scratch. The first row begins at lo, the others stride elements apart. It checks ctx before
// each call.
func (w *Worker) eachRows(ctx context.Context, src Source, lo, width, stride, n int64, use func(matrix) error) error {
	f, err := w.viewer(ctx, src)
	if err != nil {
		return err
	}
	size := int64(src.DType().Size())
	var most int64
	if f != nil {
		most = max(viewBytes/size/width, 1)
	} else {
		most = w.rowCapacity(src) / width
	}
	for n > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k := min(n, most)
		err := errors.ErrUnsupported
		if f != nil {
			if run := f.together(lo); run < (k-1)*stride+width {
				k = max(run-width, 0)/stride + 1
			}
			err = w.view(ctx, f, lo, (k-1)*stride+width, func(mem []byte) error { return use(matrix{mem, width, stride, k, lo, stride}) })
		}
		if errors.Is(err, errors.ErrUnsupported) {
			k = min(k, w.rowCapacity(src)/width)
			if err = w.fillRows(ctx, src, lo, width, stride, k); err == nil {
				err = use(matrix{w.buf[:k*width*size], width, width, k, lo, stride})
			}
		}
		if err != nil {
			return err
		}
		lo += k * stride
		n -= k
	}
	return nil
}

// fillRows reads n rows into the scratch, without gaps.
func (w *Worker) fillRows(ctx context.Context, src Source, lo, width, stride, n int64) error {
	if width == stride || src.Constant() {
		return w.fill(ctx, src, 0, lo, n*width)
	}
	for i := range n {
		if err := w.fill(ctx, src, i*width, lo+i*stride, width); err != nil {
			return err
		}
	}
	return nil
}

// addTo adds the elements of mem, which begin at an offset in memory order, to state i. Errors: of reading companions.
func (w *Worker) addTo(ctx context.Context, s states, i int64, r *Reduction, mem []byte, at int64) error {
	a, m := s.at(i)
	if m == nil {
		w.add(a, r.elements, mem)
		return nil
	}
	n := int64(len(mem) / r.elements.Size())
	b, err := w.loadBeside(ctx, r, matrix{width: n, n: 1, at: at, step: n})
	if err == nil {
		w.addMoments(a, m, r, mem, place{at: at, step: 1}, b)
	}
	return err
}

// add adds the elements of mem to a.
func (w *Worker) add(a *exactsum.Accumulator, t DType, mem []byte) {
	switch t {
	case Bool:
		w.adder.Bools(a, mem)
	case Int8:
		w.adder.Int8s(a, view[int8](mem))
	case Int16:
		w.adder.Int16s(a, view[int16](mem))
	case Int32:
		w.adder.Int32s(a, view[int32](mem))
	case Int64:
		w.adder.Int64s(a, view[int64](mem))
	case Uint8:
		w.adder.Uint8s(a, mem)
	case Uint16:
		w.adder.Uint16s(a, view[uint16](mem))
	case Uint32:
		w.adder.Uint32s(a, view[uint32](mem))
	case Uint64:
		w.adder.Uint64s(a, view[uint64](mem))
	case Float16:
		w.adder.Float16s(a, view[uint16](mem))
	case Float32:
		w.adder.Float32s(a, view[float32](mem))
	case Float64:
		w.adder.Float64s(a, view[float64](mem))
	}
}

// addColumns adds the rows of m column by column to s, which has as many states as a row is wide. Errors: of reading
// companions.
func (w *Worker) addColumns(ctx context.Context, s states, r *Reduction, m matrix) error {
	switch {
	case s.len() == 1 && m.stride == 1 && m.step == 1:
		return w.addTo(ctx, s, 0, r, m.mem, m.at)
	case s.more == nil:
		w.addRows(s.sums, r.elements, m)
		return nil
	}
	return w.addColumnMoments(ctx, s, r, m)
}

// addRows adds the rows of m column by column to accs, which are as many as a row is wide.
func (w *Worker) addRows(accs []exactsum.Accumulator, t DType, m matrix) {
	mem, n, stride := m.mem, int(m.n), int(m.stride)
	switch t {
	case Bool:
		w.adder.ColumnsBool(accs, mem, n, stride)
	case Int8:
		w.adder.ColumnsInt8(accs, view[int8](mem), n, stride)
	case Int16:
		w.adder.ColumnsInt16(accs, view[int16](mem), n, stride)
	case Int32:
		w.adder.ColumnsInt32(accs, view[int32](mem), n, stride)
	case Int64:
		w.adder.ColumnsInt64(accs, view[int64](mem), n, stride)
	case Uint8:
		w.adder.ColumnsUint8(accs, mem, n, stride)
	case Uint16:
		w.adder.ColumnsUint16(accs, view[uint16](mem), n, stride)
	case Uint32:
		w.adder.ColumnsUint32(accs, view[uint32](mem), n, stride)
	case Uint64:
		w.adder.ColumnsUint64(accs, view[uint64](mem), n, stride)
	case Float16:
		w.adder.ColumnsFloat16(accs, view[uint16](mem), n, stride)
	case Float32:
		w.adder.ColumnsFloat32(accs, view[float32](mem), n, stride)
	case Float64:
		w.adder.ColumnsFloat64(accs, view[float64](mem), n, stride)
	}
}
