package fields_test

import (
	"fmt"
	"time"

	"gather/internal/fields"
)

// All errors of an object are reported, each with its JSON pointer.
func Example() {
	var errs fields.Errors
	o, _ := fields.Read([]byte(`{"wait": "-5s", "cuont": 3}`), &errs)
	if _, err := fields.ParseDuration(o.Get("wait"), time.Hour); err != nil {
		errs.Add("/wait", "%v", err)
	}
	o.Unused(nil, "unknown field")
	for _, e := range errs.List {
		fmt.Println(e.Pointer, e.Detail)
	}
	// Output:
	// /wait must not be negative
	// /cuont unknown field
}
