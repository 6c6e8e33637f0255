package api_test

import (
	"testing"
	"time"

	"gather/internal/api"
)

// A client is disconnected when it is slower than minRate over a window. Bytes before and after a pause make up for it;
// earlier windows do not.
func TestPace(t *testing.T) {
	type step struct {
		bytes int
		took  time.Duration
	}
	for name, c := range map[string]struct {
		steps []step
		ok    bool
	}{
		"steady":            {repeat(step{api.MinRate * 2, time.Second}, 100), true},
		"just steady":       {repeat(step{api.MinRate, time.Second}, 100), true},
		"slow":              {repeat(step{api.MinRate / 2, time.Second}, 100), false},
		"a byte now and so": {repeat(step{1, 5 * time.Second}, 100), false},
		"a pause":           {append(repeat(step{api.MinRate, time.Second}, 5), step{20 * api.MinRate, 4 * time.Second}), true},
		"a stall":           {append(repeat(step{100 * api.MinRate, time.Second}, 100), step{0, 10 * time.Second}), false},
	} {
		p, ok := api.NewPace(10*time.Second), true
		for _, s := range c.steps {
			if s.took > p.Left() || s.took == p.Left() && s.bytes == 0 {
				ok = false
				break
			}
			p.Add(s.bytes, s.took)
		}
		if ok != c.ok {
			t.Errorf("%s: passes %t, want %t", name, ok, c.ok)
		}
	}
}

func repeat[T any](v T, n int) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = v
	}
	return list
}
