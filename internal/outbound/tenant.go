package outbound

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

// Limits are the limits of a tenant on one server. The zero value has none.
type Limits struct {
	// Policy replaces the policy of the server; nil for that.
	Policy *Policy
	// InFlight bounds the requests in flight; 0 for no bound.
	InFlight int
	// Interval is the minimum time between two requests; 0 for none.
	Interval time.Duration
}

// A tenant counts the requests of one tenant. Its fields are guarded by Sender.mu.
type tenant struct {
	name     string
	inFlight int
	next     time.Time // the earliest time of the next request, with an Interval
	timer    *time.Timer
	waits    bool // the timer runs
}

// tenantOf returns the counts of a tenant. Caller holds s.mu.
func (s *Sender) tenantOf(name string) *tenant {
	t := s.tenants[name]
	if t == nil {
		t = &tenant{name: name}
		s.tenants[name] = t
	}
	return t
}

// allows reports whether a request of the tenant may be sent now. If its time has not come, a timer dispatches again. Caller
// holds s.mu.
func (t *tenant) allows(s *Sender) bool {
	l := s.cfg.Limits(t.name)
	if l.InFlight > 0 && t.inFlight >= l.InFlight {
		return false
	}
	if l.Interval == 0 {
		return true
	}
	wait := time.Until(t.next)
	if wait <= 0 {
		return true
	}
	if !t.waits {
		t.waits = true
		if t.timer == nil {
			t.timer = time.AfterFunc(wait, func() { s.tenantDue(t) })
		} else {
			t.timer.Reset(wait)
		}
	}
	return false
}

func (s *Sender) tenantDue(t *tenant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.waits = false
	s.dispatch()
}

// sent counts a request that is being sent. Caller holds s.mu.
func (t *tenant) sent(s *Sender, now time.Time) {
	t.inFlight++
	if l := s.cfg.Limits(t.name); l.Interval > 0 {
		t.next = later(now.Add(-catchUp), t.next).Add(l.Interval)
	}
}

var ratePattern = regexp.MustCompile(`^([1-9][0-9]{0,6})/(s|m|h)$`)

// ParseRate returns the time between two events of a rate such as "50/s".
func ParseRate(text string) (time.Duration, error) {
	m := ratePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New(`must be a rate such as "50/s", "300/m" or "1000/h"`)
	}
	n, _ := strconv.Atoi(m[1]) // matched
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[m[2]]
	return max(1, per/time.Duration(n)), nil
}
