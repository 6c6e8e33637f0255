package chunked_test

import (
	"context"
	"fmt"

	"gather/internal/chunked"
	"gather/internal/fields"
)

// The sum of an array over one of its axes. Tasks may run in any order, on any machine, with the same result.
func Example() {
	var errs fields.Errors
	array := chunked.ParseArray([]byte(`{"values":[[1, 1e100, -1e100], [2, 3, 4]]}`), chunked.Options{}, &errs)
	spec, _ := fields.Read([]byte(`{"axis": 1}`), &errs)
	reduction, _ := chunked.ParseReduction(spec, array)
	if err := errs.Err(); err != nil {
		fmt.Println(err)
		return
	}
	plan, err := chunked.NewPlan(array, reduction, chunked.DefaultLimits())
	if err != nil {
		fmt.Println(err)
		return
	}
	reducer, worker := plan.NewReducer(), chunked.NewWorker()
	for task := range plan.Tasks() {
		partial, err := plan.Run(context.Background(), worker, task, nil, nil)
		if err == nil {
			err = reducer.Add(task, partial)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	result, err := reducer.Result()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Shape(), string(result.AppendJSON(nil)))
	// Output: (2,) [1.0,9.0]
}
