package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// order is a job to submit, with its expected results.
type order struct {
	body string
	// items is the expected number of items; 0 for the number of units of work.
	items int
	// check returns the error of an item, or ""; nil if only the result is checked.
	check func(index int, value string) string
	// result is the expected result; numbers are compared by value.
	result string
}

// orderFor returns job number i, cycling through all kinds.
func orderFor(i int) order {
	switch i % 7 {
	case 0, 1:
		return numbersOrder(int64(i))
	case 2:
		return rangeOrder(int64(i), 9_000)
	case 3:
		return sleepOrder([]int{20, 250, 100, 700, 20})
	case 4:
		// Naive summation returns 0 or 2e16, depending on the order.
		return sumOrder(fmt.Sprintf(`{"source":"values","values":[[1e16,1],[-1e16,%d]],"chunks":1}`, i), strconv.Itoa(i+1))
	case 5:
		return sumOrder(fmt.Sprintf(`{"source":"ones","shape":[1000,%d],"chunks":[100,100]}`, 1000+i), strconv.Itoa(1000*(1000+i)))
	default:
		n := 3_000_000 + i
		return sumOrder(fmt.Sprintf(`{"source":"arange","start":0,"stop":%d,"dtype":"int64","chunks":100000}`, n), strconv.Itoa(n*(n-1)/2))
	}
}

func numbersOrder(i int64) order {
	numbers := []string{strconv.FormatInt(i, 10), strconv.FormatInt(-i, 10), "1" + strings.Repeat("0", int(i%40)), "2.5", "0"}
	want := make([]string, len(numbers))
	for k, n := range numbers {
		if v, ok := new(big.Int).SetString(n, 10); ok {
			want[k] = v.Mul(v, v).String()
		} else {
			want[k] = "6.25"
		}
	}
	return order{
		body: `{"kind":"squares","numbers":[` + strings.Join(numbers, ",") + `]}`, items: len(want),
		result: strconv.Itoa(len(want)),
		check:  func(index int, value string) string { return differ(value, want[index]) },
	}
}

func rangeOrder(start, n int64) order {
	return order{
		body:  fmt.Sprintf(`{"kind":"squares","range":{"start":%d,"stop":%d}}`, start, start+n),
		items: int(n), result: strconv.FormatInt(n, 10),
		check: func(index int, value string) string {
			v := start + int64(index)
			return differ(value, strconv.FormatInt(v*v, 10))
		},
	}
}

func sleepOrder(millis []int) order {
	var durations []string
	for _, ms := range millis {
		durations = append(durations, fmt.Sprintf(`"%dms"`, ms))
	}
	return order{
		body: `{"kind":"sleep_batch","durations":[` + strings.Join(durations, ",") + `]}`, items: len(millis),
		result: strconv.Itoa(len(millis)),
		check: func(index int, value string) string {
			// The upper bound depends on how long the server was down.
			if slept, err := strconv.ParseFloat(value, 64); err != nil || slept < float64(millis[index])/1000 {
				return fmt.Sprintf("slept %s of %d ms", value, millis[index])
			}
			return ""
		},
	}
}

func sumOrder(array, result string) order {
	return order{body: `{"kind":"array_sum","array":` + array + `}`, result: result}
}

func differ(got, want string) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%s, want %s", got, want)
}

// sameNumber compares literals by value: 6.0 equals 6.
func sameNumber(a json.RawMessage, b string) bool {
	x, ok := new(big.Rat).SetString(string(a))
	y, ok2 := new(big.Rat).SetString(b)
	return string(a) == b || ok && ok2 && x.Cmp(y) == 0
}
