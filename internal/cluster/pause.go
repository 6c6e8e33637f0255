package cluster

import (
	"time"

	"gather/internal/job"
)

// SetPauses replaces the pauses that this node has read. Tasks of a job that has not started, and that a pause holds, are neither
// queued nor leased: a node that receives the message of one drops it. After the pause the author of the job queues its first
// task again, or the leader does.
func (c *Cluster) SetPauses(p job.Pauses) {
	var subjects []string
	c.state.mu.Lock()
	c.state.pauses = p
	now := time.Now()
	for _, s := range c.state.jobs {
		if s.job.State != job.Queued || s.held == p.Holds(&s.job) {
			continue
		}
		c.state.countQueue(s, -1)
		s.held, s.movedAt = !s.held, now
		c.state.countQueue(s, +1)
		if !s.held && s.due && s.ending == nil && s.author == c.id {
			subjects = append(subjects, c.subjectOf(s, true, 0))
		}
	}
	c.state.signal()
	c.state.mu.Unlock()
	if len(subjects) == 0 || c.closed.Load() {
		return
	}
	minSeq := c.appliedSeq()
	for _, subject := range subjects {
		c.leases.enqueueTaskAsync(subject, minSeq)
	}
}

// isHeld reports whether a pause keeps a job from starting.
func (c *Cluster) isHeld(id job.ID) bool {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	s := c.state.jobs[id]
	return s != nil && s.held && s.job.State == job.Queued
}
