package chunked

// NewFinePlan is NewPlan with tasks and segments of about n elements, to split small arrays.
func NewFinePlan(a *Array, r Reduction, n int64, limits Limits) (*Plan, error) {
	return newPlan(a, r, limits, sizes{least: n, most: n, share: 1 << 15, segment: max(n/8, 1), few: 1 << 15, longest: n})
}

// States returns the number of states in the partials of all tasks of a sum over all axes.
func (p *Plan) States() (n int64) {
	for _, s := range p.cut.(*fullReduction).ranges {
		n += max(s.width, 1)
	}
	return n
}
