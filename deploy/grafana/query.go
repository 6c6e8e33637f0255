package grafana

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

var (
	// token matches a string, or a name with its matchers.
	token = regexp.MustCompile(`"[^"]*"|([a-zA-Z_:][\w:]*)(\{[^}]*\})?`)
	// instant matches a rate or an increase without a range.
	instant = regexp.MustCompile(`\b(rate|increase)\(([^()\[\]]*\})\)`)
	metric  = regexp.MustCompile(`^((gather|go|process)_.*|up|.*:.*)$`)
	suffix  = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// expand returns the query for Grafana. Metrics are of the selected servers, kinds and priorities; a recorded metric of
// all servers of a job has no instance.
func (f *frame) expand(query string) (string, error) {
	t, err := template.New("query").Funcs(template.FuncMap{"quantile": quantile}).Parse(query)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, nil); err != nil {
		return "", err
	}
	selected := token.ReplaceAllStringFunc(b.String(), func(text string) string {
		m := token.FindStringSubmatch(text)
		name, more := m[1], strings.Trim(m[2], "{}")
		if !metric.MatchString(name) {
			return text
		}
		matchers := []string{`job=~"$job"`}
		if !strings.HasPrefix(name, "job:") {
			matchers = append(matchers, `instance=~"$instance"`)
		}
		for _, c := range f.Choices {
			if slices.Contains(c.Metrics, suffix.ReplaceAllString(name, "")) {
				matchers = append(matchers, fmt.Sprintf(`%s=~"$%[1]s"`, c.Label))
			}
		}
		if more != "" {
			matchers = append(matchers, more)
		}
		return name + "{" + strings.Join(matchers, ", ") + "}"
	})
	return instant.ReplaceAllString(selected, "$1($2[$$__rate_interval])"), nil
}

// quantile returns the query of a quantile of a classic histogram, by labels. It is NaN while there were no
// observations, which the comparison removes and the second half replaces by 0: so it is 0 for all that could have been
// observed, and absent for a server that is not there.
func quantile(q float64, histogram string, by ...string) string {
	name, matchers := histogram, ""
	if i := strings.IndexByte(histogram, '{'); i >= 0 {
		name, matchers = histogram[:i], histogram[i:]
	}
	sum := "sum"
	if len(by) > 0 {
		sum = "sum by (" + strings.Join(by, ", ") + ") "
	}
	return fmt.Sprintf("histogram_quantile(%g, sum by (%s) (rate(%s_bucket%s))) >= 0\nor\n0 * %s(rate(%[3]s_count%[4]s))",
		q, strings.Join(append([]string{"le"}, by...), ", "), name, matchers, sum)
}
