package deploy_test

import (
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// A rule is an alert or a recording rule.
type rule struct {
	Alert         string            `json:"alert"`
	Record        string            `json:"record"`
	Expr          string            `json:"expr"`
	For           string            `json:"for"`
	KeepFiringFor string            `json:"keep_firing_for"`
	Labels        map[string]string `json:"labels"`
	Annotations   map[string]string `json:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, file := range glob(t, "prometheus/rules/*.yaml") {
		var f struct {
			Groups []struct {
				Name     string `json:"name"`
				Interval string `json:"interval"`
				Rules    []rule `json:"rules"`
			} `json:"groups"`
		}
		decode(t, file, &f)
		for _, g := range f.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all
}

// alerts returns the distinct names of the alerts.
func alerts(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, r := range rules(t) {
		if r.Alert != "" {
			names = append(names, r.Alert)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const runbooks = "../docs/runbooks"

// TestRules checks the files of Prometheus with promtool, and runs the unit tests of the alerts.
func TestRules(t *testing.T) {
	runs(t, "promtool", "check", "config", "prometheus/prometheus.yml")
	runs(t, "promtool", append([]string{"test", "rules"}, glob(t, "prometheus/tests/*.yaml")...)...)
}

// TestAlerts checks that every alert has a severity, annotations and a runbook, and that every query is valid for the Prometheus
// of compose.yaml, not only for the installed one.
func TestAlerts(t *testing.T) {
	for _, r := range rules(t) {
		if _, err := promql.ParseExpr(r.Expr); err != nil {
			t.Errorf("%s%s: %v", r.Alert, r.Record, err)
		}
		if r.Alert == "" {
			continue
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if len(r.Annotations) != 3 || r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 60 {
			t.Errorf("%s: annotations %q", r.Alert, r.Annotations)
		}
		path, ok := strings.CutPrefix(r.Annotations["runbook_url"], "{{ $externalURL }}/user/")
		if u, err := url.Parse(path); !ok || err != nil || u.Path != r.Alert+".md" {
			t.Errorf("%s: runbook_url %q", r.Alert, r.Annotations["runbook_url"])
		}
	}
}

// TestRunbooks checks that alerts and runbooks match, and the headings of the runbooks.
func TestRunbooks(t *testing.T) {
	names := alerts(t)
	for _, file := range glob(t, runbooks+"/*.md") {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		i := slices.Index(names, name)
		if i < 0 {
			t.Errorf("%s: no such alert", file)
			continue
		}
		names = slices.Delete(names, i, i+1)
		text := string(read(t, file))
		at := 0
		for _, part := range []string{"# " + name + "\n", "\n## What it means\n", "\n## What to look at\n", "\n## What to do\n"} {
			next := strings.Index(text[at:], part)
			if next < 0 {
				t.Errorf("%s: %q is missing, or not in its place", file, strings.TrimSpace(part))
				break
			}
			at += next
		}
	}
	if len(names) > 0 {
		t.Errorf("no runbook for %q", names)
	}
}

// TestAlertTests checks that every alert has a unit test in which it fires and one in which it does not, and that every rule of a
// name fires.
func TestAlertTests(t *testing.T) {
	type check struct {
		Alert string `json:"alertname"`
		Want  []struct {
			Labels map[string]string `json:"exp_labels"`
		} `json:"exp_alerts"`
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, file := range glob(t, "prometheus/tests/*.yaml") {
		var f struct {
			Tests []struct {
				Checks []check `json:"alert_rule_test"`
			} `json:"tests"`
		}
		if err := yaml.Unmarshal(read(t, file), &f); err != nil {
			t.Fatal(err)
		}
		for _, test := range f.Tests {
			for _, c := range test.Checks {
				if want := strings.TrimSuffix(filepath.Base(file), ".yaml"); c.Alert != want {
					t.Errorf("%s tests %s", file, c.Alert)
				}
				for _, w := range c.Want {
					fires[c.Alert+w.Labels["window"]] = true
				}
				if len(c.Want) == 0 {
					silent[c.Alert] = true
				}
			}
		}
	}
	for _, r := range rules(t) {
		if r.Alert != "" && (!fires[r.Alert+r.Labels["window"]] || !silent[r.Alert]) {
			t.Errorf("%s %s: a test in which it fires: %t, in which it does not: %t",
				r.Alert, r.Labels["window"], fires[r.Alert+r.Labels["window"]], silent[r.Alert])
		}
	}
}

// TestThresholds checks that texts and colors match the objectives in the rules.
func TestThresholds(t *testing.T) {
	recording := string(read(t, "prometheus/rules/recording.yaml"))
	edge := regexp.MustCompile(`le="([^"]+)"`)
	found := edge.FindAllStringSubmatch(recording, -1)
	for _, m := range found {
		if m[1] != "2.5" {
			t.Errorf("an edge of %s s", m[1])
		}
	}
	if len(found) != 5 || !strings.Contains(recording, "within 2.5 s") {
		t.Errorf("%d windows", len(found))
	}
	for _, r := range rules(t) {
		if window := r.Labels["window"]; window != "" && !strings.Contains(r.Expr, "rate"+window+" > ") {
			t.Errorf("%s: window %s: %s", r.Alert, window, r.Expr)
		}
		if r.For != "" {
			if _, err := time.ParseDuration(r.For); err != nil {
				t.Error(err)
			}
		}
	}
}
