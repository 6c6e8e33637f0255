package transfer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gather/internal/job"
)

// A Reader reads a stream.
type Reader struct {
	in   *bufio.Reader
	n    uint64 // records read
	all  Totals
	done Totals
	// err is the end: every call returns it from then on.
	err error
	// open is the array or the job whose pieces are to come, or nil; part says which it is, for people.
	open io.Closer
	part string
	// buf is what the last record was read into; those that others may keep have one of their own.
	buf bytes.Buffer
}

// A Record is one thing of a stream: one of the pointers is not nil.
type Record struct {
	Array     *Array
	Job       *Job
	Key       *job.KeyRecord
	Tombstone *job.Tombstone
}

// NewReader reads the head of a stream. The error is ErrFormat, ErrVersion, ErrTruncated, ErrDamaged, or that of in.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, piece)}
	head := make([]byte, len(magic)+4)
	n, err := io.ReadFull(r.in, head)
	switch {
	case string(head[:min(n, len(magic))]) != magic[:min(n, len(magic))] || n == 0 && errors.Is(err, io.EOF):
		return nil, ErrFormat
	case err != nil:
		return nil, cut(err)
	}
	if v := binary.BigEndian.Uint32(head[len(magic):]); v != Version {
		return nil, fmt.Errorf("%w: %d; it reads %d", ErrVersion, v, Version)
	}
	kind, payload, err := r.record()
	if err != nil {
		return nil, err
	}
	all, ok := decodeTotals(payload)
	if kind != kindTotals || !ok {
		return nil, r.damaged("its head")
	}
	r.all = all
	return r, nil
}

// Totals returns what the stream says it has.
func (r *Reader) Totals() Totals { return r.all }

// Done returns what was read so far.
func (r *Reader) Done() Totals { return r.done }

// cut names the end of the input at a place where there is none.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

// fail ends the reading.
func (r *Reader) fail(err error) error {
	if errors.Is(err, ErrTruncated) {
		err = fmt.Errorf("%w%s: %s", ErrTruncated, r.part, r.done.missing(&r.all))
	}
	r.err = err
	return err
}

func (r *Reader) damaged(what string) error {
	return fmt.Errorf("%w%s at record %d: %s", ErrDamaged, r.part, r.n-1, what)
}

// record reads a record. The payload is valid until the next.
func (r *Reader) record() (kind byte, payload []byte, err error) {
	if kind, err = r.in.ReadByte(); err != nil {
		return 0, nil, cut(err)
	}
	n, err := binary.ReadUvarint(r.in)
	r.n++
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, ErrTruncated
	case err != nil || n > maxRecord:
		return 0, nil, errors.Join(r.damaged("its length"), err)
	}
	// It grows with what comes, whatever the length says.
	r.buf.Reset()
	if _, err = io.CopyN(&r.buf, r.in, int64(n)); err != nil {
		return 0, nil, cut(err)
	}
	var sum [4]byte
	if _, err = io.ReadFull(r.in, sum[:]); err != nil {
		return 0, nil, cut(err)
	}
	if binary.BigEndian.Uint32(sum[:]) != checksum(r.n-1, kind, r.buf.Bytes()) {
		return 0, nil, r.damaged("its checksum")
	}
	return kind, r.buf.Bytes(), nil
}

// Next returns what comes next, and io.EOF when the stream was read to its end and had all that it announced. What is left
// of the array or the job that was returned before is skipped. The other errors are those of NewReader; after one there is
// no other.
func (r *Reader) Next() (Record, error) {
	if r.err == nil && r.open != nil {
		_ = r.open.Close() // its error is r.err
	}
	if r.err != nil {
		return Record{}, r.err
	}
	kind, payload, err := r.record()
	if err != nil {
		return Record{}, r.fail(err)
	}
	rec, ok := Record{}, false
	switch kind {
	case kindArray:
		a := &Array{r: r}
		a.ArrayInfo, ok = decodeArray(payload)
		a.left = a.Bytes
		r.part = fmt.Sprintf(", in array %q of tenant %q", a.Name, a.Tenant)
		rec.Array, r.open = a, a
	case kindJob:
		j := &Job{r: r}
		j.View, j.Spec, ok = decodeJob(bytes.Clone(payload))
		r.part = fmt.Sprintf(", in job %s", j.View.ID)
		rec.Job, r.open = j, j
	case kindKey:
		k, good := decodeKey(payload)
		rec.Key, ok = &k, good
		r.done.Keys++
	case kindTombstone:
		t, good := decodeTombstone(payload)
		rec.Tombstone, ok = &t, good
		r.done.Tombstones++
	case kindEnd:
		return Record{}, r.end(payload)
	}
	if !ok {
		return Record{}, r.fail(r.damaged("its content"))
	}
	return rec, nil
}

