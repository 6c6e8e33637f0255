package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"gather/internal/job"
)

// # The format, version 2
//
// Integers in keys are big-endian; a tenant is a uvarint length and its bytes; an id is its 16 bytes. The first byte of
// a key is its space.
//
//	m "format"                             uvarint: the version of this format
//	m "clock"                              steps of the wall clock, and the time of a recent write; see clock.go
//	a tenant id                            an unfinished job: uvarint length and view of its first write, then
//	                                       a specPlace, and the spec if it is specInline
//	s id                                   a longer spec
//	j tenant id                            a finished job: its last view, and its spec as above. In version 1 only the view,
//	                                       whose first byte is less than any length of a view
//	l id seq                               a run of encoded events; seq is the seq of the last one. The first run begins
//	                                       with Submitted, and is written with the event that follows it
//	o id min max seq                       the index of items: a block of items with indexes from min to
//	                                       max (sign bit flipped) whose event ends at seq; the value is the seq of its run.
//	                                       Only for large jobs that did not end in their first write
//	d tenant id                            the tombstone of a job
//	i hash                                 an idempotency key: expiry in ms, fingerprint, ids of its jobs
//	x ms kind first                        records that expire at ms: kind is r (jobs), t (tombstones) or k (idempotency
//	                                       keys), first distinguishes lists of the same ms; the value lists tenants with
//	                                       ids, or hashes
//	r tenant id                            the bytes of results of a finished job: uvarint, and expiry in ms; see
//	                                       results.go. Earlier versions do not read or delete it
//	c tenant kind                          the number of finished jobs by state: three varints; see counts.go
//	f tenant label 0 value 0 id digest     a finished job with the label, or in a group: without a label, and the value is the seq
//	                                       in the space e; see index.go
//	g tenant group                         the finished jobs of a group: version, counts; see groups.go
//	e tenant group 0 seq                   the end of a job of a group: id
//	w tenant id                            the deliveries of a finished job; see deliveries.go. Earlier versions do not delete it
//	v receiver ms id hook                  a pending delivery, by the time of its next attempt: its tenant
//	n name                                 metadata of a replica; see follow.go
//	u name                                 a document: uvarint revision and value; see documents.go. Earlier versions ignore it
//
// The stored view of an unfinished job may be older than its log; Open applies the newer events to it. Therefore a step of a
// running job writes only its events, and a job that ends in the write that submits it never appears under a.
const (
	spaceActive     = 'a'
	spaceSpec       = 's'
	spaceEnded      = 'j'
	spaceLog        = 'l'
	spaceOrder      = 'o'
	spaceTombstone  = 'd'
	spaceKey        = 'i'
	spaceExpiry     = 'x'
	spaceMetadata   = 'n'
	spaceResults    = 'r'
	spaceCount      = 'c'
	spaceIndex      = 'f'
	spaceDeliveries = 'w'
	spaceDue        = 'v'
	spaceGroup      = 'g'
	spaceGroupEnd   = 'e'
	spaceDocument   = 'u'

	expiryJob       = 'r'
	expiryTombstone = 't'
	expiryKey       = 'k'
)

// maxInlineSpec is the longest spec that is stored beside the view.
const maxInlineSpec = 4 << 10

var formatKey = []byte("mformat")

// A keyHash identifies an idempotency key in the journal.
type keyHash [sha256.Size]byte

func hashKey(k job.Key) keyHash {
	b := make([]byte, 0, 128)
	for _, s := range [...]string{k.Tenant, k.Route, k.Value} {
		b = appendTenant(b, s)
	}
	return sha256.Sum256(b)
}

func appendTenant(dst []byte, tenant string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(tenant))), tenant...)
}

// appendJobKey appends a key of the spaces a, j and d.
func appendJobKey(dst []byte, space byte, tenant string, id job.ID) []byte {
	return append(appendTenant(append(dst, space), tenant), id[:]...)
}

// appendIDKey appends a key of the space s, or the prefix of a job's keys in the spaces l and o.
func appendIDKey(dst []byte, space byte, id job.ID) []byte {
	return append(append(dst, space), id[:]...)
}

func appendLogKey(dst []byte, id job.ID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendIDKey(dst, spaceLog, id), seq)
}

func appendOrderKey(dst []byte, id job.ID, lo, hi int64, seq uint64) []byte {
	dst = appendIDKey(dst, spaceOrder, id)
	for _, v := range [...]uint64{orderIndex(lo), orderIndex(hi), seq} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return dst
}

// appendSeq appends the value of the space o.
func appendSeq(dst []byte, seq uint64) []byte { return binary.BigEndian.AppendUint64(dst, seq) }

// orderIndex maps an index to an unsigned number with the same order.
func orderIndex(i int64) uint64 { return uint64(i) ^ 1<<63 }

func appendExpiryKey(dst []byte, ms int64, kind byte, first []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, spaceExpiry), uint64(max(ms, 0)))
	return append(append(dst, kind), first...)
}

