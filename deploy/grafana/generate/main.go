// Command generate writes the dashboards as Grafana reads them, and the rules of Prometheus as its operator does.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gather/deploy/grafana"
)

func main() {
	err := dashboards("dashboards")
	if err == nil {
		err = rule("../prometheus/rules", "../kubernetes/components/prometheus-operator/prometheusrule.yaml")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1) //nolint:forbidigo // main ends the process
	}
}

func dashboards(dir string) error {
	all, err := grafana.Dashboards()
	if err != nil {
		return err
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

const ruleHead = `# Generated from deploy/prometheus/rules: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gather
  labels:
    app.kubernetes.io/name: gather
spec:
  groups:
`

// rule puts the groups of the rule files of a directory into one resource.
func rule(dir, file string) error {
	var text strings.Builder
	text.WriteString(ruleHead)
	for _, name := range []string{"recording.yaml", "alerts.yaml"} {
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		_, groups, ok := strings.Cut(string(source), "\ngroups:\n")
		if !ok {
			return fmt.Errorf("%s has no groups", name)
		}
		for line := range strings.Lines(groups) {
			if line != "\n" {
				text.WriteString("  ")
			}
			text.WriteString(line)
		}
	}
	return os.WriteFile(file, []byte(text.String()), 0o644)
}
