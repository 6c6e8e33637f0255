package kind

import (
	"strconv"

	"gather/internal/chunked"
	"gather/internal/job"
)

func init() {
	register(definition{
		name: "array_reduce",
		summary: "Statistics of an N-dimensional array, exact and rounded once, in one pass over all axes or some. " +
			"An item is a chunk, or an element of the result.",
		plan:   planArrayReduce,
		limits: arrayLimits,
	})
}

func planArrayReduce(spec []byte, e env) (job.Plan, error) { return planArray(spec, e, true) }

// appendStatistics appends an object with a member for each statistic, whose value appendValue appends.
func (p *arrayPlan) appendStatistics(dst []byte, appendValue func(dst []byte, i int) []byte) []byte {
	for i, op := range p.Ops() {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		dst = append(append(append(dst, sep, '"'), op.String()...), `":`...)
		dst = appendValue(dst, i)
	}
	return append(dst, '}')
}

// appendStatisticsDetails appends the shape of the results, the details of each statistic as array_sum has them, and
// NumPy's warnings.
func (p *arrayPlan) appendStatisticsDetails(dst []byte, results []*chunked.Result) []byte {
	dst = append(dst, `{"shape":`...)
	dst = appendShape(dst, results[0].Shape())
	dst = append(dst, `,"ops":`...)
	dst = p.appendStatistics(dst, func(dst []byte, i int) []byte { return appendDetails(dst, results[i]) })
	dst = append(dst, `,"warnings":[`...)
	for i, w := range p.Warnings(results) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendQuote(dst, w) // ASCII
	}
	return append(dst, "]}"...)
}

func appendShape(dst []byte, shape chunked.Shape) []byte {
	dst = append(dst, '[')
	for i, n := range shape {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, n, 10)
	}
	return append(dst, ']')
}
