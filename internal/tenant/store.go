package tenant

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A Principal is the authenticated sender of a request.
type Principal struct {
	Tenant   string
	ReadOnly bool
	// Operator principals can pause the jobs of all tenants.
	Operator bool
	// Revoked is closed when the key of the request becomes invalid; nil for a request without a key.
	Revoked <-chan struct{}
}

// A Store has the valid keys. The zero value has none, and rejects every request.
type Store struct{ state atomic.Pointer[state] }

type state struct {
	keys    map[string]entry
	tenants map[string]limits
}

type entry struct {
	sum       [sha256.Size]byte
	principal Principal
	revoked   chan struct{} // the principal's Revoked
}

// sameAccess reports whether requests with the key of e may continue with the key of o.
func (e *entry) sameAccess(o *entry) bool {
	return e.sum == o.sum && e.principal.Tenant == o.principal.Tenant && e.principal.ReadOnly == o.principal.ReadOnly &&
		e.principal.Operator == o.principal.Operator
}

type limits struct {
	rate           Rate
	limiter        *rate.Limiter // nil without a rate
	maxQueued      int
	maxResultBytes int64
}

// ErrNoKeys is returned for a key file without a key, which would lock out all clients.
var ErrNoKeys = errors.New("the file has no key; create one with 'gather keys create'")

// NewStore returns a store of keys from ReadFile. It returns ErrNoKeys for none.
func NewStore(keys []Key) (*Store, error) {
	s := new(Store)
	return s, s.Replace(keys)
}

// Replace replaces the keys, and closes the Revoked of keys that become invalid. After an error (ErrNoKeys for no keys)
// the old keys stay. Replace must not be called concurrently.
func (s *Store) Replace(keys []Key) error {
	if len(keys) == 0 {
		return ErrNoKeys
	}
	if err := check(keys); err != nil {
		return err
	}
	old := s.load()
	next := &state{keys: make(map[string]entry, len(keys)), tenants: make(map[string]limits)}
	for _, k := range keys {
		e := entry{principal: Principal{Tenant: k.Tenant, ReadOnly: k.ReadOnly, Operator: k.Operator}}
		if _, err := hex.Decode(e.sum[:], []byte(k.SHA256)); err != nil {
			return err
		}
		if before, ok := old.keys[k.ID]; ok && before.sameAccess(&e) {
			e = before
		} else {
			e.revoked = make(chan struct{})
			e.principal.Revoked = e.revoked
		}
		next.keys[k.ID] = e
		if _, known := next.tenants[k.Tenant]; known {
			continue
		}
		l := limits{maxQueued: k.MaxQueued, maxResultBytes: k.MaxResultBytes}
		if k.Rate != nil {
			l.rate = *k.Rate
			per := rate.Limit(float64(l.rate.Jobs) / time.Duration(l.rate.Window).Seconds())
			l.limiter = rate.NewLimiter(per, l.rate.Jobs)
			if before := old.tenants[k.Tenant]; before.limiter != nil && before.rate == l.rate {
				l.limiter = before.limiter
			}
		}
		next.tenants[k.Tenant] = l
	}
	s.state.Store(next)
	for id, e := range old.keys {
		if next.keys[id].revoked != e.revoked {
			close(e.revoked)
		}
	}
	return nil
}

var noKeys state

// load returns the current state.
func (s *Store) load() *state {
	if st := s.state.Load(); st != nil {
		return st
	}
	return &noKeys
}

// Authenticate returns the owner of a key; false for an invalid key.
func (s *Store) Authenticate(text string) (Principal, bool) {
	id, _ := cutID(text)
	e, known := s.load().keys[id]
	// Compute and compare the hash for an unknown id too.
	sum := sha256.Sum256([]byte(text))
	same := subtle.ConstantTimeCompare(sum[:], e.sum[:]) == 1
	if !known || !same {
		return Principal{}, false
	}
	return e.principal, true
}

// MaxQueued returns the bound of a tenant's unfinished jobs; 0 is no bound.
func (s *Store) MaxQueued(tenant string) int { return s.limits(tenant).maxQueued }

// MaxResultBytes returns the bound of the stored results of a tenant's jobs; 0 is no bound.
func (s *Store) MaxResultBytes(tenant string) int64 { return s.limits(tenant).maxResultBytes }

// An Allowance is the remaining part of a tenant's rate.
type Allowance struct {
	// Rate is the zero value for a tenant without one.
	Rate Rate
	// Left is the number of jobs that may be submitted now.
	Left int
	// Wait is the time until one more job, or the rejected ones, may be submitted.
	Wait time.Duration
}

// Take deducts n jobs from a tenant's rate; it deducts none and returns false if fewer are left.
func (s *Store) Take(tenant string, n int, now time.Time) (Allowance, bool) {
	l := s.limits(tenant)
	if l.limiter == nil {
		return Allowance{}, true
	}
	ok := l.limiter.AllowN(now, n)
	tokens := max(0, l.limiter.TokensAt(now))
	left := math.Floor(tokens)
	want := left + 1
	if !ok {
		want = float64(n)
	}
	a := Allowance{Rate: l.rate, Left: int(left)}
	if missing := min(want, float64(l.rate.Jobs)) - tokens; missing > 0 {
		a.Wait = time.Duration(missing / float64(l.limiter.Limit()) * float64(time.Second))
	}
	return a, ok
}

// Return adds jobs of a Take that were not accepted back to the rate.
func (s *Store) Return(tenant string, n int, now time.Time) {
	if l := s.limits(tenant); l.limiter != nil {
		l.limiter.AllowN(now, -n)
	}
}

func (s *Store) limits(tenant string) limits { return s.load().tenants[tenant] }
