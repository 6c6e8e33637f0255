// Package grafana has gather's two dashboards as YAML, and makes them the JSON that Grafana reads.
//
// What must hold for every panel, the selectors, the empty states and the layout, is written once: in frame.yaml and
// in this package.
//
// What reads 0 and what reads "No data": a server that has nothing to do reads 0 everywhere. A server that cannot be
// scraped has no data, and only the panels about that very question turn it into a 0.
package grafana

//go:generate go run ./generate

import (
	"cmp"
	"fmt"
	"maps"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Dashboards returns the dashboards' JSON by the names of their files.
func Dashboards() (map[string][]byte, error) {
	var f frame
	if err := read("frame.yaml", &f); err != nil {
		return nil, err
	}
	all := make(map[string][]byte)
	for _, name := range []string{"overview", "internals"} {
		var d dashboard
		if err := read(name+".yaml", &d); err != nil {
			return nil, err
		}
		built, err := f.build(&d)
		if err != nil {
			return nil, fmt.Errorf("%s.yaml: %w", name, err)
		}
		text, err := json.Marshal(built, json.Deterministic(true), jsontext.WithIndent("  "))
		if err != nil {
			return nil, err
		}
		all["gather-"+name+".json"] = append(text, '\n')
	}
	return all, nil
}

const gridWidth = 24

// build arranges the panels. Those of a collapsed row are in the row, the others follow it.
func (f *frame) build(d *dashboard) (object, error) {
	panels := []object{}
	id, y := 0, 0
	for _, r := range d.Rows {
		id++
		heading := object{
			"id": id, "type": "row", "title": r.Title, "collapsed": r.Collapsed, "gridPos": object{"h": 1, "w": gridWidth, "x": 0, "y": y},
		}
		y++
		x := 0
		inner := []object{}
		for i := range r.Panels {
			p, err := f.panel(&r.Panels[i], r.Cluster)
			if err != nil {
				return nil, fmt.Errorf("panel %s: %w", r.Panels[i].Title, err)
			}
			at := p["gridPos"].(object)
			width := int(at["w"].(float64))
			if x+width > gridWidth {
				x, y = 0, y+r.Height
			}
			id++
			p["id"], at["h"], at["x"], at["y"] = id, r.Height, x, y
			x += width
			inner = append(inner, p)
		}
		y += r.Height
		panels = append(panels, heading)
		if heading["panels"] = inner; !r.Collapsed {
			heading["panels"] = []object{}
			panels = append(panels, inner...)
		}
	}
	built := maps.Clone(f.Dashboard)
	built["uid"], built["title"], built["description"], built["panels"] = d.UID, d.Title, d.Description, panels
	return built, nil
}

// panel returns a panel without its place.
func (f *frame) panel(p *panel, cluster bool) (object, error) {
	name := cmp.Or(p.Type, "timeseries")
	first, ok := f.Types[name]
	if !ok {
		return nil, fmt.Errorf("unknown type %q", name)
	}
	out, target := object{"type": name, "title": p.Title, "description": p.Description}, object{}
	for _, s := range []style{{f.Target, f.Panel}, first} {
		merge(out, s.Panel)
		merge(target, s.Target)
	}
	for _, name := range p.Looks {
		look, ok := f.Looks[name]
		if !ok {
			return nil, fmt.Errorf("unknown look %q", name)
		}
		merge(out, look.Panel)
		merge(target, look.Target)
	}
	defaults := object{}
	if p.Unit != "" {
		defaults["unit"] = p.Unit
	}
	if p.Steps != nil {
		defaults["thresholds"] = object{"mode": "absolute", "steps": p.Steps}
	}
	merge(defaults, p.Field)
	merge(out, object{"fieldConfig": object{"defaults": defaults, "overrides": f.overrides(p)}})
	if p.Columns != nil {
		out["transformations"] = p.join()
	}
	targets := []object{}
	for _, c := range p.curves() {
		legend, query := c.split()
		if cluster {
			query += "\nor\n0 * sum"
			if legend == "{{instance}}" {
				query += " by (instance) "
			}
			query += "(gather_workers)"
		}
		expr, err := f.expand(query)
		if err != nil {
			return nil, err
		}
		t := object{"refId": letter(len(targets)), "expr": expr, "legendFormat": legend}
		merge(t, target)
		targets = append(targets, t)
	}
	out["targets"] = targets
	return out, nil
}

// curves returns the queries of a panel of any type.
func (p *panel) curves() []pair {
	all := p.Curves
	if p.Query != "" {
		all = []pair{{p.Title: p.Query}}
	}
	if p.Quantiles != "" {
		for _, percent := range []string{"50", "95", "99"} {
			all = append(all, pair{"p" + percent: fmt.Sprintf("{{quantile .%s %q}}", percent, p.Quantiles)})
		}
	}
	for _, c := range p.Columns {
		all = append(all, pair{c.Name: c.Query})
	}
	return all
}

// overrides returns the display options for some values of a panel.
func (f *frame) overrides(p *panel) []any {
	list := []any{}
	add := func(name string, properties ...any) {
		list = append(list, object{"matcher": object{"id": "byName", "options": name}, "properties": properties})
	}
	for _, c := range p.Columns {
		if c.Name != "" {
			add(c.Name, object{"id": "unit", "value": c.Unit})
		}
	}
	if p.Limit != "" {
		add(p.Limit, f.Limit...)
	}
	for _, c := range p.Colors {
		name, color := c.split()
		add(name, object{"id": "color", "value": object{"mode": "fixed", "fixedColor": color}})
	}
	return append(list, p.Overrides...)
}

// join returns the transformations that join the columns of a table on the labels that their series have in common,
// which come first.
func (p *panel) join() []object {
	exclude, order, rename := object{"Time": true}, object{}, object{}
	for i, key := range p.Keys {
		order[key] = i
	}
	for i, c := range p.Columns {
		value := "Value"
		if len(p.Columns) > 1 {
			value += " #" + letter(i)
		}
		if c.Name == "" {
			exclude[value] = true
		} else {
			order[value], rename[value] = len(p.Keys)+i, c.Name
		}
	}
	return []object{
		{"id": "merge", "options": object{}},
		{"id": "organize", "options": object{"excludeByName": exclude, "indexByName": order, "renameByName": rename}},
	}
}

// letter returns the reference of query i.
func letter(i int) string { return string(rune('A' + i)) }

// split returns the key and the value.
func (p pair) split() (string, string) {
	for name, value := range p {
		return name, value
	}
	return "", ""
}

// merge copies members into an object, and merges objects that both have.
func merge(into, from object) {
	for name, v := range from {
		if sub, ok := v.(object); ok {
			inner, ok := into[name].(object)
			if !ok {
				inner = object{}
				into[name] = inner
			}
			merge(inner, sub)
			continue
		}
		into[name] = v
	}
}
