package grafana

import (
	"fmt"
	"strings"
)

// metric selects a metric of the chosen servers; more are further matchers.
func metric(name string, more ...string) string {
	return name + "{" + strings.Join(append([]string{`job=~"$job"`, `instance=~"$instance"`}, more...), ", ") + "}"
}

// rate is the rate of a counter, of each series.
func rate(name string, more ...string) string {
	return "rate(" + metric(name, more...) + "[$__rate_interval])"
}

// sum adds up, keeping these labels.
func sum(expr string, by ...string) string { return aggregate("sum", expr, by) }

// highest is the maximum, keeping these labels.
func highest(expr string, by ...string) string { return aggregate("max", expr, by) }

func aggregate(op, expr string, by []string) string {
	if len(by) == 0 {
		return op + "(" + expr + ")"
	}
	return fmt.Sprintf("%s by (%s) (%s)", op, strings.Join(by, ", "), expr)
}

// ratio is 0 where there is nothing to divide by.
func ratio(part, whole string) string { return part + "\n/\nclamp_min(" + whole + ", 1e-9)" }

// shared is 0 for servers without such a metric: those that share nothing, because they are no cluster.
func shared(expr string, by ...string) string {
	return expr + "\nor\n0 * " + sum(metric("gather_workers"), by...)
}

// A histogram is a classic one, of which quantiles are taken.
type histogram struct {
	name string
	more []string
}

// quantile is NaN while there were no observations, which the comparison removes and the second half turns into 0: so
// there is a 0 for whatever could have been observed, and nothing for a server that is not there.
func (h histogram) quantile(q float64, by ...string) string {
	buckets := sum(rate(h.name+"_bucket", h.more...), append([]string{"le"}, by...)...)
	return fmt.Sprintf("histogram_quantile(%g, %s) >= 0\nor\n0 * %s", q, buckets, sum(rate(h.name+"_count", h.more...), by...))
}

// mean is 0 while there were no observations.
func (h histogram) mean(by ...string) string {
	return ratio(sum(rate(h.name+"_sum", h.more...), by...), sum(rate(h.name+"_count", h.more...), by...))
}

// cells are the counts of a heatmap.
func (h histogram) cells() string {
	return sum("increase("+metric(h.name+"_bucket", h.more...)+"[$__rate_interval])", "le")
}

// A curve is a query and the name of what it draws.
type curve struct{ expr, legend string }

// quantiles are the three that people look at.
func (h histogram) quantiles() []curve {
	return []curve{{h.quantile(.5), "p50"}, {h.quantile(.95), "p95"}, {h.quantile(.99), "p99"}}
}
