package chunked

import (
	"context"

	"gather/internal/exactsum"
)

const (
	// scratchBytes is the size of a worker's buffer: it fits the second-level cache, and is the size of reads of stored
	// arrays.
	scratchBytes = 256 << 10
	// constantBytes is the part of a constant that is reused: it fits the first-level cache.
	constantBytes = 32 << 10
	// maxColumns is the maximum number of outputs that a worker sums together.
	maxColumns = 256
)

// Worker is the scratch of one worker: about 400 KiB after sums over some of the axes, otherwise 300 KiB. It runs any
// number of tasks of any plans, one at a time, and allocates nothing after one task of each type.
type Worker struct {
	adder *exactsum.Adder
	buf   []byte
	full  Source                 // the constant that fills buf, or nil
	accs  []exactsum.Accumulator // of one batch of outputs
	acc   exactsum.Accumulator   // of one chunk
	total exactsum.Accumulator   // of one task
}

// NewWorker returns a Worker that is ready to use.
func NewWorker() *Worker {
	return &Worker{adder: exactsum.NewAdder(), buf: alignedBytes(scratchBytes)}
}

// capacity returns the number of elements of size bytes that fit the scratch.
func capacity(size int) int64 { return int64(scratchBytes / size) }

// columns returns n empty accumulators.
func (w *Worker) columns(n int64) []exactsum.Accumulator {
	if w.accs == nil {
		w.accs = make([]exactsum.Accumulator, maxColumns)
	}
	accs := w.accs[:n]
	clear(accs)
	return accs
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

// add adds n elements of the scratch, from at, to a.
func (w *Worker) add(a *exactsum.Accumulator, t DType, at, n int64) {
	mem := w.buf[at*int64(t.Size()):][:n*int64(t.Size())]
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

// addRows adds rows of the scratch, from element at, column by column to accs.
func (w *Worker) addRows(accs []exactsum.Accumulator, t DType, at, rows int64) {
	n := rows * int64(len(accs))
	if len(accs) == 1 {
		w.add(&accs[0], t, at, n)
		return
	}
	mem, r := w.buf[at*int64(t.Size()):][:n*int64(t.Size())], int(rows)
	switch t {
	case Bool:
		w.adder.ColumnsBool(accs, mem, r)
	case Int8:
		w.adder.ColumnsInt8(accs, view[int8](mem), r)
	case Int16:
		w.adder.ColumnsInt16(accs, view[int16](mem), r)
	case Int32:
		w.adder.ColumnsInt32(accs, view[int32](mem), r)
	case Int64:
		w.adder.ColumnsInt64(accs, view[int64](mem), r)
	case Uint8:
		w.adder.ColumnsUint8(accs, mem, r)
	case Uint16:
		w.adder.ColumnsUint16(accs, view[uint16](mem), r)
	case Uint32:
		w.adder.ColumnsUint32(accs, view[uint32](mem), r)
	case Uint64:
		w.adder.ColumnsUint64(accs, view[uint64](mem), r)
	case Float16:
		w.adder.ColumnsFloat16(accs, view[uint16](mem), r)
	case Float32:
		w.adder.ColumnsFloat32(accs, view[float32](mem), r)
	case Float64:
		w.adder.ColumnsFloat64(accs, view[float64](mem), r)
	}
}
