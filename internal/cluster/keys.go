package cluster

import (
	"sync"
	"time"

	"gather/internal/job"
)

// usedKeys holds the idempotency keys that the apply loop has accepted and that are not in the replica yet.
type usedKeys struct{ m sync.Map } // *job.Proposal by keyName

type keyName struct{ tenant, route, value string }

func nameOf(k *job.Key) keyName { return keyName{k.Tenant, k.Route, k.Value} }

func (u *usedKeys) add(p *job.Proposal) { u.m.Store(nameOf(p.Key), p) }

func (u *usedKeys) remove(p *job.Proposal) { u.m.CompareAndDelete(nameOf(p.Key), p) }

func (u *usedKeys) get(k *job.Key, at time.Time) (ids []job.ID, fingerprint [32]byte, found bool) {
	v, _ := u.m.Load(nameOf(k))
	p, _ := v.(*job.Proposal)
	if p == nil || !at.Before(p.Key.Expires) {
		return nil, fingerprint, false
	}
	for i := range p.Entries {
		ids = append(ids, p.Entries[i].ID)
	}
	return ids, p.Key.Fingerprint, true
}