func appendKeyKey(dst []byte, h keyHash) []byte { return append(append(dst, spaceKey), h[:]...) }

// keyAfter returns the first key after all keys that begin with prefix; nil if there is none.
func keyAfter(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != math.MaxUint8 {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

func corrupt(what string) error { return fmt.Errorf("%w: %s", job.ErrCorrupt, what) }

// takeTenant parses the tenant at the start of b, and returns the rest of b.
func takeTenant(b []byte) (tenant string, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return "", nil, corrupt("tenant")
	}
	return string(b[w : w+int(n)]), b[w+int(n):], nil
}

// parseJobKey is the inverse of appendJobKey.
func parseJobKey(key []byte) (tenant string, id job.ID, err error) {
	if len(key) < 1 {
		return "", id, corrupt("job key")
	}
	tenant, rest, err := takeTenant(key[1:])
	if err != nil || len(rest) != len(id) {
		return "", id, corrupt("job key")
	}
	return tenant, job.ID(rest), nil
}

// parseLogKey returns the seq in the key of a run.
func parseLogKey(key []byte) (seq uint64, err error) {
	if len(key) != 1+16+8 {
		return 0, corrupt("log key")
	}
	return binary.BigEndian.Uint64(key[17:]), nil
}

// An orderKey is a parsed key of the space o.
type orderKey struct {
	lo, hi int64
	seq    uint64
}

func parseOrderKey(key []byte) (o orderKey, err error) {
	if len(key) != 1+16+24 {
		return o, corrupt("order key")
	}
	o.lo = int64(binary.BigEndian.Uint64(key[17:]) ^ 1<<63)
	o.hi = int64(binary.BigEndian.Uint64(key[25:]) ^ 1<<63)
	o.seq = binary.BigEndian.Uint64(key[33:])
	if o.lo > o.hi {
		return o, corrupt("order key")
	}
	return o, nil
}

// A specPlace is where the spec of a job is.
type specPlace byte

const (
	// specApart: in the space s.
	specApart specPlace = iota
	// specInline: after this byte.
	specInline
	// specLarge: in the space s, and longer than job.MaxShownSpec. Version 1 has specApart instead.
	specLarge
	// specUnknown: the job ended under version 1, which deleted it.
	specUnknown
	specPlaces // the first invalid one
)

// placeOf returns where a spec is stored.
func placeOf(spec []byte) specPlace {
	switch {
	case len(spec) <= maxInlineSpec:
		return specInline
	case len(spec) <= job.MaxShownSpec:
		return specApart
	}
	return specLarge
}

// apart reports whether the spec is in the space s.
func (p specPlace) apart() bool { return p == specApart || p == specLarge }

// minViewBytes is less than the length of any encoded view, and more than its first byte, the format.
const minViewBytes = 32

// appendJob appends a value of the space a or j. The spec is only written if place is specInline.
func appendJob(dst []byte, scratch []byte, view *job.Job, spec []byte, place specPlace) (value, scratchOut []byte) {
	scratch = view.AppendBinary(scratch[:0])
	dst = append(binary.AppendUvarint(dst, uint64(len(scratch))), scratch...)
	if dst = append(dst, byte(place)); place == specInline {
		dst = append(dst, spec...)
	}
	return dst, scratch
}

// parseJob is the inverse of appendJob; spec aliases value.
func parseJob(value []byte) (view job.Job, spec []byte, place specPlace, err error) {
	n, w := binary.Uvarint(value)
	if w <= 0 || n >= uint64(len(value)-w) {
		return view, nil, 0, corrupt("job")
	}
	if view, err = job.Decode(value[w : w+int(n)]); err != nil {
		return view, nil, 0, err
	}
	rest := value[w+int(n):]
	if place = specPlace(rest[0]); place >= specPlaces || place != specInline && len(rest) > 1 {
		return view, nil, 0, corrupt("job")
	}
	return view, rest[1:], place, nil
}

// parseEnded parses a value of the space j of any version.
func parseEnded(value []byte) (view job.Job, spec []byte, place specPlace, err error) {
	if len(value) > 0 && value[0] < minViewBytes {
		view, err = job.Decode(value)
		return view, nil, specUnknown, err
	}
	return parseJob(value)
}

// A keyRecord is a value of the space i.
type keyRecord struct {
	expires     time.Time
	fingerprint [32]byte
	ids         []job.ID
}

func (r *keyRecord) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.expires.UnixMilli()))
	dst = append(dst, r.fingerprint[:]...)
	for _, id := range r.ids {
		dst = append(dst, id[:]...)
	}
	return dst
}

func parseKeyRecord(b []byte) (r keyRecord, err error) {
	if len(b) < 8+32 || (len(b)-40)%16 != 0 {
		return r, corrupt("idempotency key")
	}
	r.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	copy(r.fingerprint[:], b[8:])
	r.ids = make([]job.ID, 0, (len(b)-40)/16)
	for b = b[40:]; len(b) > 0; b = b[16:] {
		r.ids = append(r.ids, job.ID(b[:16]))
	}
	return r, nil
}
