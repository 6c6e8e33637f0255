// Package grafana describes gather's two dashboards; go generate writes them as the JSON that Grafana reads.
//
// They are code so that what must hold for every panel, the selectors, the empty states and the layout, is written once.
//
// What reads 0 and what reads "No data": a server that has nothing to do reads 0 everywhere. A server that cannot be
// scraped has no data, and only the panels about that very question turn it into a 0.
package grafana

//go:generate go run ./generate

// A Dashboard is what Grafana calls the classic dashboard model.
type Dashboard struct {
	UID           string      `json:"uid"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	Tags          []string    `json:"tags"`
	SchemaVersion int         `json:"schemaVersion"`
	Version       int         `json:"version"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"`
	Refresh       string      `json:"refresh"`
	Time          TimeRange   `json:"time"`
	Timezone      string      `json:"timezone"`
	Links         []Link      `json:"links"`
	Templating    Templating  `json:"templating"`
	Annotations   Annotations `json:"annotations"`
	Panels        []*Panel    `json:"panels"`
}

// A TimeRange is the time range of a dashboard when it is opened.
type TimeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// A Link leads to the other dashboards with the same tag, and keeps the time and the variables.
type Link struct {
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Icon        string   `json:"icon"`
	Tooltip     string   `json:"tooltip"`
	Tags        []string `json:"tags"`
	AsDropdown  bool     `json:"asDropdown"`
	TargetBlank bool     `json:"targetBlank"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

// Templating has the variables.
type Templating struct {
	List []Variable `json:"list"`
}

// A Variable is chosen at the top of the dashboard.
type Variable struct {
	Type       string      `json:"type"`
	Name       string      `json:"name"`
	Label      string      `json:"label"`
	Query      string      `json:"query"`
	Datasource *Datasource `json:"datasource,omitzero"`
	Refresh    int         `json:"refresh"`
	Sort       int         `json:"sort,omitzero"`
	Multi      bool        `json:"multi"`
	IncludeAll bool        `json:"includeAll"`
	AllValue   string      `json:"allValue,omitzero"`
	Current    *Current    `json:"current,omitzero"`
}

// Current is the value that a variable starts with.
type Current struct {
	Text  string `json:"text"`
	Value string `json:"value"`
}

// Annotations mark moments in every panel.
type Annotations struct {
	List []Annotation `json:"list"`
}

// An Annotation is a query whose results are the moments.
type Annotation struct {
	Name        string     `json:"name"`
	Datasource  Datasource `json:"datasource"`
	Enable      bool       `json:"enable"`
	IconColor   string     `json:"iconColor"`
	Expr        string     `json:"expr"`
	TitleFormat string     `json:"titleFormat"`
	TextFormat  string     `json:"textFormat"`
	// UseValueForTime marks the time that is the value, in milliseconds, instead of the time of the sample.
	UseValueForTime bool   `json:"useValueForTime,omitzero"`
	Step            string `json:"step"`
}

// A Datasource names where queries go.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// A Panel is a panel, or a row when its type is "row".
type Panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description,omitzero"`
	GridPos     GridPos      `json:"gridPos"`
	Collapsed   *bool        `json:"collapsed,omitzero"`
	Panels      *[]*Panel    `json:"panels,omitzero"`
	Datasource  *Datasource  `json:"datasource,omitzero"`
	Targets     []Target     `json:"targets,omitzero"`
	FieldConfig *FieldConfig `json:"fieldConfig,omitzero"`
	Options     any          `json:"options,omitzero"`

	Transformations []Transformation `json:"transformations,omitzero"`
}

// GridPos is a place on the grid, which is 24 wide.
type GridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// A Target is one query of a panel.
type Target struct {
	RefID        string     `json:"refId"`
	Datasource   Datasource `json:"datasource"`
	Expr         string     `json:"expr"`
	LegendFormat string     `json:"legendFormat"`
	Format       string     `json:"format,omitzero"`
	Instant      bool       `json:"instant,omitzero"`
	Range        bool       `json:"range,omitzero"`
	Exemplar     bool       `json:"exemplar,omitzero"`
	EditorMode   string     `json:"editorMode"`
}

// A Transformation reshapes the results of queries.
type Transformation struct {
	ID      string `json:"id"`
	Options any    `json:"options"`
}

// FieldConfig is the display of values.
type FieldConfig struct {
	Defaults  Field      `json:"defaults"`
	Overrides []Override `json:"overrides"`
}

// A Field is how a value looks.
type Field struct {
	Unit       string      `json:"unit"`
	Decimals   *int        `json:"decimals,omitzero"`
	Min        *float64    `json:"min,omitzero"`
	Max        *float64    `json:"max,omitzero"`
	Color      *Color      `json:"color,omitzero"`
	Thresholds *Thresholds `json:"thresholds,omitzero"`
	Mappings   []Mapping   `json:"mappings,omitzero"`
	NoValue    string      `json:"noValue,omitzero"`
	Custom     any         `json:"custom,omitzero"`
}

// Color chooses a color.
type Color struct {
	Mode       string `json:"mode"`
	FixedColor string `json:"fixedColor,omitzero"`
}

// A Mapping replaces some values by a text and a color.
type Mapping struct {
	Type    string `json:"type"`
	Options any    `json:"options"`
}

// Thresholds color values by size.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []Step `json:"steps"`
}

// A Step is a color from a value upwards; the first has none.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// An Override changes the look of some values.
type Override struct {
	Matcher    Matcher    `json:"matcher"`
	Properties []Property `json:"properties"`
}

// A Matcher chooses values.
type Matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

// A Property is what an override sets.
type Property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}
