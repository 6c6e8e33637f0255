package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"gather/internal/job"
)

// smallRequest is the largest request that may use the reserve of a budget.
const smallRequest = 64 << 10

// A budget bounds the memory that requests of one type use together. Bytes are acquired as they arrive or are read, not
// when they are declared. An eighth of the budget is reserved for small requests, so that stalled large ones do not
// block them, and one tenant can use only a share. Only wait blocks; acquire fails when the budget is used up.
type budget struct {
	// limit bounds the bytes of all tenants, share the bytes of one. Requests beyond smallRequest leave reserve bytes
	// free.
	limit, share, reserve int64
	// full and spent are the errors at limit and at share.
	full, spent error

	mu      sync.Mutex
	used    int64
	tenants map[string]int64
	waiting []*waiter // in order of arrival; freed bytes go to the first that fits
}

// A waiter waits for n bytes of a budget.
type waiter struct {
	tenant  string
	n       int64
	granted chan struct{}
}

// newBudget returns a budget of limit bytes in which one request of up to largest bytes always fits while nothing else
// is reserved. Without API keys there is one tenant, and its share is the whole budget.
func newBudget(limit, largest int64, keys bool, reason, what string) *budget {
	b := &budget{
		limit: limit, share: limit, reserve: max(min(limit/8, limit-largest), 0), tenants: make(map[string]int64),
		full: &job.Rejection{
			Err: job.ErrQueueFull, Reason: reason, RetryAfter: time.Second, Detail: "the memory limit for " + what + " is reached",
		},
		spent: &job.Rejection{
			Err: job.ErrQuota, Reason: reason, RetryAfter: time.Second, Detail: "the tenant's share of the memory for " + what + " is in use",
		},
	}
	if keys {
		b.share = min(max(limit/2, largest+b.reserve), limit)
	}
	return b
}

// acquire reserves n more bytes for a request that already holds held bytes. Errors: *job.Rejection of
// job.ErrQueueFull, or of job.ErrQuota when only the tenant's share is used up.
func (b *budget) acquire(tenant string, held, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.take(tenant, held, n)
}

func (b *budget) take(tenant string, held, n int64) error {
	reserve := int64(0)
	if held+n > smallRequest {
		reserve = b.reserve
	}
	own := b.tenants[tenant]
	switch {
	case b.used+n > b.limit-reserve:
		return b.full
	case own+n > b.share-reserve:
		return b.spent
	}
	b.used += n
	b.tenants[tenant] = own + n
	return nil
}

// wait is acquire for a request that holds nothing yet. It blocks until the bytes are free; after timeout it returns
// the error of acquire, and the cause of ctx when ctx is done.
func (b *budget) wait(ctx context.Context, tenant string, n int64, timeout time.Duration) error {
	b.mu.Lock()
	err := b.take(tenant, 0, n)
	if err == nil {
		b.mu.Unlock()
		return nil
	}
	w := &waiter{tenant: tenant, n: n, granted: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-w.granted:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, w)
	if i < 0 { // granted concurrently
		return nil
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	return err
}

// adjust records that a request uses n bytes more, or less, than it acquired. It never fails, because the bytes are
// already in memory.
func (b *budget) adjust(tenant string, n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(tenant, n)
}

// release returns n bytes of a tenant to the budget.
func (b *budget) release(tenant string, n int64) { b.adjust(tenant, -n) }

func (b *budget) add(tenant string, n int64) {
	b.used += n
	if b.tenants[tenant] += n; b.tenants[tenant] == 0 {
		delete(b.tenants, tenant)
	}
	if n < 0 && len(b.waiting) > 0 {
		b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool {
			granted := b.take(w.tenant, 0, w.n) == nil
			if granted {
				close(w.granted)
			}
			return granted
		})
	}
}

// inUse returns the number of reserved bytes.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
