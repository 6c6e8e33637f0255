package job_test

import (
	"bytes"
	"strconv"
	"testing"

	"gather/internal/job"
)

// A block that is grown first allocates each column once.
func TestItemsGrow(t *testing.T) {
	const n, allocations = 8192, 2
	fill := func(items *job.Items, literals bool) {
		for i := range int64(n) {
			if literals {
				items.Add(i, strconv.AppendInt(nil, n+i, 10), 0)
			} else {
				items.AddInt(i, i*i, 0)
			}
		}
	}
	for _, literals := range []bool{false, true} {
		var want, got job.Items
		fill(&want, literals)
		allocs := testing.AllocsPerRun(1, func() {
			got = job.Items{}
			got.Grow(n)
			fill(&got, literals)
		})
		if !literals && allocs > allocations {
			t.Errorf("%d integers took %v allocations, want %d at most", n, allocs, allocations)
		}
		if want, got := want.AppendBinary(nil), got.AppendBinary(nil); !bytes.Equal(got, want) {
			t.Errorf("literals %t: the grown block is another one than that which grew by itself", literals)
		}
	}
}
