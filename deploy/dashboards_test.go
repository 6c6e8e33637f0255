package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"gather/deploy/grafana"
)

func TestDashboardsAreGenerated(t *testing.T) {
	all, err := grafana.Dashboards()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range all {
		if !bytes.Equal(read(t, filepath.Join("grafana/dashboards", file)), want) {
			t.Errorf("%s differs from grafana.Dashboards: go generate ./grafana", file)
		}
	}
	if files := glob(t, "grafana/dashboards/*.json"); len(files) != len(all) {
		t.Errorf("there are %q", files)
	}
}

// TestDashboardsDecode decodes the dashboards into Grafana's types, including the panels' options, without unknown fields.
func TestDashboardsDecode(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, file := range glob(t, "grafana/dashboards/*.json") {
		var d dashboard.Dashboard //nolint:staticcheck // deprecated for a newer model, but this one is the classic one
		// It never returns nil: an empty list means no errors.
		var faults cog.BuildErrors
		if !errors.As(d.UnmarshalJSONStrict(read(t, file)), &faults) || len(faults) > 0 {
			t.Errorf("%s: %v", file, faults)
			continue
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// units are the units in the dashboards, by their names in Grafana.
var units = []string{"none", "short", "percentunit", "s", "bytes", "Bps", "ops", "reqps"}

// kinds are the used kinds of panels, which the rules below cover.
var kinds = []string{"stat", "timeseries", "heatmap", "table"}

// TestDashboardLint applies the Prometheus rules of grafana/dashboard-linter to the model, and further ones.
func TestDashboardLint(t *testing.T) {
	for file, d := range boards(t) {
		fault := func(rule, format string, args ...any) {
			t.Helper()
			t.Errorf("%s: %s: %s", file, rule, fmt.Sprintf(format, args...))
		}
		if d.Editable {
			fault("uneditable-dashboard", "it is editable")
		}
		if d.SchemaVersion < 39 || d.SchemaVersion > 42 {
			fault("schema", "version %d", d.SchemaVersion)
		}
		lintVariables(d, fault)
		lintLayout(d, fault)
		titles := map[string]bool{}
		for _, p := range d.all() {
			rule := func(rule, format string, args ...any) {
				t.Helper()
				fault(rule, "panel %q: %s", p.Title, fmt.Sprintf(format, args...))
			}
			if !slices.Contains(kinds, p.Type) {
				rule("panel", "unknown type %q", p.Type)
			}
			if p.Title == "" || titles[p.Title] {
				rule("panel-title-description-rule", "no title of its own")
			}
			titles[p.Title] = true
			if len(p.Description) < 60 || !strings.HasSuffix(p.Description, ".") {
				rule("panel-title-description-rule", "its description does not say what to do: %q", p.Description)
			}
			if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
				rule("panel-units-rule", "unit %q", p.FieldConfig.Defaults.Unit)
			}
			if len(p.Targets) == 0 {
				rule("panel-no-targets-rule", "no query")
			}
			if p.Datasource.UID != "${datasource}" {
				rule("panel-datasource-rule", "%s", p.Datasource.UID)
			}
			for _, target := range p.Targets {
				lintTarget(p, target, rule)
			}
		}
	}
}

type report func(rule, format string, args ...any)

func lintVariables(d *board, fault report) {
	byName := map[string]variable{}
	for _, v := range d.Templating.List {
		byName[v.Name] = v
	}
	if v := byName["datasource"]; v.Type != "datasource" || v.Query != "prometheus" || v.Label != "Data source" {
		fault("template-datasource-rule", "%+v", v)
	}
	for name, label := range map[string]string{"job": "Job", "instance": "Instance", "kind": "Kind", "priority": "Priority"} {
		rule := "template-" + name + "-rule"
		v := byName[name]
		switch {
		case v.Type != "query" || v.Label != label || v.Datasource.UID != "${datasource}":
			fault(rule, "%+v", v)
		case !v.Multi || !v.IncludeAll || v.AllValue != ".+":
			fault(rule, "several values must be possible, and all: %+v", v)
		case v.Refresh != 2:
			fault("template-on-time-change-reload-rule", "%s", name)
		}
		inner, ok := strings.CutPrefix(strings.TrimSuffix(v.Query, ", "+name+")"), "label_values(")
		if _, err := promql.ParseExpr(substitute(inner, "5m")); !ok || err != nil {
			fault("template-label-promql-rule", "%s: %v", v.Query, err)
		}
	}
}

// ofAllInstances reports whether a series has no instance: alerts about all instances of a job, and recordings by job.
func ofAllInstances(name string) bool {
	return strings.HasPrefix(name, "ALERTS") || strings.HasPrefix(name, "job:")
}

// countPanels are the panels that show a counter without a rate, because it changes only before the first scrape.
var countPanels = []string{"Resumed jobs"}

func lintTarget(p *panel, target target, fault report) {
	const window = 290*time.Second + 7*time.Millisecond // no query has this window
	// The variables are used as regular expressions, and must match with =~ or !~.
	expr := strings.ReplaceAll(target.Expr, "$__rate_interval", fmt.Sprintf("%dms", window.Milliseconds()))
	if p.Type == "table" { // a table may count over the time that the dashboard shows
		expr = strings.ReplaceAll(expr, "$__range", fmt.Sprintf("%dms", window.Milliseconds()))
	}
	if p.Type == "stat" && (!target.Instant || target.Range) {
		fault("instant", "%s asks for a range, of which the last value outlives its server", target.RefID)
	}
	parsed, err := promql.ParseExpr(expr)
	if err != nil {
		fault("target-promql-rule", "%v in %s", err, target.Expr)
		return
	}
	if target.Datasource.UID != "${datasource}" {
		fault("panel-datasource-rule", "%s", target.Datasource.UID)
	}
	if target.LegendFormat == "" && p.Type != "table" {
		fault("legend", "%s has none", target.RefID)
	}
	parser.Inspect(parsed, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			if !matches(n, "job", labels.MatchRegexp, "$job") {
				fault("target-job-rule", "%s", n)
			}
			if !matches(n, "instance", labels.MatchRegexp, "$instance") && !ofAllInstances(n.Name) {
				fault("target-instance-rule", "%s", n)
			}
			if isCounter(n.Name) && !rated(path) && !slices.Contains(countPanels, p.Title) {
				fault("target-counter-agg-rule", "%s", n)
			}
		case *parser.MatrixSelector:
			if n.Range != window {
				fault("target-rate-interval-rule", "%s", n)
			}
		}
		return nil
	})
}

