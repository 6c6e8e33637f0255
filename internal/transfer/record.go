package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"gather/internal/job"
)

// Version is that of the format which is written, and the only one that is read.
const Version = 1

const magic = "gather\r\n"

// The kinds of records.
const (
	kindTotals    = 'H'
	kindArray     = 'A'
	kindBytes     = 'a'
	kindJob       = 'J'
	kindLog       = 'l'
	kindClose     = '.'
	kindKey       = 'K'
	kindTombstone = 'T'
	kindEnd       = 'E'
)

const (
	// piece is about how much of an array or of a log is one record.
	piece = 256 << 10
	// maxRecord bounds a record: an event may be large.
	maxRecord = 1 << 30
)

// The errors of reading.
var (
	// ErrFormat tells that what is read is not such a stream.
	ErrFormat = errors.New("it is not what 'server export' writes")
	// ErrVersion tells that the stream is of a version that is not read here.
	ErrVersion = errors.New("it was written in a version of the format that this server does not read")
	// ErrDamaged tells that something was changed on the way.
	ErrDamaged = errors.New("the stream is damaged")
	// ErrTruncated tells that the end is missing.
	ErrTruncated = errors.New("the stream is cut off")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of a record.
func checksum(n uint64, kind byte, payload []byte) uint32 {
	var head [9]byte
	binary.BigEndian.PutUint64(head[:], n)
	head[8] = kind
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, payload)
}

// Totals count what is in a stream.
type Totals struct {
	// Arrays are stored arrays, of ArrayBytes together.
	Arrays, ArrayBytes uint64
	// Jobs are all jobs, Unfinished those of them that have not ended.
	Jobs, Unfinished uint64
	Keys, Tombstones uint64
}

func (t *Totals) fields() [6]*uint64 {
	return [...]*uint64{&t.Arrays, &t.ArrayBytes, &t.Jobs, &t.Unfinished, &t.Keys, &t.Tombstones}
}

func (t *Totals) append(dst []byte) []byte {
	for _, f := range t.fields() {
		dst = binary.AppendUvarint(dst, *f)
	}
	return dst
}

// String lists the totals.
func (t *Totals) String() string {
	return fmt.Sprintf("%d arrays (%d bytes), %d jobs (%d unfinished), %d idempotency keys, %d tombstones",
		t.Arrays, t.ArrayBytes, t.Jobs, t.Unfinished, t.Keys, t.Tombstones)
}

// AddJob counts a job.
func (t *Totals) AddJob(view *job.Job) {
	t.Jobs++
	if !view.State.Terminal() {
		t.Unfinished++
	}
}

// AddArray counts an array.
func (t *Totals) AddArray(bytes int64) {
	t.Arrays++
	t.ArrayBytes += uint64(bytes)
}

// Add counts all that another counted.
func (t *Totals) Add(other Totals) {
	to := t.fields()
	for i, f := range other.fields() {
		*to[i] += *f
	}
}

// missing tells what of all is not in t.
func (t *Totals) missing(all *Totals) string {
	return fmt.Sprintf("missing are %d of %d arrays, %d of %d jobs, %d of %d idempotency keys and %d of %d tombstones",
		all.Arrays-min(t.Arrays, all.Arrays), all.Arrays, all.Jobs-min(t.Jobs, all.Jobs), all.Jobs,
		all.Keys-min(t.Keys, all.Keys), all.Keys, all.Tombstones-min(t.Tombstones, all.Tombstones), all.Tombstones)
}

// ArrayInfo describes an array of the stream.
type ArrayInfo struct {
	Tenant, Name string
	Bytes        int64
	SHA256       [32]byte
	CreatedAt    time.Time
}

func (a *ArrayInfo) append(dst []byte) []byte {
	dst = appendBytes(appendBytes(dst, a.Tenant), a.Name)
	dst = append(binary.AppendUvarint(dst, uint64(a.Bytes)), a.SHA256[:]...)
	return appendTime(dst, a.CreatedAt)
}

func appendKey(dst []byte, k *job.KeyRecord) []byte {
	dst = appendTime(append(append(dst, k.Hash[:]...), k.Fingerprint[:]...), k.Expires)
	dst = binary.AppendUvarint(dst, uint64(len(k.IDs)))
	for _, id := range k.IDs {
		dst = append(dst, id[:]...)
	}
	return dst
}

func appendTombstone(dst []byte, t *job.Tombstone) []byte {
	return appendTime(append(appendBytes(dst, t.Tenant), t.ID[:]...), t.Expires)
}

func appendBytes[T ~string | ~[]byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

func appendTime(dst []byte, t time.Time) []byte { return binary.AppendVarint(dst, t.UnixNano()) }

// A decoder takes values off a payload. After the first fault bad is set and every further value is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) time() time.Time {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return time.Time{}
	}
	d.b = d.b[n:]
	return time.Unix(0, v).UTC()
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uint()) }

// fixed fills v.
func (d *decoder) fixed(v []byte) { copy(v, d.take(uint64(len(v)))) }

// ok reports whether all was read, and nothing is left.
func (d *decoder) ok() bool { return !d.bad && len(d.b) == 0 }

func decodeTotals(b []byte) (t Totals, ok bool) {
	d := decoder{b: b}
	for _, f := range t.fields() {
		*f = d.uint()
	}
	return t, d.ok()
}

func decodeArray(b []byte) (a ArrayInfo, ok bool) {
	d := decoder{b: b}
	a.Tenant, a.Name = string(d.bytes()), string(d.bytes())
	a.Bytes = int64(d.uint())
	d.fixed(a.SHA256[:])
	a.CreatedAt = d.time()
	return a, d.ok() && a.Bytes >= 0
}

func decodeJob(b []byte) (view job.Job, spec []byte, ok bool) {
	d := decoder{b: b}
	view, err := job.Decode(d.bytes())
	spec = d.bytes()
	return view, spec, d.ok() && err == nil
}

func decodeKey(b []byte) (k job.KeyRecord, ok bool) {
	d := decoder{b: b}
	d.fixed(k.Hash[:])
	d.fixed(k.Fingerprint[:])
	k.Expires = d.time()
	n := d.uint()
	if n != uint64(len(d.b)/16) {
		return k, false
	}
	k.IDs = make([]job.ID, n)
	for i := range k.IDs {
		d.fixed(k.IDs[i][:])
	}
	return k, d.ok()
}

func decodeTombstone(b []byte) (t job.Tombstone, ok bool) {
	d := decoder{b: b}
	t.Tenant = string(d.bytes())
	d.fixed(t.ID[:])
	t.Expires = d.time()
	return t, d.ok()
}
