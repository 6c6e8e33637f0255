package chunked

// NewFinePlan is NewPlan with tasks and segments of about n elements, to split small arrays.
func NewFinePlan(a *Array, r Reduction, n int64, limits Limits) (*Plan, error) {
	return newPlan(a, r, limits, sizes{least: n, most: n, share: 1 << 15, segment: max(n/8, 1), few: 1 << 15, longest: n})
}