func isCounter(name string) bool {
	return family(name) != name || strings.HasSuffix(name, "_total")
}

// rated reports whether the parents of a selector are a range and then a rate.
func rated(path []parser.Node) bool {
	if len(path) < 2 {
		return false
	}
	_, ranged := path[len(path)-1].(*parser.MatrixSelector)
	call, ok := path[len(path)-2].(*parser.Call)
	return ranged && ok && slices.Contains([]string{"rate", "irate", "increase"}, call.Func.Name)
}

// lintLayout checks for gaps, overlaps, duplicate ids, and panels that are too narrow for a laptop.
func lintLayout(d *board, fault report) {
	ids := map[int]bool{}
	taken := map[[2]int]int{}
	place := func(p *panel) {
		if ids[p.ID] {
			fault("layout", "id %d is taken", p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 3 || g.H < 1 || g.X+g.W > 24 {
			fault("layout", "%q: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					fault("layout", "%q is on panel %d", p.Title, other)
				}
				taken[[2]int{x, y}] = p.ID
			}
		}
	}
	for _, p := range d.Panels {
		if p.Type == "row" {
			place(p)
		}
	}
	for _, p := range d.all() {
		place(p)
	}
	bottom := 0
	for at := range taken {
		bottom = max(bottom, at[1]+1)
	}
	if len(taken) != 24*bottom {
		fault("layout", "%d of %d cells are taken: there is a gap", len(taken), 24*bottom)
	}
}
