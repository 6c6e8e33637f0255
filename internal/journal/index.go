package journal

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"gather/internal/job"
)

// # Index for lists
//
// Lists with filters read few of the kept jobs. The space f has each finished job once for itself, under an empty label, and once
// for each of its labels, and once for its group. A key ends with a digest of what lists filter by. When Pebble builds a table, it stores the union of
// the digests in each block with the block, and the iterator of a list skips the blocks whose union cannot match.

// A digest is what the index has of a job. Times are in seconds since 1970.
type digest struct {
	state             job.State
	kind              byte // a hash
	created, finished uint32
}

const digestBytes = 1 + 1 + 4 + 4

func seconds(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

// hashKind returns a hash of a kind below 64.
func hashKind(kind string) byte {
	h := fnv.New64a()
	_, _ = h.Write([]byte(kind))
	return byte(h.Sum64() % 64)
}

func digestOf(view *job.Job) digest {
	return digest{view.State, hashKind(view.Kind), seconds(view.CreatedAt), seconds(view.FinishedAt)}
}

func (d *digest) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, byte(d.state), d.kind), d.created)
	return binary.BigEndian.AppendUint32(dst, d.finished)
}

// appendIndexPrefix appends the prefix of the keys of a label. Neither keys nor values of labels have control characters.
func appendIndexPrefix(dst []byte, tenant, key, value string) []byte {
	dst = append(append(appendTenant(append(dst, spaceIndex), tenant), key...), 0)
	return append(append(dst, value...), 0)
}

// parseIndexKey returns the job of a key of the space f, and its digest.
func parseIndexKey(key []byte) (id job.ID, d digest, err error) {
	if len(key) < 1+1+2+len(id)+digestBytes {
		return id, d, corrupt("index key")
	}
	rest := key[len(key)-len(id)-digestBytes:]
	id, rest = job.ID(rest[:len(id)]), rest[len(id):]
	d = digest{job.State(rest[0]), rest[1], binary.BigEndian.Uint32(rest[2:]), binary.BigEndian.Uint32(rest[6:])}
	if !d.state.Terminal() || d.state > job.Cancelled || d.kind >= 64 {
		return id, d, corrupt("index key")
	}
	return id, d, nil
}

// visitIndex visits the index keys of a finished job. A key is valid until visit returns.
func visitIndex(scratch []byte, view *job.Job, visit func(key []byte)) []byte {
	d := digestOf(view)
	add := func(key, value string) {
		scratch = d.append(append(appendIndexPrefix(scratch[:0], view.Tenant, key, value), view.ID[:]...))
		visit(scratch)
	}
	add("", "")
	for key, value := range view.Labels {
		add(key, value)
	}
	return scratch
}

// index adds a job that has ended to the index.
func (b *builder) index(w *write, view *job.Job) {
	b.key = visitIndex(b.key, view, func(key []byte) { b.set(w, key, nil) })
}

// A blockUnion is the union of the digests in a block.
type blockUnion struct {
	states                             byte   // a bit for each state
	kinds                              uint64 // a bit for each hash
	createdFrom, createdTo, finishedTo uint32
}

func (d *digest) union() blockUnion {
	return blockUnion{1 << d.state, 1 << d.kind, d.created, d.created, d.finished}
}

func (u *blockUnion) empty() bool { return u.states == 0 }

func (u *blockUnion) add(o blockUnion) {
	switch {
	case o.empty():
	case u.empty():
		*u = o
	default:
		u.states, u.kinds = u.states|o.states, u.kinds|o.kinds
		u.createdFrom, u.createdTo = min(u.createdFrom, o.createdFrom), max(u.createdTo, o.createdTo)
		u.finishedTo = max(u.finishedTo, o.finishedTo)
	}
}

const unionBytes = 1 + 8 + 3*4

// append encodes a union; an empty one is nothing.
func (u *blockUnion) append(dst []byte) []byte {
	if u.empty() {
		return dst
	}
	dst = binary.BigEndian.AppendUint64(append(dst, u.states), u.kinds)
	for _, v := range [...]uint32{u.createdFrom, u.createdTo, u.finishedTo} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return dst
}

