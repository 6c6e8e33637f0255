package outbound_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/outbound"
)

// The bounds of a tenant hold for all of its jobs together, and delay no other tenant.
func TestTenantBounds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits outbound.Limits
		most   int
		took   time.Duration // of 100 requests of a second
	}{
		{"in flight", outbound.Limits{InFlight: 4}, 4, 25 * time.Second},
		{"rate", outbound.Limits{Interval: 100 * time.Millisecond}, 11, 10900 * time.Millisecond},
		{"both", outbound.Limits{InFlight: 2, Interval: 100 * time.Millisecond}, 2, 50 * time.Second},
		{"none", outbound.Limits{}, 100, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{takes: time.Second}
				s := sender(t, w, func(c *outbound.Config) {
					c.Limits = func(tenant string) outbound.Limits {
						if tenant == "a" {
							return tt.limits
						}
						return outbound.Limits{}
					}
				})
				before := time.Now()
				var bounded []*outbound.Batch
				for i := range 4 {
					o := options(repeat("http://a.example/", 25))
					o.Job, o.Tenant = [16]byte{byte(i)}, "a"
					bounded = append(bounded, s.Start(t.Context(), o))
				}
				o := options(repeat("http://b.example/", 100))
				o.Job, o.Tenant = [16]byte{9}, "b"
				if got, _ := collect(t, s.Start(t.Context(), o)); len(got) != 100 || time.Since(before) > 1100*time.Millisecond {
					t.Errorf("another tenant has %d outcomes after %s, want 100 after a second", len(got), time.Since(before))
				}
				n := 0
				for _, b := range bounded {
					got, _ := collect(t, b)
					n += len(got)
				}
				if d := time.Since(before); n != 100 || (d-tt.took).Abs() > 150*time.Millisecond {
					t.Errorf("%d outcomes after %s, want 100 after %s", n, d, tt.took)
				}
				if got := w.most["a.example"]; got > tt.most || got < tt.most-1 {
					t.Errorf("%d requests were in flight, want %d", got, tt.most)
				}
			})
		})
	}
}

// A tenant's own list replaces the server's, also for batches that have begun.
func TestTenantPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := policy(t, "own.example")
		var removed atomic.Bool
		s := sender(t, &world{takes: time.Second}, func(c *outbound.Config) {
			c.Policy = policy(t, "server.example")
			c.Limits = func(tenant string) outbound.Limits {
				if tenant != "a" || removed.Load() {
					return outbound.Limits{}
				}
				return outbound.Limits{Policy: own}
			}
		})
		send := func(tenant, host string) string {
			o := options(repeat("http://"+host+"/", 1))
			o.Tenant = tenant
			results, _ := collect(t, s.Start(t.Context(), o))
			return results[0].Failure
		}
		for _, c := range []struct {
			tenant, host string
			allowed      bool
		}{{"a", "own.example", true}, {"a", "server.example", false}, {"b", "own.example", false}, {"b", "server.example", true}} {
			if got := send(c.tenant, c.host); (got == "") != c.allowed {
				t.Errorf("tenant %s to %s: got %q, want it allowed: %t", c.tenant, c.host, got, c.allowed)
			}
		}
		o := options(repeat("http://own.example/", 2))
		o.Tenant, o.Concurrency = "a", 1
		b := s.Start(t.Context(), o)
		time.Sleep(500 * time.Millisecond)
		removed.Store(true)
		if results, _ := collect(t, b); results[0].Failure != "" || results[1].Failure == "" {
			t.Errorf("got %+v, want the second refused: its host was removed from the list", results)
		}
	})
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"50/s": 20 * time.Millisecond, "300/m": 200 * time.Millisecond, "1/h": time.Hour, "9999999/s": 100,
		"": 0, "0/s": 0, "50": 0, "50/d": 0, "-1/s": 0, "1.5/s": 0, "50 /s": 0,
	} {
		got, err := outbound.ParseRate(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %s, %v; want %s", text, fmt.Sprint(got), err, want)
		}
	}
}
