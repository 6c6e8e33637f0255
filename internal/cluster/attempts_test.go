package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

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

// An attempt that the connection interrupts is repeated after a pause, until the time is over.
func TestInterruptedAttempts(t *testing.T) {
	for _, interruptions := range []int{2, 1 << 30} {
		synctest.Test(t, func(t *testing.T) {
			n, began := 0, time.Now()
			got, err := cluster.Attempts(t.Context(), func(context.Context) (int, error) {
				if n++; n <= interruptions {
					return 0, fmt.Errorf("read: %w", nats.ErrConnectionClosed)
				}
				return 7, nil
			})
			took := time.Since(began)
			switch {
			case interruptions == 2 && (err != nil || got != 7 || took == 0 || took > 10*time.Second):
				t.Errorf("got %d, %v after %s, want 7 after two pauses", got, err, took)
			case interruptions > 2 && (!errors.Is(err, nats.ErrConnectionClosed) || took != 2*time.Minute):
				t.Errorf("got %d, %v after %s, want the interruption after two minutes", got, err, took)
			}
		})
	}
}
