package render

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Bars compares contenders in groups of one unit each; the longest bar of each group is as wide as the plot.
type Bars struct {
	Title string

	groups []string
	names  []string
	bars   map[[2]string]bar
}

type bar struct {
	value float64
	label string
}

// Add adds the value of a contender to a group. The label shows the value.
func (b *Bars) Add(group, name string, value float64, label string) {
	if b.bars == nil {
		b.bars = map[[2]string]bar{}
	}
	b.names, b.groups = including(b.names, name), including(b.groups, group)
	b.bars[[2]string{group, name}] = bar{value, label}
}

func including(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// SVG draws the bars, group by group.
func (b *Bars) SVG() string {
	const width, thickness, gap = 520.0, 20.0, 34.0
	left := 100.0
	for _, name := range b.names {
		left = max(left, 7*float64(utf8.RuneCountInString(name))+16) // about the width of its letters
	}
	height := float64(len(b.bars))*thickness + float64(len(b.groups))*gap + 10
	c := newCanvas(int(left+width+80), int(height), b.Title)
	y := 0.0
	for _, group := range b.groups {
		y += gap
		c.label(left, y-8, "start", group)
		most := 0.0
		for _, name := range b.names {
			most = max(most, b.bars[[2]string{group, name}].value)
		}
		for i, name := range b.names {
			v, ok := b.bars[[2]string{group, name}]
			if !ok {
				continue
			}
			c.label(left-8, y+thickness-6, "end", strings.ReplaceAll(name, "`", ""))
			c.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", left, y+1, width*v.value/most, thickness-3, colours[i%len(colours)])
			c.label(left+width*v.value/most+6, y+thickness-6, "start", v.label)
			y += thickness
		}
	}
	return c.end()
}
