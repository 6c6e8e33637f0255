// Package deploy_test tests the deployment: dashboards and rules against a server under load that a Prometheus scrapes, and the
// files against the types of the programs that read them.
//
// go test does not track changes of the server, and may show a cached result: use -count=1.
package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// need skips a test when a program is not installed, and fails it in CI, where all programs are installed.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", program)
		}
		t.Skipf("%s is not installed", program)
	}
	return path
}

// runs executes a program, which must succeed, and returns its output.
func runs(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), need(t, program), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// decode reads YAML strictly into v.
func decode(t *testing.T, file string, v any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(read(t, file), v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files (%v)", pattern, err)
	}
	return files
}

// A query is a query of a panel.
type query struct {
	dashboard string
	panel     *panel
	target    target
}

func (q query) String() string { return q.dashboard + ": " + q.panel.Title + ": " + q.target.RefID }

// queries returns the queries of all panels of all dashboards.
func queries(t *testing.T) []query {
	t.Helper()
	var all []query
	for file, d := range boards(t) {
		for _, p := range d.all() {
			for _, target := range p.Targets {
				all = append(all, query{file, p, target})
			}
		}
	}
	slices.SortFunc(all, func(a, b query) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// all has the values of the variables when everything is selected, and a range.
func substitute(expr, window string) string {
	return strings.NewReplacer("$job", ".+", "$instance", ".+", "$kind", ".+", "$priority", ".+", "$__rate_interval", window,
		"$__range", window).Replace(expr)
}

var promql = parser.NewParser(parser.Options{})

// selectors returns the selectors in an expression.
func selectors(t *testing.T, expr string) []*parser.VectorSelector {
	t.Helper()
	parsed, err := promql.ParseExpr(expr)
	if err != nil {
		t.Fatalf("%v in %s", err, expr)
	}
	var all []*parser.VectorSelector
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			all = append(all, s)
		}
		return nil
	})
	return all
}

func matches(s *parser.VectorSelector, name string, kind labels.MatchType, value string) bool {
	return slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool {
		return m.Name == name && m.Type == kind && m.Value == value
	})
}

// family returns the metric to which a series belongs.
func family(series string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(series, suffix); ok {
			return name
		}
	}
	return series
}
