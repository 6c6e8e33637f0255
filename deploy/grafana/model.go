package grafana

import (
	"embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed frame.yaml overview.yaml internals.yaml
var files embed.FS

type object = map[string]any

// A frame has what the dashboards have in common.
type frame struct {
	Dashboard object
	Choices   []struct {
		Label   string
		Metrics []string
	}
	Target, Panel object
	Types, Looks  map[string]style
	Limit         []any
}

// A style is a part of a panel and of its queries, in the form of Grafana's JSON.
type style struct{ Target, Panel object }

// A dashboard is the content of a file.
type dashboard struct {
	UID, Title, Description string
	Rows                    []row
}

// A row has a heading and panels of one height, which continue on the next line when one is full.
type row struct {
	Title     string
	Height    int
	Collapsed bool
	// Cluster is true if only the nodes of a cluster have the metrics: the queries are 0 for a single server.
	Cluster bool
	Panels  []panel
}

// A panel is one panel. Queries are PromQL with the template function quantile, without the selection of job, instance,
// kind and priority, and without the range of rate and increase unless it is another than $__rate_interval.
type panel struct {
	Title, Unit, Description string
	// Type is a type of the frame; default: timeseries.
	Type string
	// Looks are looks of the frame.
	Looks []string
	// Steps are thresholds, Field further display options, Overrides options for some values, in Grafana's form.
	Steps     []any
	Field     object
	Overrides []any
	// Limit is the legend of a curve that is a limit; Colors has the colors of curves whose meaning has one.
	Limit  string
	Colors []pair

	// Query is the query of a stat.
	Query string
	// Curves are the queries of a graph, by their legends; Quantiles is a histogram whose p50, p95 and p99 are shown.
	Curves    []pair
	Quantiles string
	// A table has a column for each of Keys, the labels that identify its rows, and for each of Columns.
	Keys    []string
	Columns []column
}

// A pair is a mapping with one key. A list of pairs has an order, which a mapping has not.
type pair map[string]string

// A column is a query with one series for each row of a table. Without a name its value is hidden, for a query that
// adds only labels.
type column struct{ Name, Unit, Query string }

func read(name string, into any) error {
	text, err := files.ReadFile(name)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
