package main

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// An order is a job to submit, with its expected outcome.
type order struct {
	// spec holds the members of the submission without braces.
	spec string
	// items is the number of items; 0 for the number of units of progress.
	items int
	// check returns what is wrong with the value of an item, or ""; nil for no check.
	check func(index int, value string) string
	// result is the expected result; numbers are compared by value.
	result string
}

// newOrder draws a job of any kind.
func newOrder(rng *rand.Rand) order {
	switch rng.IntN(13) {
	case 0, 1:
		return numbers(rng.Int64N(1e6))
	case 2:
		return squaresRange(rng.Int64N(1e6), 200+rng.Int64N(9000))
	case 3:
		return sleeps(20, 250, 100, 400, 20)
	case 4:
		// Naive summation returns 0 or 2e16, depending on the order.
		n := rng.Int64N(1e6)
		return sum(fmt.Sprintf(`{"source":"values","values":[[1e16,1],[-1e16,%d]],"chunks":1}`, n), strconv.FormatInt(n+1, 10))
	case 5:
		n := 1000 + rng.Int64N(1000)
		return sum(fmt.Sprintf(`{"source":"ones","shape":[1000,%d],"chunks":[100,100]}`, n), strconv.FormatInt(1000*n, 10))
	case 6:
		n := 1_000_000 + rng.Int64N(4_000_000)
		return sum(fmt.Sprintf(`{"source":"arange","start":0,"stop":%d,"dtype":"int64","chunks":100000}`, n), strconv.FormatInt(n*(n-1)/2, 10))
	case 7:
		n := 1 + rng.Int64N(1_000_000)
		return order{
			spec:   fmt.Sprintf(`"kind":"array_reduce","ops":["min","max","mean","count"],"array":{"source":"arange","start":0,"stop":%d,"dtype":"int64","chunks":50000}`, n),
			result: fmt.Sprintf(`{"min":0,"max":%d,"mean":%s,"count":%d}`, n-1, strconv.FormatFloat(float64(n-1)/2, 'f', -1, 64), n-1), // count leaves out the zero
		}
	case 8: // many tasks, some of which have ended when a fault comes
		n := 50_000_000 + rng.Int64N(150_000_000)
		return sum(fmt.Sprintf(`{"source":"arange","start":0,"stop":%d,"dtype":"int64","chunks":1000000}`, n), strconv.FormatInt(n*(n-1)/2, 10))
	case 9, 10:
		return bucketSum(rng)
	case 11:
		return squaresRange(rng.Int64N(1e6), 20_000+rng.Int64N(60_000))
	default:
		return sleeps(1500, 3000, 20, 2000)
	}
}

func numbers(i int64) order {
	in := []string{strconv.FormatInt(i, 10), strconv.FormatInt(-i, 10), "1" + strings.Repeat("0", int(i%40)), "2.5", "0"}
	want := make([]string, len(in))
	for k, n := range in {
		if v, ok := new(big.Int).SetString(n, 10); ok {
			want[k] = v.Mul(v, v).String()
		} else {
			want[k] = "6.25"
		}
	}
	return order{
		spec: `"kind":"squares","numbers":[` + strings.Join(in, ",") + `]`, items: len(want), result: strconv.Itoa(len(want)),
		check: func(index int, value string) string { return differ(value, want[index]) },
	}
}

func squaresRange(start, n int64) order {
	return order{
		spec: fmt.Sprintf(`"kind":"squares","range":{"start":%d,"stop":%d}`, start, start+n), items: int(n), result: strconv.FormatInt(n, 10),
		check: func(index int, value string) string {
			v := start + int64(index)
			return differ(value, strconv.FormatInt(v*v, 10))
		},
	}
}

func sleeps(millis ...int) order {
	durations := make([]string, len(millis))
	for i, ms := range millis {
		durations[i] = fmt.Sprintf(`"%dms"`, ms)
	}
	return order{
		spec: `"kind":"sleep_batch","durations":[` + strings.Join(durations, ",") + `]`, items: len(millis), result: strconv.Itoa(len(millis)),
		check: func(index int, value string) string {
			// The upper bound depends on how long the server was down.
			if slept, err := strconv.ParseFloat(value, 64); err != nil || slept < float64(millis[index])/1000 {
				return fmt.Sprintf("slept %s of %d ms", value, millis[index])
			}
			return ""
		},
	}
}

func sum(array, result string) order {
	return order{spec: `"kind":"array_sum","array":` + array, result: result}
}

func differ(got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%s, want %s", got, want)
}

// sameResult compares a result with the expected one: numbers by value (6.0 equals 6), objects by their members.
func sameResult(got jsontext.Value, want string) bool {
	x, ok := new(big.Rat).SetString(string(got))
	y, isNumber := new(big.Rat).SetString(want)
	if ok && isNumber {
		return x.Cmp(y) == 0
	}
	a, b := got.Clone(), jsontext.Value(want)
	return a.Canonicalize() == nil && b.Canonicalize() == nil && string(a) == string(b)
}

// verify checks the items of a job that succeeded: complete, unique, correct, in the order of their seqs.
func (o *order) verify(items []item, units int) error {
	want := o.items
	if want == 0 {
		want = units
	}
	if len(items) != want {
		return fmt.Errorf("got %d items, want %d", len(items), want)
	}
	return o.verifySome(items, want)
}

// verifySome checks some items of a job with n items.
func (o *order) verifySome(items []item, n int) error {
	seen := make([]bool, n)
	last := int64(0)
	for _, it := range items {
		switch {
		case it.Seq <= last:
			return fmt.Errorf("seq %d follows %d", it.Seq, last)
		case it.Index < 0 || it.Index >= n || seen[it.Index]:
			return fmt.Errorf("index %d is out of range or duplicate", it.Index)
		case it.Error != nil:
			return fmt.Errorf("item %d failed: %s", it.Index, *it.Error)
		}
		if o.check != nil {
			if problem := o.check(it.Index, string(it.Value)); problem != "" {
				return fmt.Errorf("item %d: %s", it.Index, problem)
			}
		}
		seen[it.Index], last = true, it.Seq
	}
	return nil
}
