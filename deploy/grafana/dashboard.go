package grafana

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// All are the dashboards by the name of their file.
func All() map[string]*Dashboard {
	return map[string]*Dashboard{"gather-overview.json": Overview(), "gather-internals.json": Internals()}
}

// Encode is the file of a dashboard.
func (d *Dashboard) Encode() ([]byte, error) {
	text, err := json.Marshal(d, json.Deterministic(true), jsontext.WithIndent("  "))
	return append(text, '\n'), err
}

// EachPanel visits the panels, those of collapsed rows included, rows not.
func (d *Dashboard) EachPanel(visit func(p *Panel)) {
	for _, p := range d.Panels {
		if p.Type != "row" {
			visit(p)
		} else if p.Panels != nil {
			for _, q := range *p.Panels {
				visit(q)
			}
		}
	}
}

// A row has a heading and panels of one height, which go on in the next line where one is full.
type row struct {
	title     string
	height    int
	collapsed bool
	panels    []*builder
}

const gridWidth = 24

func newDashboard(uid, title, description string, rows ...row) *Dashboard {
	d := &Dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{"gather"},
		SchemaVersion: 41, Version: 1, GraphTooltip: 1, Refresh: "10s", Time: TimeRange{"now-1h", "now"}, Timezone: "browser",
		Links: []Link{{
			Type: "dashboards", Title: "gather", Icon: "external link", Tags: []string{"gather"}, IncludeVars: true, KeepTime: true,
		}},
		Templating: Templating{[]Variable{
			{
				Type: "datasource", Name: "datasource", Label: "Data source", Query: "prometheus", Refresh: 1,
				Current: &Current{"Prometheus", "prometheus"},
			},
			choice("job", "Job", `label_values(gather_build_info, job)`),
			choice("instance", "Instance", `label_values(gather_build_info{job=~"$job"}, instance)`),
			choice("kind", "Kind", `label_values(gather_jobs_submitted_total{job=~"$job"}, kind)`),
			choice("priority", "Priority", `label_values(gather_jobs_submitted_total{job=~"$job"}, priority)`),
			{
				Type: "textbox", Name: "runbooks", Label: "Runbooks", Query: "http://localhost:9090/user",
				Current: &Current{"http://localhost:9090/user", "http://localhost:9090/user"},
			},
		}},
		Annotations: Annotations{[]Annotation{{
			Name: "Starts", Datasource: datasource, Enable: true, IconColor: "blue", Step: "15s",
			Expr: metric("process_start_time_seconds") + " * 1000", UseValueForTime: true,
			TitleFormat: "gather started", TextFormat: "{{instance}}",
		}}},
	}
	id, y := 0, 0
	next := func() int { id++; return id }
	for _, r := range rows {
		heading := &Panel{ID: next(), Type: "row", Title: r.title, GridPos: GridPos{H: 1, W: gridWidth, Y: y}, Collapsed: &r.collapsed}
		y++
		x := 0
		var panels []*Panel
		for _, b := range r.panels {
			if x+b.width > gridWidth {
				x, y = 0, y+r.height
			}
			p := b.panel
			p.ID = next()
			p.GridPos = GridPos{H: r.height, W: b.width, X: x, Y: y}
			x += b.width
			panels = append(panels, p)
		}
		y += r.height
		d.Panels = append(d.Panels, heading)
		if r.collapsed {
			heading.Panels = &panels
		} else {
			heading.Panels = &[]*Panel{}
			d.Panels = slices.Concat(d.Panels, panels)
		}
	}
	return d
}

// choice is a variable of which any number of values may be chosen, all at first.
func choice(name, label, query string) Variable {
	return Variable{
		Type: "query", Name: name, Label: label, Query: query, Datasource: &datasource, Refresh: 2, Sort: 1,
		Multi: true, IncludeAll: true, AllValue: ".+", Current: &Current{"All", "$__all"},
	}
}
