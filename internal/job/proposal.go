package job

import (
	"fmt"
	"time"
)

// A Proposal is a message of a node to the log that all nodes apply. Only its place in that log decides whether it takes
// effect: every node applies the same rules in the same order, and reaches the same state.
type Proposal struct {
	// Number identifies a proposal among those of its author.
	Number uint64
	// At is the time of the author.
	At time.Time
	// Kind selects the other fields.
	Kind ProposalKind

	// Entries, Key and Admission belong to a Batch. Guards has one for each entry, or is nil.
	Entries   []Entry
	Guards    []Guard
	Key       *Key
	Admission *Admission

	// Tenant, ID and Node are the subject of the other proposals.
	Tenant string
	ID     ID
	Node   string
	// Finished is the decided end of a job.
	Finished Finished
	// Change is an attempt of a delivery of job ID, or a request for one.
	Change DeliveryChange
	// First, Before, Through and Rejected belong to a trim: the first message of the log and the first one after the
	// trim, the position of the author, and, except in a snapshot trim, the rejected submissions in between.
	First, Before, Through uint64
	Rejected               []Rejected
	// Parts and Total belong to a large trim.
	Parts, Total uint64
	// Log and Spec, with View, KeyRecord and Tombstone are imported records.
	View      Job
	Spec      []byte
	Log       []Event
	KeyRecord KeyRecord
	Tombstone Tombstone
	// Deliveries are imported with a finished job that has webhooks.
	Deliveries Deliveries
}

// ProposalKind is the closed set of proposals.
type ProposalKind uint8

// The kinds of proposals.
const (
	// ProposeBatch appends events, all or none.
	ProposeBatch ProposalKind = iota + 1
	// ProposeJoin: Node runs tasks of job ID. ProposeLeave: it no longer does.
	ProposeJoin
	ProposeLeave
	// ProposeDecision decides how job ID ends, once no node runs tasks of it.
	ProposeDecision
	// ProposeDelete removes a job that has ended.
	ProposeDelete
	// ProposeTrim: the log loses everything before a sequence number. It has the submissions in the rest of the log that
	// were rejected, which a node that reads only the rest cannot decide.
	ProposeTrim
	// ProposeJob, ProposeKey and ProposeTombstone import records from another journal: a job with its whole log, a used
	// idempotency key, a tombstone.
	ProposeJob
	ProposeKey
	ProposeTombstone
	// ProposeLargeTrim is a trim with more Rejected than fit into one message: the others are in messages from Parts on, Total
	// in all.
	ProposeLargeTrim
	// ProposeDelivery changes a delivery of a finished job.
	ProposeDelivery
	// ProposeSnapshotTrim is a trim after which a node that has not applied everything before it needs a snapshot.
	ProposeSnapshotTrim
	proposalKinds // the first unknown one
)

// NoTask is the Task of a guard without one.
const NoTask = -2

// A Guard has the state of a task that an entry was proposed for.
type Guard struct {
	// Task is the task that the entry's TaskProgress events are of, Reduction for the end of a job whose tasks are all done, or
	// NoTask for no guard.
	Task int
	// Step is how many steps of the task came before.
	Step int
}

// Rejected is a batch of submissions that took no effect.
type Rejected struct {
	// Seq is the message of the log that it is in, Index its place among the proposals there.
	Seq   uint64
	Index int
}

