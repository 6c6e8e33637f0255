package deploy_test

import (
	"encoding/json"
	"slices"
	"testing"

	"gather/deploy/grafana"
)

// A board has the tested fields of a dashboard.
type board struct {
	Editable      bool
	SchemaVersion int
	Templating    struct{ List []variable }
	Annotations   struct {
		List []struct {
			Expr            string
			UseValueForTime bool
		}
	}
	Panels []*panel
}

type datasource struct{ Type, UID string }

type variable struct {
	Type, Name, Label, Query, AllValue string
	Datasource                         datasource
	Refresh                            int
	Multi, IncludeAll                  bool
}

// A panel is a panel, or a row with its collapsed panels.
type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Panels                   []*panel
	Datasource               datasource
	Targets                  []target
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Thresholds    *struct{ Steps []struct{ Value *float64 } }
		}
	}
}

type target struct {
	RefID, Expr, LegendFormat string
	Datasource                datasource
	Instant, Range            bool
}

// boards returns the dashboards by the names of their files.
func boards(t *testing.T) map[string]*board {
	t.Helper()
	all, err := grafana.Dashboards()
	if err != nil {
		t.Fatal(err)
	}
	boards := make(map[string]*board)
	for file, text := range all {
		boards[file] = new(board)
		if err := json.Unmarshal(text, boards[file]); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return boards
}

// all returns the panels without the rows, including the panels of collapsed rows.
func (b *board) all() []*panel {
	panels := slices.Clone(b.Panels)
	for _, p := range b.Panels {
		panels = append(panels, p.Panels...)
	}
	return slices.DeleteFunc(panels, func(p *panel) bool { return p.Type == "row" })
}