// end checks that all is there, and nothing more.
func (r *Reader) end(payload []byte) error {
	written, ok := decodeTotals(payload)
	if !ok || written != r.done || written != r.all {
		return r.fail(r.damaged("what was read is not what was written: " + r.done.missing(&r.all)))
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return r.fail(fmt.Errorf("%w: something follows its end", ErrDamaged))
	case !errors.Is(err, io.EOF):
		return r.fail(err)
	}
	r.err = io.EOF
	return io.EOF
}

// piece reads the next piece of the array or the job that is open, and returns io.EOF at its end.
func (r *Reader) piece(want byte) ([]byte, error) {
	kind, payload, err := r.record()
	switch {
	case err != nil:
		return nil, r.fail(err)
	case kind == want && len(payload) > 0:
		return payload, nil
	case kind == kindClose && len(payload) == 0:
		return nil, io.EOF
	}
	return nil, r.fail(r.damaged("its kind"))
}

// shut ends what is open.
func (r *Reader) shut() { r.open, r.part = nil, "" }

// An Array is one of the stream; reading it yields its bytes.
type Array struct {
	ArrayInfo
	r    *Reader
	left int64  // to come
	p    []byte // came, and was not read
	err  error
}

// Read implements io.Reader. It returns io.EOF only when all bytes were there.
func (a *Array) Read(p []byte) (int, error) {
	for len(a.p) == 0 && a.err == nil {
		a.p, a.err = a.next()
	}
	if len(a.p) == 0 {
		return 0, a.err
	}
	n := copy(p, a.p)
	a.p = a.p[n:]
	return n, nil
}

func (a *Array) next() ([]byte, error) {
	p, err := a.r.piece(kindBytes)
	a.left -= int64(len(p))
	switch {
	case a.left < 0, errors.Is(err, io.EOF) && a.left != 0:
		return nil, a.r.fail(a.r.damaged("its number of bytes"))
	case errors.Is(err, io.EOF):
		a.r.done.AddArray(a.Bytes)
		a.r.shut()
	}
	return p, err
}

// Close skips what was not read. The Reader calls it.
func (a *Array) Close() error {
	for a.err == nil {
		_, a.err = a.next()
	}
	return a.err
}

// A Job is one of the stream.
type Job struct {
	View job.Job
	Spec []byte
	r    *Reader
	seq  uint64
	err  error
}

// Log yields the log of the job, once, and before the next record is asked for. It ends after an error; without one the log
// is whole, and leads to the seq of the view.
func (j *Job) Log() job.LogSeq {
	return func(yield func(job.LogRecord, error) bool) {
		for j.err == nil {
			records, err := j.next()
			if err != nil && !errors.Is(err, io.EOF) {
				yield(job.LogRecord{}, err)
				return
			}
			for _, rec := range records {
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
}

// next reads a piece of the log.
func (j *Job) next() (records []job.LogRecord, err error) {
	defer func() { j.err = err }()
	payload, err := j.r.piece(kindLog)
	switch {
	case errors.Is(err, io.EOF) && j.seq != j.View.Seq:
		return nil, j.r.fail(j.r.damaged("the log does not end at the seq of the view"))
	case errors.Is(err, io.EOF):
		j.r.done.AddJob(&j.View)
		j.r.shut()
		return nil, io.EOF
	case err != nil:
		return nil, err
	}
	events, err := job.DecodeEvents(bytes.Clone(payload)) // which the events refer to
	if err != nil {
		return nil, j.r.fail(j.r.damaged(err.Error()))
	}
	for _, e := range events {
		j.seq += job.Seqs(e)
		records = append(records, job.LogRecord{Seq: j.seq, Event: e})
	}
	return records, nil
}

// Close skips what was not read. The Reader calls it.
func (j *Job) Close() error {
	for j.err == nil {
		_, _ = j.next() // sets j.err
	}
	return j.err
}
