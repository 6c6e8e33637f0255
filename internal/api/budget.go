package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"gather/internal/job"
)

// smallRequest is the most bytes that a request may hold to use the reserve of a budget.
const smallRequest = 64 << 10

// A budget bounds the bytes that requests of one sort hold together. Bytes are acquired as they arrive or are read, not
// as they are announced. An eighth of the budget is reserved for small requests, so that large ones that stall do not
// shut them out, and no tenant gets all of it. A request without room is refused; only wait waits for it.
type budget struct {
	// limit bounds the bytes of all tenants, share the bytes of one; a request beyond smallRequest gets reserve less.
	limit, share, reserve int64
	// full and spent are the refusals at limit and at share.
	full, spent error

	mu      sync.Mutex
	used    int64
	tenants map[string]int64
	waiting []*waiter // in order of arrival; room goes to the first that fits
}

// A waiter waits for n bytes of a budget.
type waiter struct {
	tenant  string
	n       int64
	granted chan struct{}
}

// newBudget returns a budget of limit bytes in which one request of at most largest bytes always fits when nothing else
// is held. Without API keys there is one tenant, and its share is the whole budget.
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

// acquire takes n more bytes for a request of a tenant that holds held. Errors: *job.Rejection of job.ErrQueueFull, and of
// job.ErrQuota when only the tenant's share is in use.
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

// wait is acquire for a request that holds nothing yet. It waits for room until timeout has passed, and then returns the
// error of acquire, or the cause of ctx.
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
	if i < 0 { // granted in this moment
		return nil
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	return err
}

// adjust records that a request holds n bytes more, or less, than it acquired. It never refuses: they are in memory.
func (b *budget) adjust(tenant string, n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(tenant, n)
}

// release gives n bytes of a tenant back.
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

// inUse returns the bytes that are held.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
