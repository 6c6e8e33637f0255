package cluster

import (
	"fmt"
	"sync"
	"time"

	"gather/internal/job"
)

// usedKeys holds the idempotency keys that the apply loop has accepted and that are not in the replica yet.
type usedKeys struct {
	mu sync.Mutex
	m  map[string]*job.Proposal
}

func (u *usedKeys) init() { u.m = make(map[string]*job.Proposal) }

func keyName(k *job.Key) string { return fmt.Sprintf("%q %q %q", k.Tenant, k.Route, k.Value) }

func (u *usedKeys) add(p *job.Proposal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m[keyName(p.Key)] = p
}

func (u *usedKeys) remove(p *job.Proposal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if name := keyName(p.Key); u.m[name] == p {
		delete(u.m, name)
	}
}

func (u *usedKeys) get(k *job.Key, at time.Time) (ids []job.ID, fingerprint [32]byte, found bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.m[keyName(k)]
	if p == nil || !at.Before(p.Key.Expires) {
		return nil, fingerprint, false
	}
	for i := range p.Entries {
		ids = append(ids, p.Entries[i].ID)
	}
	return ids, p.Key.Fingerprint, true
}
