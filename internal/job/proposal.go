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
	// At is the author's clock.
	At time.Time
	// What selects the other fields.
	What ProposalKind

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
	// First, Before, Through and Dropped belong to a trim: the first message of the log and the first one after the
	// trim, the position of the author, and the rejected submissions in between.
	First, Before, Through uint64
	Dropped                []Dropped
	// Parts and Total belong to a large trim.
	Parts, Total uint64
	// Log and Spec, with View, KeyRecord and Tombstone are imported records.
	View      Job
	Spec      []byte
	Log       []Event
	KeyRecord KeyRecord
	Tombstone Tombstone
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
	// ProposeLargeTrim is a trim with more Dropped than fit into one message: the others are in messages from Parts on, Total
	// in all.
	ProposeLargeTrim
)

// NoTask is the Task of a guard without one.
const NoTask = -2

// A Guard has the state of a task that an entry was proposed for.
type Guard struct {
	// Task is the task that the entry's Advanced events are of, Reduction for the end of a job whose tasks are all done, or
	// NoTask for no guard.
	Task int
	// Step is how many steps of the task came before.
	Step int
}

// Dropped is a batch of submissions that took no effect.
type Dropped struct {
	// Seq is the message of the log that it is in, Index its place among the proposals there.
	Seq   uint64
	Index int
}

// The versions of a proposal, its first byte. The second is written only for a failure or a record that the first nodes
// cannot read: such a node then stops participating, instead of rejecting a proposal that other nodes apply.
const (
	proposalVersion       = 1
	proposalVersionSecond = 2
)

// version returns the first version that reads the proposal.
func (p *Proposal) version() byte {
	newer := p.Finished.Failure.newer() || p.View.Failure.newer() || p.View.Delay != 0
	look := func(events []Event) {
		for _, ev := range events {
			switch ev := ev.(type) {
			case Submitted:
				newer = newer || ev.Job.Delay != 0
			case Finished:
				newer = newer || ev.Failure.newer()
			}
		}
	}
	for i := range p.Entries {
		look(p.Entries[i].Events)
	}
	look(p.Log)
	if newer {
		return proposalVersionSecond
	}
	return proposalVersion
}

// newer reports whether earlier versions cannot read the failure.
func (f *Failure) newer() bool { return f != nil && f.Reason > FailedSourceCorrupt }

// AppendBinary appends the encoded proposal.
func (p *Proposal) AppendBinary(dst []byte) []byte {
	dst = appendUint(append(dst, p.version(), byte(p.What)), p.Number)
	dst = appendTime(dst, p.At)
	switch p.What {
	case ProposeBatch:
		dst = p.appendBatch(dst)
	case ProposeJoin, ProposeLeave:
		dst = appendString(append(dst, p.ID[:]...), p.Node)
	case ProposeDecision:
		dst = AppendEvent(append(dst, p.ID[:]...), p.Finished)
	case ProposeDelete:
		dst = append(appendString(dst, p.Tenant), p.ID[:]...)
	case ProposeTrim, ProposeLargeTrim:
		if p.What == ProposeLargeTrim {
			dst = appendUint(appendUint(dst, p.Parts), p.Total)
		}
		for _, v := range [...]uint64{p.First, p.Before, p.Through, uint64(len(p.Dropped))} {
			dst = appendUint(dst, v)
		}
		for _, d := range p.Dropped {
			dst = appendUint(appendUint(dst, d.Seq), uint64(d.Index))
		}
	case ProposeJob:
		dst = appendBytes(appendBytes(dst, p.View.AppendBinary(nil)), p.Spec)
		for _, ev := range p.Log {
			dst = AppendEvent(dst, ev)
		}
	case ProposeKey:
		k := &p.KeyRecord
		dst = append(append(dst, k.Hash[:]...), k.Fingerprint[:]...)
		dst = appendIDs(appendTime(dst, k.Expires), k.IDs)
	case ProposeTombstone:
		t := &p.Tombstone
		dst = appendTime(append(appendString(dst, t.Tenant), t.ID[:]...), t.Expires)
	}
	return dst
}

func (p *Proposal) appendBatch(dst []byte) []byte {
	dst = appendKey(dst, p.Key)
	dst = appendBool(dst, p.Admission != nil)
	if a := p.Admission; a != nil {
		for _, v := range [...]int64{int64(a.Jobs), int64(a.TenantJobs), a.Bytes, a.Waiting, int64(len(a.Sizes))} {
			dst = appendInt(dst, v)
		}
		for _, s := range a.Sizes {
			dst = appendInt(appendInt(dst, s.Waiting), s.Memory)
		}
	}
	dst = appendUint(dst, uint64(len(p.Entries)))
	var run []byte
	for i := range p.Entries {
		e := &p.Entries[i]
		g := Guard{Task: NoTask}
		if i < len(p.Guards) {
			g = p.Guards[i]
		}
		dst = append(dst, e.ID[:]...)
		dst = appendInt(appendInt(dst, int64(g.Task)), int64(g.Step))
		run = run[:0]
		events := e.Events
		var submitted Submitted
		first := false
		if len(events) > 0 {
			submitted, first = events[0].(Submitted)
		}
		dst = appendBool(dst, first)
		if first {
			events = events[1:]
			dst = appendBytes(appendBytes(dst, submitted.Job.AppendBinary(nil)), submitted.Spec)
		}
		for _, ev := range events {
			run = AppendEvent(run, ev)
		}
		dst = appendBytes(dst, run)
	}
	return dst
}

// DecodeProposal reads an encoded proposal, which must be all of data. It may refer to data. The error is ErrVersion for
// one of another version, or with a record or an event of another version; with any other error the Number may be there.
func DecodeProposal(data []byte) (p Proposal, err error) {
	r := reader{b: data}
	if len(data) == 0 || data[0] != proposalVersion && data[0] != proposalVersionSecond {
		return p, fmt.Errorf("%w: proposal", ErrVersion)
	}
	r.b = r.b[1:]
	p.What = ProposalKind(r.uint())
	p.Number, p.At = r.uint(), r.time()
	switch p.What {
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
		if p.What == ProposeLargeTrim {
			p.Parts, p.Total = r.uint(), r.uint()
		}
		p.First, p.Before, p.Through = r.uint(), r.uint(), r.uint()
		n := r.count()
		if !r.enough(n) {
			break
		}
		for range n {
			p.Dropped = append(p.Dropped, Dropped{Seq: r.uint(), Index: r.count()})
		}
	case ProposeJob:
		p.View, err = Decode(r.bytes())
		r.failWith(err)
		p.Spec = r.bytes()
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
	default:
		return p, fmt.Errorf("%w: proposal of kind %d", ErrVersion, p.What)
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