// parseUnion is the inverse of append. A block without a union, which has no key of the index, can have anything.
func parseUnion(b []byte) blockUnion {
	if len(b) != unionBytes || b[0] == 0 {
		return blockUnion{states: math.MaxUint8, kinds: math.MaxUint64, createdTo: math.MaxUint32, finishedTo: math.MaxUint32}
	}
	u := blockUnion{states: b[0], kinds: binary.BigEndian.Uint64(b[1:])}
	u.createdFrom, u.createdTo = binary.BigEndian.Uint32(b[9:]), binary.BigEndian.Uint32(b[13:])
	u.finishedTo = binary.BigEndian.Uint32(b[17:])
	return u
}

// unionName is the name of the unions in tables. It changes when their encoding does.
const unionName = "gather.index.1"

// A unionCollector builds the unions of a table. It implements pebble.BlockPropertyCollector.
type unionCollector struct{ block, index, table blockUnion }

func newUnionCollector() pebble.BlockPropertyCollector { return new(unionCollector) }

// Name implements pebble.BlockPropertyCollector, as do the methods below.
func (*unionCollector) Name() string { return unionName }

// AddPointKey adds a key to the block. Its union depends on the key alone, so a deletion is skipped only where the deleted key is.
func (c *unionCollector) AddPointKey(key pebble.InternalKey, _ []byte) error {
	if len(key.UserKey) > 0 && key.UserKey[0] == spaceIndex {
		if _, d, err := parseIndexKey(key.UserKey); err == nil {
			c.block.add(d.union())
		}
	}
	return nil
}

// AddRangeKeys does nothing: there are no range keys.
func (*unionCollector) AddRangeKeys(sstable.Span) error { return nil }

// AddCollectedWithSuffixReplacement is not supported: keys have no suffixes.
func (*unionCollector) AddCollectedWithSuffixReplacement(_, _, _ []byte) error {
	return corrupt("suffix of a key")
}

// SupportsSuffixReplacement implements pebble.BlockPropertyCollector, as do the methods below.
func (*unionCollector) SupportsSuffixReplacement() bool { return false }

// FinishDataBlock returns the union of the block.
func (c *unionCollector) FinishDataBlock(buf []byte) ([]byte, error) { return c.block.append(buf), nil }

// AddPrevDataBlockToIndexBlock adds the union of the last data block to the index block.
func (c *unionCollector) AddPrevDataBlockToIndexBlock() {
	c.index.add(c.block)
	c.block = blockUnion{}
}

// FinishIndexBlock returns the union of the index block.
func (c *unionCollector) FinishIndexBlock(buf []byte) ([]byte, error) {
	c.table.add(c.index)
	b := c.index.append(buf)
	c.index = blockUnion{}
	return b, nil
}

// FinishTable returns the union of the table.
func (c *unionCollector) FinishTable(buf []byte) ([]byte, error) { return c.table.append(buf), nil }

// An indexFilter selects the digests of the jobs that can match a query. As a pebble.BlockPropertyFilter it skips the blocks that
// have none.
type indexFilter struct {
	states                               byte
	kinds                                uint64
	createdFrom, createdTo, finishedFrom uint32
}

// newIndexFilter returns the filter of a query; false if the query selects by labels only, or not at all.
func newIndexFilter(q *job.Query) (indexFilter, bool) {
	f := indexFilter{createdTo: math.MaxUint32, createdFrom: seconds(q.CreatedAfter), finishedFrom: seconds(q.FinishedAfter)}
	for _, s := range q.States {
		f.states |= 1 << s
	}
	for _, k := range q.Kinds {
		f.kinds |= 1 << hashKind(k)
	}
	if !q.CreatedBefore.IsZero() {
		f.createdTo = seconds(q.CreatedBefore)
	}
	return f, f != (indexFilter{createdTo: math.MaxUint32})
}

func (f indexFilter) matches(u blockUnion) bool {
	return (f.states == 0 || u.states&f.states != 0) && (f.kinds == 0 || u.kinds&f.kinds != 0) &&
		u.createdTo >= f.createdFrom && u.createdFrom <= f.createdTo && u.finishedTo >= f.finishedFrom
}

// Name implements pebble.BlockPropertyFilter, as do the methods below.
func (indexFilter) Name() string { return unionName }

// Intersects reports whether a block with a union can have jobs of the query.
func (f indexFilter) Intersects(prop []byte) (bool, error) { return f.matches(parseUnion(prop)), nil }

// SyntheticSuffixIntersects is not used: keys have no suffixes.
func (f indexFilter) SyntheticSuffixIntersects(prop, _ []byte) (bool, error) {
	return f.Intersects(prop)
}
