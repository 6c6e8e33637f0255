package cluster

import (
	"context"
	"hash/fnv"
	"slices"
	"time"

	"gather/internal/job"
)

// # Deliveries to webhooks
//
// The deliveries of a job are records of every replica, and each attempt is a proposal. One node makes all attempts of a
// receiver: the live one with the highest hash of both. When it dies the others compute another one. While nodes disagree
// two may send the same delivery, but only one attempt is recorded.

// applyDelivery applies a change of a delivery.
func (c *Cluster) applyDelivery(ctx context.Context, next appliedIndex, author string, p *job.Proposal) error {
	return c.replica.ApplyDelivery(ctx, p.Tenant, p.ID, p.Change, func(_ job.Deliveries, err error) {
		c.reportOutcome(author, p, applyResult{err: err, seq: next.seq})
	}, next.metadata())
}

// Deliveries returns the deliveries of a finished job in the replica; see journal.Journal.
func (c *Cluster) Deliveries(ctx context.Context, tenant string, id job.ID) (job.Deliveries, error) {
	return c.replica.Deliveries(ctx, tenant, id)
}

// ChangeDelivery changes a delivery on all nodes, and returns the deliveries after the change. Errors: job.ErrNotFound,
// job.ErrTransition, job.ErrStorage.
func (c *Cluster) ChangeDelivery(ctx context.Context, tenant string, id job.ID, change job.DeliveryChange) (job.Deliveries, error) {
	p := &job.Proposal{Kind: job.ProposeDelivery, Tenant: tenant, ID: id, Change: change}
	if _, err := c.proposeAndWait(ctx, p); err != nil {
		return nil, err
	}
	return c.replica.Deliveries(ctx, tenant, id)
}

// DueDeliveries returns deliveries to a receiver; see journal.Journal.
func (c *Cluster) DueDeliveries(ctx context.Context, key uint64, limit int) ([]job.DeliveryRef, time.Duration, error) {
	return c.replica.DueDeliveries(ctx, key, limit)
}

// DeliveryReceivers returns the receivers that this node delivers to.
func (c *Cluster) DeliveryReceivers() []job.DeliveryReceiver {
	list := c.replica.DeliveryReceivers()
	if len(list) == 0 || c.checkHealthy() != nil {
		return nil
	}
	nodes := c.members.live()
	return slices.DeleteFunc(list, func(r job.DeliveryReceiver) bool { return owner(nodes, r.Key) != c.id })
}

// DeliveriesChanged signals changes of the pending deliveries; see journal.Journal.
func (c *Cluster) DeliveriesChanged() <-chan struct{} { return c.replica.DeliveriesChanged() }

// owner returns the node that delivers to a receiver: "" without a node.
func owner(nodes []job.Node, key uint64) (id string) {
	var most uint64
	for i := range nodes {
		if nodes[i].Draining {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(nodes[i].ID))
		if weight := mix(h.Sum64() ^ key); id == "" || weight > most {
			id, most = nodes[i].ID, weight
		}
	}
	return id
}

// mix spreads the bits of a hash (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
