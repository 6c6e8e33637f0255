package cluster

import (
	"encoding/json"
	"fmt"
	"time"

	"gather/internal/job"
)

// jobMetadata is the part of a jobState that is stored in the replica and is not in the job's log.
type jobMetadata struct {
	Author  string          `json:"a,omitempty"`
	Memory  int64           `json:"m,omitempty"`
	Waiting int64           `json:"w,omitempty"`
	Parts   map[string]bool `json:"p,omitempty"`
	Ending  []byte          `json:"e,omitempty"`
	Seq     uint64          `json:"s,omitempty"`
}

func (s *jobState) appendMetadata(dst []byte) []byte {
	n := jobMetadata{Author: s.author, Memory: s.size.Memory, Waiting: s.size.Waiting, Parts: s.participants, Seq: s.seq}
	if s.ending != nil {
		n.Ending = job.AppendEvent(nil, *s.ending)
	}
	b, err := json.Marshal(n)
	if err != nil {
		panic(err) // not possible for strings and numbers
	}
	return append(dst, b...)
}

func (s *jobState) readMetadata(b []byte, now time.Time) error {
	if b == nil {
		return nil
	}
	var n jobMetadata
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	s.author, s.participants, s.seq = n.Author, n.Parts, n.Seq
	s.size = job.Size{Memory: n.Memory, Waiting: n.Waiting}
	for _, on := range n.Parts {
		if on {
			s.active++
		}
	}
	if n.Ending != nil {
		events, err := job.DecodeEvents(n.Ending)
		if err != nil {
			return fmt.Errorf("metadata of a job: %w", err)
		}
		if len(events) != 1 {
			return fmt.Errorf("%w: metadata of a job", job.ErrCorrupt)
		}
		if f, ok := events[0].(job.Finished); ok {
			s.ending, s.decidedAt = &f, now
		}
	}
	return nil
}
