package cluster

import (
	"context"

	"gather/internal/job"
)

// takeImport applies what was exported from elsewhere.
func (c *Cluster) takeImport(_ context.Context, seq uint64, author string, p *job.Proposal) error {
	c.decided(author, p, decision{err: transition("imports are not read yet"), seq: seq})
	return nil
}
