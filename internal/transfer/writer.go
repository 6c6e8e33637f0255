package transfer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"gather/internal/job"
)

// A Writer writes a stream. After an error of its own it must not be used any more.
type Writer struct {
	out  *bufio.Writer
	n    uint64 // records written
	buf  []byte
	all  Totals
	done Totals
}

// NewWriter begins a stream that will have what all says.
func NewWriter(out io.Writer, all Totals) (*Writer, error) {
	w := &Writer{out: bufio.NewWriterSize(out, piece), all: all}
	// An error of the buffer comes again with what follows.
	_, _ = w.out.WriteString(magic)
	_, _ = w.out.Write(binary.BigEndian.AppendUint32(nil, Version))
	return w, w.record(kindTotals, all.append(nil))
}

// record writes a record.
func (w *Writer) record(kind byte, payload []byte) error {
	if len(payload) > maxRecord {
		return fmt.Errorf("a record of %d bytes is too long", len(payload))
	}
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = kind
	n := binary.PutUvarint(head[1:], uint64(len(payload)))
	_, _ = w.out.Write(head[:1+n])
	_, _ = w.out.Write(payload)
	_, err := w.out.Write(binary.BigEndian.AppendUint32(nil, checksum(w.n, kind, payload)))
	w.n++
	return err
}

// Array writes an array, whose bytes it reads from r.
func (w *Writer) Array(a ArrayInfo, r io.Reader) error {
	w.buf = a.append(w.buf[:0])
	if err := w.record(kindArray, w.buf); err != nil {
		return err
	}
	if cap(w.buf) < piece {
		w.buf = make([]byte, piece)
	}
	for left := a.Bytes; left > 0; {
		p := w.buf[:min(left, piece)]
		if _, err := io.ReadFull(r, p); err != nil {
			return fmt.Errorf("read array %s of tenant %s: %w", a.Name, a.Tenant, err)
		}
		if err := w.record(kindBytes, p); err != nil {
			return err
		}
		left -= int64(len(p))
	}
	w.done.AddArray(a.Bytes)
	return w.record(kindClose, nil)
}

// Job writes a job with its whole log.
func (w *Writer) Job(view job.Job, spec []byte, log job.LogSeq) error {
	w.buf = appendBytes(appendBytes(w.buf[:0], view.AppendBinary(nil)), spec)
	if err := w.record(kindJob, w.buf); err != nil {
		return err
	}
	run, last := w.buf[:0], uint64(0)
	for r, err := range log {
		if err != nil {
			return fmt.Errorf("job %s: %w", view.ID, err)
		}
		run, last = job.AppendEvent(run, r.Event), r.Seq
		if len(run) < piece {
			continue
		}
		if err := w.record(kindLog, run); err != nil {
			return err
		}
		run = run[:0]
	}
	if last != view.Seq {
		return fmt.Errorf("job %s: %w: its log ends at %d, not at %d", view.ID, job.ErrCorrupt, last, view.Seq)
	}
	if len(run) > 0 {
		if err := w.record(kindLog, run); err != nil {
			return err
		}
	}
	if cap(run) <= 4*piece {
		w.buf = run
	}
	w.done.AddJob(&view)
	return w.record(kindClose, nil)
}

// Key writes an idempotency key.
func (w *Writer) Key(k job.KeyRecord) error {
	w.done.Keys++
	w.buf = appendKey(w.buf[:0], &k)
	return w.record(kindKey, w.buf)
}

// Tombstone writes a tombstone.
func (w *Writer) Tombstone(t job.Tombstone) error {
	w.done.Tombstones++
	w.buf = appendTombstone(w.buf[:0], &t)
	return w.record(kindTombstone, w.buf)
}

// Done returns what was written so far.
func (w *Writer) Done() Totals { return w.done }

// Close ends the stream, which has no end without it. It is an error when other things were written than announced.
func (w *Writer) Close() error {
	if w.done != w.all {
		return fmt.Errorf("written are %s; announced were %s", &w.done, &w.all)
	}
	if err := w.record(kindEnd, w.done.append(nil)); err != nil {
		return err
	}
	return w.out.Flush()
}
