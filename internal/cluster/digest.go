package cluster

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"

	"gather/internal/job"
)

// # Divergence
//
// All nodes that have applied the same messages must have the same state. Each node maintains a digest of its unfinished jobs, and
// every digestInterval messages records it together with a digest of what happened since: ends of jobs and rejections.
// Heartbeats carry the latest records, and every node compares the records of the others with its own. A difference is a bug, a
// replica that was changed on disk, or a version that decides otherwise. It is reported, and the leader then writes no snapshot
// and trims nothing to one, so that a wrong state does not spread.

// digestInterval is the number of messages between two records, keptDigests the number of records in a heartbeat.
const (
	digestInterval = 1024
	keptDigests    = 16
)

// A digestRecord is the digest of the state after a message.
type digestRecord struct {
	Seq, Sum uint64
}

// stateDigest is the digest of a state. Sums do not depend on the order of jobs. Guarded by state.mu.
type stateDigest struct {
	// jobs is the sum of the hashes of the unfinished jobs, events the sum of the hashes of ends and rejections since the last
	// record.
	jobs, events uint64
	// complete is true if events has everything since the last record. It is false after a start.
	complete bool
	recent   []digestRecord // oldest first
	buf      []byte
}

// update replaces the hash of a job. A job that has ended leaves the unfinished jobs.
func (d *stateDigest) update(s *jobState) {
	d.jobs -= s.hash
	s.hash = d.hashOf(s)
	if s.job.State.Terminal() {
		d.events += s.hash
		s.hash = 0
	}
	d.jobs += s.hash
}

// hashOf returns the hash of what all nodes must know of a job.
func (d *stateDigest) hashOf(s *jobState) uint64 {
	b := s.job.AppendBinary(d.buf[:0])
	for _, node := range slices.Sorted(maps.Keys(s.participants)) {
		b = append(append(b, node...), 0)
		if s.participants[node] {
			b[len(b)-1] = 1
		}
	}
	if s.ending != nil {
		b = append(b, byte(s.ending.State))
	}
	d.buf = b
	h := fnv.New64a()
	_, _ = h.Write(b)
	return mix(h.Sum64())
}

// reject adds the rejection of a proposal.
func (d *stateDigest) reject(at appliedIndex) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], at.seq)
	binary.BigEndian.PutUint64(b[8:], uint64(at.n))
	h := fnv.New64a()
	_, _ = h.Write(b[:])
	d.events += mix(h.Sum64())
}

// record records the digest after message seq. partial is true if the node lacked jobs since the last record.
func (d *stateDigest) record(seq uint64, partial bool) {
	if d.complete && !partial {
		d.recent = append(d.recent, digestRecord{Seq: seq, Sum: mix(d.jobs) ^ d.events})
		d.recent = d.recent[max(0, len(d.recent)-keptDigests):]
	}
	d.events, d.complete = 0, true
}

// recordDigest records the digest after a message of every digestInterval.
func (c *Cluster) recordDigest(seq uint64) {
	if seq%c.cfg.digestInterval != 0 {
		return
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.state.digest.record(seq, c.trimRecord != nil && seq < c.trimRecord.Through+c.cfg.digestInterval)
}

// digests returns the latest records.
func (c *Cluster) digests() []digestRecord {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return slices.Clone(c.state.digest.recent)
}

// differs reports whether two lists of records differ at the last message that is in both.
func differs(a, b []digestRecord) bool {
	for i, k := len(a)-1, len(b)-1; i >= 0 && k >= 0; {
		switch {
		case a[i].Seq > b[k].Seq:
			i--
		case a[i].Seq < b[k].Seq:
			k--
		default:
			return a[i].Sum != b[k].Sum
		}
	}
	return false
}

// checkDivergence compares the digests of the live nodes with the digests of this one.
func (c *Cluster) checkDivergence() {
	own := c.digests()
	var others []job.Node
	for _, n := range c.members.records() {
		if n.ID != c.id && differs(own, n.Digests) {
			others = append(others, n.Node)
		}
	}
	before := c.diverged.Swap(int64(len(others)))
	if len(others) > int(before) {
		for i := range others {
			c.log.Error("the state of a node differs from this node's after the same message: see the runbook GatherReplicasDiverge",
				"node", others[i].Name, "id", others[i].ID, "version", others[i].Version)
		}
	}
}
