package cluster_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gather/internal/cluster"
)

// A read that gets no answer is repeated with more time, for two minutes; any other outcome is final.
func TestAttempts(t *testing.T) {
	errOther := errors.New("damaged")
	seconds := func(all ...int) (d []time.Duration) {
		for _, s := range all {
			d = append(d, time.Duration(s)*time.Second)
		}
		return d
	}
	for _, tt := range []struct {
		name   string
		silent int // attempts without an answer
		err    error
		took   []time.Duration
		want   error
	}{
		{"at once", 0, nil, seconds(0), nil},
		{"at the third attempt", 2, nil, seconds(5, 10, 0), nil},
		{"another error", 1, errOther, seconds(5, 0), errOther},
		{"never", 9, nil, seconds(5, 10, 20, 40, 45), context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var took []time.Duration
				got, err := cluster.Attempts(t.Context(), func(ctx context.Context) (int, error) {
					began := time.Now()
					defer func() { took = append(took, time.Since(began)) }()
					if len(took) < tt.silent {
						<-ctx.Done()
						return 0, ctx.Err()
					}
					return 7, tt.err
				})
				if !errors.Is(err, tt.want) || err == nil && got != 7 {
					t.Errorf("got %d, %v, want 7, %v", got, err, tt.want)
				}
				if !slices.Equal(took, tt.took) {
					t.Errorf("the attempts took %v, want %v", took, tt.took)
				}
			})
		})
	}
}
