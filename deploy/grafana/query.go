package grafana

import (
	"fmt"
	"slices"
	"strings"
)

// chosenByKind and chosenByPriority have the metrics with a label kind or priority, of which the variables choose values.
var (
	chosenByKind = labelled("gather_jobs_submitted_total", "gather_jobs_finished_total", "gather_jobs_failed_total",
		"gather_jobs_resumed_total", "gather_job_wait_seconds", "gather_job_run_seconds", "gather_job_duration_seconds",
		"gather_tasks_finished_total", "gather_task_step_duration_seconds", "gather_items_finished_total",
		"gather_queue_jobs", "gather_queue_oldest_age_seconds", "gather_running_jobs")
	chosenByPriority = labelled("gather_jobs_submitted_total", "gather_job_wait_seconds", "gather_job_run_seconds",
		"gather_job_duration_seconds", "gather_queue_jobs", "gather_queue_oldest_age_seconds", "gather_running_jobs")
)

func labelled(names ...string) map[string]bool {
	set := make(map[string]bool)
	for _, name := range names {
		set[name] = true
	}
	return set
}

// metric selects a metric of the chosen servers, kinds and priorities; more are further matchers.
func metric(name string, more ...string) string {
	matchers := []string{`job=~"$job"`, `instance=~"$instance"`}
	base := name
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		base = strings.TrimSuffix(base, suffix)
	}
	if chosenByKind[base] {
		matchers = append(matchers, `kind=~"$kind"`)
	}
	if chosenByPriority[base] {
		matchers = append(matchers, `priority=~"$priority"`)
	}
	return name + "{" + strings.Join(append(matchers, more...), ", ") + "}"
}

// rate is the rate of a counter, of each series.
func rate(name string, more ...string) string {
	return "rate(" + metric(name, more...) + "[$__rate_interval])"
}

// sum adds up, keeping these labels.
func sum(expr string, by ...string) string { return aggregate("sum", expr, by) }

// highest is the maximum, keeping these labels.
func highest(expr string, by ...string) string { return aggregate("max", expr, by) }

// mean is the average, keeping these labels.
func mean(expr string, by ...string) string { return aggregate("avg", expr, by) }

// used is the share of a bound that each server uses. A node of a cluster that reports another's bound as 0 is left out.
func used(value, bound string) string { return metric(value) + " / (" + metric(bound) + " > 0)" }

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

// with is the histogram of what these matchers select.
func (h histogram) with(more ...string) histogram {
	return histogram{h.name, append(slices.Clone(h.more), more...)}
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

// A curve is a query and its name in the legend.
type curve struct{ expr, legend string }

// quantiles are the three that people look at.
func (h histogram) quantiles() []curve {
	return []curve{{h.quantile(.5), "p50"}, {h.quantile(.95), "p95"}, {h.quantile(.99), "p99"}}
}
