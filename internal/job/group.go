package job

import (
	"crypto/sha256"
	"time"
)

// A Group is the state of all jobs with the same Job.Group, as long as one of them is kept.
type Group struct {
	Name string
	// Jobs are the numbers of jobs by state.
	Jobs Counts
	// Progress is the sum over the jobs.
	Progress Progress
	// CreatedAt is the time of the first submission.
	CreatedAt time.Time
	// FinishedAt is the time of the last end; the zero time if no job has ended.
	FinishedAt time.Time
	// Seq is the number of the last end; 0 if no job has ended.
	Seq uint64
}

// Unfinished returns the number of jobs that have not ended.
func (g *Group) Unfinished() int64 { return g.Jobs[Queued] + g.Jobs[Running] + g.Jobs[Cancelling] }

// A GroupEnd is the end of a job of a group. Its Seq is higher than the Seq of every earlier end of the group, and is the same
// on all nodes of a cluster.
type GroupEnd struct {
	Seq uint64
	ID  ID
}

// GroupID returns the identifier under which changes of a group are watched, as those of a job are under its ID.
func GroupID(tenant, name string) ID {
	sum := sha256.Sum256(append(append([]byte(tenant), 0), name...))
	return ID(sum[:len(ID{})])
}

// Add adds the counts of another job or group.
func (p *Progress) Add(o Progress) {
	p.Total, p.Completed, p.Failed = p.Total+o.Total, p.Completed+o.Completed, p.Failed+o.Failed
	p.Bytes, p.BytesTotal = p.Bytes+o.Bytes, p.BytesTotal+o.BytesTotal
}

// Sub subtracts the counts of a job or group.
func (p *Progress) Sub(o Progress) {
	p.Add(Progress{-o.Total, -o.Completed, -o.Failed, -o.Bytes, -o.BytesTotal})
}
