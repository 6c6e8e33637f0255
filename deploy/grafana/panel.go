package grafana

var datasource = Datasource{Type: "prometheus", UID: "${datasource}"}

// A panel under construction, before it has its place.
type builder struct {
	panel *Panel
	width int
}

type object map[string]any

func newBuilder(kind, title, unit, description string, curves []curve) *builder {
	p := &Panel{
		Type: kind, Title: title, Description: description, Datasource: &datasource,
		FieldConfig: &FieldConfig{Defaults: Field{Unit: unit}, Overrides: []Override{}},
	}
	for i, c := range curves {
		p.Targets = append(p.Targets, Target{
			RefID: string(rune('A' + i)), Datasource: datasource, Expr: c.expr, LegendFormat: c.legend,
			Range: true, EditorMode: "code",
		})
	}
	return &builder{panel: p, width: 8}
}

// stat is a big number on its color. It shows the value of this moment: of a server that is gone there is none, and the
// tile is gray.
func stat(title, unit, description, expr string, steps ...Step) *builder {
	b := newBuilder("stat", title, unit, description, []curve{{expr, title}}).instant()
	d := &b.panel.FieldConfig.Defaults
	d.Thresholds = &Thresholds{Mode: "absolute", Steps: steps}
	d.Color = &Color{Mode: "thresholds"}
	d.Mappings = []Mapping{{Type: "special", Options: object{
		"match": "null+nan", "result": object{"text": "no data", "color": "#808080", "index": 0},
	}}}
	b.panel.Options = object{
		"colorMode": "background", "graphMode": "none", "justifyMode": "center", "orientation": "auto", "textMode": "value",
		"wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard", "reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	b.width = 4
	return b
}

// instant queries the current values.
func (b *builder) instant() *builder {
	for i := range b.panel.Targets {
		b.panel.Targets[i].Instant, b.panel.Targets[i].Range = true, false
	}
	return b
}

// above is a color from a value upwards.
func above(value float64, color string) Step { return Step{Color: color, Value: &value} }

// base is the color below every threshold.
func base(color string) Step { return Step{Color: color} }

// traffic is green, orange from the first value on, red from the second.
func traffic(orange, red float64) []Step {
	return []Step{base("green"), above(orange, "orange"), above(red, "red")}
}

// series is a graph over time with a list of the last values below it.
func series(title, unit, description string, curves ...curve) *builder {
	b := newBuilder("timeseries", title, unit, description, curves)
	d := &b.panel.FieldConfig.Defaults
	d.Color = &Color{Mode: "palette-classic"}
	d.Min = new(0.0)
	d.Custom = object{
		"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never",
		"spanNulls": false, "stacking": object{"mode": "none", "group": "A"},
	}
	b.panel.Options = object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{"lastNotNull"}},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
	return b
}