// AppendBinary appends the encoded proposal.
func (p *Proposal) AppendBinary(dst []byte) []byte {
	e := encoder{b: append(dst, 0, byte(p.Kind)), format: p.Kind.Format()}
	e.b = appendTime(appendUint(e.b, p.Number), p.At)
	switch p.Kind {
	case ProposeBatch:
		e.batch(p)
	case ProposeJoin, ProposeLeave:
		e.b = appendString(append(e.b, p.ID[:]...), p.Node)
	case ProposeDecision:
		e.b = append(e.b, p.ID[:]...)
		e.event(p.Finished)
	case ProposeDelete:
		e.b = append(appendString(e.b, p.Tenant), p.ID[:]...)
	case ProposeTrim, ProposeLargeTrim:
		if p.Kind == ProposeLargeTrim {
			e.b = appendUint(appendUint(e.b, p.Parts), p.Total)
		}
		for _, v := range [...]uint64{p.First, p.Before, p.Through, uint64(len(p.Rejected))} {
			e.b = appendUint(e.b, v)
		}
		for _, d := range p.Rejected {
			e.b = appendUint(appendUint(e.b, d.Seq), uint64(d.Index))
		}
	case ProposeSnapshotTrim:
		e.b = appendUint(appendUint(appendUint(e.b, p.First), p.Before), p.Through)
	case ProposeJob:
		e.nested(func(part *encoder) { part.job(&p.View) })
		e.b = appendBytes(e.b, p.Spec)
		if len(p.View.Webhooks) > 0 {
			e.b = appendBytes(e.b, p.Deliveries.AppendBinary(nil))
		}
		for _, ev := range p.Log {
			e.event(ev)
		}
	case ProposeKey:
		k := &p.KeyRecord
		e.b = append(append(e.b, k.Hash[:]...), k.Fingerprint[:]...)
		e.b = appendIDs(appendTime(e.b, k.Expires), k.IDs)
	case ProposeTombstone:
		t := &p.Tombstone
		e.b = appendTime(append(appendString(e.b, t.Tenant), t.ID[:]...), t.Expires)
	case ProposeDelivery:
		e.b = append(appendString(e.b, p.Tenant), p.ID[:]...)
		e.change(&p.Change)
	}
	e.b[len(dst)] = byte(e.format)
	return e.b
}

// nested appends a part with its length before it.
func (e *encoder) nested(encode func(part *encoder)) {
	part := encoder{}
	encode(&part)
	e.b = appendBytes(e.b, part.b)
	e.needs(part.format)
}

func (e *encoder) batch(p *Proposal) {
	e.b = appendKey(e.b, p.Key)
	e.b = appendBool(e.b, p.Admission != nil)
	if a := p.Admission; a != nil {
		for _, v := range [...]int64{int64(a.Jobs), int64(a.TenantJobs), a.Bytes, a.Waiting, int64(len(a.Sizes))} {
			e.b = appendInt(e.b, v)
		}
		for _, s := range a.Sizes {
			e.b = appendInt(appendInt(e.b, s.Waiting), s.Memory)
		}
	}
	e.b = appendUint(e.b, uint64(len(p.Entries)))
	for i := range p.Entries {
		entry := &p.Entries[i]
		g := Guard{Task: NoTask}
		if i < len(p.Guards) {
			g = p.Guards[i]
		}
		e.b = append(e.b, entry.ID[:]...)
		e.b = appendInt(appendInt(e.b, int64(g.Task)), int64(g.Step))
		events := entry.Events
		var submitted Submitted
		first := false
		if len(events) > 0 {
			submitted, first = events[0].(Submitted)
		}
		e.b = appendBool(e.b, first)
		if first {
			events = events[1:]
			e.nested(func(part *encoder) { part.job(&submitted.Job) })
			e.b = appendBytes(e.b, submitted.Spec)
		}
		e.nested(func(part *encoder) {
			for _, ev := range events {
				part.event(ev)
			}
		})
	}
}