// heatmap shows the buckets of a histogram over time.
func heatmap(title, unit, description string, h histogram) *builder {
	b := newBuilder("heatmap", title, unit, description, []curve{{h.cells(), "{{le}}"}})
	b.panel.Targets[0].Format = "heatmap"
	b.panel.FieldConfig.Defaults.Custom = object{"scaleDistribution": object{"type": "linear"}}
	b.panel.Options = object{
		"calculate": false, "cellGap": 1, "rowsFrame": object{"layout": "auto"}, "showValue": "never",
		"color":        object{"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "fill": "dark-orange", "steps": 64, "reverse": false},
		"filterValues": object{"le": 1e-9},
		"yAxis":        object{"axisPlacement": "left", "reverse": false, "unit": unit},
		"legend":       object{"show": true}, "tooltip": object{"mode": "single", "yHistogram": false},
		"exemplars": object{"color": "rgba(115,191,105,0.7)"},
	}
	return b
}

// A column of a table is a query with one series for each row; an empty name hides its value, for a query that adds only
// labels.
type column struct{ name, unit, expr string }

// table joins the columns on the labels that their series have in common, which come first, in this order.
func table(title, description string, keys []string, columns ...column) *builder {
	curves := make([]curve, len(columns))
	for i, c := range columns {
		curves[i] = curve{c.expr, c.name}
	}
	b := newBuilder("table", title, "short", description, curves).instant()
	exclude, order, rename := object{"Time": true}, object{}, object{}
	for i, key := range keys {
		order[key] = i
	}
	for i, c := range columns {
		b.panel.Targets[i].Format = "table"
		value := "Value"
		if len(columns) > 1 {
			value += " #" + b.panel.Targets[i].RefID
		}
		if c.name == "" {
			exclude[value] = true
			continue
		}
		order[value], rename[value] = len(keys)+i, c.name
		b.override(c.name, Property{"unit", c.unit})
	}
	b.panel.Transformations = []Transformation{
		{ID: "merge", Options: object{}},
		{ID: "organize", Options: object{"excludeByName": exclude, "indexByName": order, "renameByName": rename}},
	}
	b.panel.Options = object{"showHeader": true, "cellHeight": "sm", "frameIndex": 0}
	b.width = gridWidth
	return b
}

// link makes a column of a table, or a label, lead to an address.
func (b *builder) link(name, title, url string) *builder {
	return b.override(name, Property{"links", []object{{"title": title, "url": url, "targetBlank": true}}})
}

// message is what stands in a panel without data.
func (b *builder) message(text string) *builder {
	b.panel.FieldConfig.Defaults.NoValue = text
	return b
}

// narrow makes it a quarter as wide as the page.
func (b *builder) narrow() *builder {
	b.width = gridWidth / 4
	return b
}

// wide makes it half as wide as the page.
func (b *builder) wide() *builder {
	b.width = gridWidth / 2
	return b
}

// many has the legend at the side, the largest first: for more curves than fit below.
func (b *builder) many() *builder {
	legend := b.panel.Options.(object)["legend"].(object)
	legend["placement"], legend["sortBy"], legend["sortDesc"] = "right", "Max", true
	return b.wide()
}

// percent fixes the axis to 0 to 100 %.
func (b *builder) percent() *builder {
	b.panel.FieldConfig.Defaults.Max = new(1.0)
	return b
}

// upTo is how far the axis reaches at least, so that an empty panel has a sensible one.
func (b *builder) upTo(value float64) *builder {
	b.panel.FieldConfig.Defaults.Custom.(object)["axisSoftMax"] = value
	return b
}

// mark draws dashed lines at values, in orange and then in red.
func (b *builder) mark(values ...float64) *builder {
	steps := []Step{base("transparent")}
	for i, v := range values {
		steps = append(steps, above(v, []string{"orange", "red"}[max(0, i+2-len(values))]))
	}
	b.panel.FieldConfig.Defaults.Thresholds = &Thresholds{Mode: "absolute", Steps: steps}
	b.panel.FieldConfig.Defaults.Custom.(object)["thresholdsStyle"] = object{"mode": "dashed"}
	return b
}

// stacked puts the curves on top of each other.
func (b *builder) stacked() *builder {
	custom := b.panel.FieldConfig.Defaults.Custom.(object)
	custom["stacking"] = object{"mode": "normal", "group": "A"}
	custom["fillOpacity"] = 25
	return b
}

// magnitudes makes the axis logarithmic, with a 0: for a depth of 10 and a capacity of 100 000 in one picture.
func (b *builder) magnitudes() *builder {
	b.panel.FieldConfig.Defaults.Custom.(object)["scaleDistribution"] = object{"type": "symlog", "log": 10, "linearThreshold": 1}
	return b
}

// exemplars marks single jobs by their traces.
func (b *builder) exemplars() *builder {
	for i := range b.panel.Targets {
		b.panel.Targets[i].Exemplar = true
	}
	return b
}

// limit draws a curve as a dashed red line, outside of any stack.
func (b *builder) limit(legend string) *builder {
	return b.override(legend,
		Property{"color", object{"mode": "fixed", "fixedColor": "red"}},
		Property{"custom.lineStyle", object{"fill": "dash", "dash": []int{10, 10}}},
		Property{"custom.fillOpacity", 0},
		Property{"custom.stacking", object{"mode": "none", "group": "A"}})
}

// paint fixes the color of a curve whose meaning has a color.
func (b *builder) paint(legend, color string) *builder {
	return b.override(legend, Property{"color", object{"mode": "fixed", "fixedColor": color}})
}

func (b *builder) override(legend string, properties ...Property) *builder {
	c := b.panel.FieldConfig
	c.Overrides = append(c.Overrides, Override{Matcher{"byName", legend}, properties})
	return b
}