// DecodeProposal reads an encoded proposal, which must be all of data. It may refer to data. The error is ErrVersion for
// one of another version, or with a record or an event of another version; with any other error the Number may be there.
func DecodeProposal(data []byte) (p Proposal, err error) {
	r := reader{b: data}
	if len(data) == 0 || data[0] == 0 || Format(data[0]) >= formats {
		return p, fmt.Errorf("%w: proposal", ErrVersion)
	}
	r.b = r.b[1:]
	p.Kind = ProposalKind(r.uint())
	p.Number, p.At = r.uint(), r.time()
	switch p.Kind {
	case ProposeBatch:
		r.batch(&p)
	case ProposeJoin, ProposeLeave:
		p.ID, p.Node = r.id(), r.string()
	case ProposeDecision:
		p.ID = r.id()
		events, err := DecodeEvents(r.b)
		r.failWith(err)
		if len(events) != 1 {
			r.fail("decision")
			break
		}
		var ok bool
		if p.Finished, ok = events[0].(Finished); !ok {
			r.fail("decision")
		}
		r.b = nil
	case ProposeDelete:
		p.Tenant, p.ID = r.string(), r.id()
	case ProposeTrim, ProposeLargeTrim:
		if p.Kind == ProposeLargeTrim {
			p.Parts, p.Total = r.uint(), r.uint()
		}
		p.First, p.Before, p.Through = r.uint(), r.uint(), r.uint()
		n := r.count()
		if !r.enough(n) {
			break
		}
		for range n {
			p.Rejected = append(p.Rejected, Rejected{Seq: r.uint(), Index: r.count()})
		}
	case ProposeSnapshotTrim:
		p.First, p.Before, p.Through = r.uint(), r.uint(), r.uint()
	case ProposeJob:
		p.View, err = Decode(r.bytes())
		r.failWith(err)
		p.Spec = r.bytes()
		if len(p.View.Webhooks) > 0 {
			p.Deliveries, err = DecodeDeliveries(r.bytes())
			r.failWith(err)
		}
		p.Log, err = DecodeEvents(r.b)
		r.failWith(err)
		r.b = nil
	case ProposeKey:
		k := &p.KeyRecord
		r.array(k.Hash[:])
		r.array(k.Fingerprint[:])
		k.Expires, k.IDs = r.time(), r.ids()
	case ProposeTombstone:
		p.Tombstone = Tombstone{Tenant: r.string(), ID: r.id(), Expires: r.time()}
	case ProposeDelivery:
		p.Tenant, p.ID, p.Change = r.string(), r.id(), r.change()
	default:
		return p, fmt.Errorf("%w: proposal of kind %d", ErrVersion, p.Kind)
	}
	return p, r.end("proposal")
}

func (r *reader) batch(p *Proposal) {
	p.Key = r.key()
	if r.bool() {
		a := &Admission{Jobs: int(r.int()), TenantJobs: int(r.int()), Bytes: r.int(), Waiting: r.int()}
		n := r.int()
		if n < 0 || !r.enough(int(n)) {
			r.fail("sizes")
			return
		}
		for range n {
			a.Sizes = append(a.Sizes, Size{Waiting: r.int(), Memory: r.int()})
		}
		p.Admission = a
	}
	n := r.count()
	if !r.enough(n) {
		return
	}
	p.Entries, p.Guards = make([]Entry, 0, n), make([]Guard, 0, n)
	for range n {
		e := Entry{ID: r.id()}
		g := Guard{Task: int(r.int()), Step: int(r.int())}
		if r.bool() {
			view, err := Decode(r.bytes())
			r.failWith(err)
			e.Events = append(e.Events, Submitted{Job: view, Spec: r.bytes()})
		}
		events, err := DecodeEvents(r.bytes())
		r.failWith(err)
		if r.err != nil {
			return
		}
		e.Events = append(e.Events, events...)
		p.Entries, p.Guards = append(p.Entries, e), append(p.Guards, g)
	}
}

// array fills dst.
func (r *reader) array(dst []byte) {
	if len(r.b) < len(dst) {
		r.fail("truncated")
		return
	}
	r.b = r.b[copy(dst, r.b):]
}

func (r *reader) id() (id ID) {
	r.array(id[:])
	return id
}

func appendIDs(dst []byte, ids []ID) []byte {
	dst = appendUint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = append(dst, id[:]...)
	}
	return dst
}

func (r *reader) ids() (ids []ID) {
	n := r.count()
	if !r.enough(n) {
		return nil
	}
	for range n {
		ids = append(ids, r.id())
	}
	return ids
}

func appendKey(dst []byte, k *Key) []byte {
	if k == nil {
		return append(dst, 0)
	}
	dst = appendString(appendString(appendString(append(dst, 1), k.Tenant), k.Route), k.Value)
	return appendTime(append(dst, k.Fingerprint[:]...), k.Expires)
}

func (r *reader) key() *Key {
	if !r.bool() {
		return nil
	}
	k := &Key{Tenant: r.string(), Route: r.string(), Value: r.string()}
	r.array(k.Fingerprint[:])
	k.Expires = r.time()
	return k
}
